//! One route: what it is called, who may call it, what goes in and what comes out.
use axum::handler::Handler;
use axum::routing::{MethodFilter, MethodRouter, on};
use dsg_schemas::limits;
use http::Method;
use schemars::{JsonSchema, Schema, SchemaGenerator};

use crate::app::App;
use crate::web::Access;

/// Whom a route talks to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Surface {
    /// Programs: problems as JSON; described in OpenAPI.
    Api,
    /// People in front of a browser.
    Page,
}

type SchemaOf = fn(&mut SchemaGenerator) -> Schema;

#[derive(Clone, Copy)]
pub enum Answer {
    Json(SchemaOf),
    /// Something else, of this content type.
    Other(&'static str),
    Empty,
}

#[derive(Clone)]
pub struct Route {
    pub method: Method,
    pub path: &'static str,
    pub access: Access,
    pub surface: Surface,
    pub summary: &'static str,
    pub query: &'static [&'static str],
    pub request: Option<SchemaOf>,
    pub answer: Answer,
    pub body_bytes: usize,
    pub handler: MethodRouter<App>,
}

fn schema_of<T: JsonSchema>(generator: &mut SchemaGenerator) -> Schema {
    generator.subschema_for::<T>()
}

impl Route {
    pub fn new<H, T>(method: Method, path: &'static str, access: Access, summary: &'static str, handler: H) -> Route
    where
        H: Handler<T, App>,
        T: 'static,
    {
        // The table's own methods are all known to axum.
        let filter = MethodFilter::try_from(method.clone()).unwrap_or(MethodFilter::GET);
        Route {
            handler: on(filter, handler),
            method,
            path,
            access,
            surface: Surface::Api,
            summary,
            query: &[],
            request: None,
            answer: Answer::Empty,
            body_bytes: 0,
        }
    }
    pub fn query(self, query: &'static [&'static str]) -> Route {
        Route { query, ..self }
    }
    /// Takes JSON of this type, of at most the size of a job file with its settings.
    pub fn takes<T: JsonSchema>(self) -> Route {
        Route { request: Some(schema_of::<T>), body_bytes: 2 * limits::SPEC_BYTES, ..self }
    }
    pub fn up_to(self, body_bytes: usize) -> Route {
        Route { body_bytes, ..self }
    }
    pub fn answers<T: JsonSchema>(self) -> Route {
        Route { answer: Answer::Json(schema_of::<T>), ..self }
    }
    pub fn sends(self, content_type: &'static str) -> Route {
        Route { answer: Answer::Other(content_type), ..self }
    }
    pub fn page(self) -> Route {
        Route { surface: Surface::Page, answer: Answer::Other("text/html"), ..self }
    }
}
