//! The OpenAPI 3.1 document, written from the table and the types.
use dsg_schemas::api::Problem;
use schemars::SchemaGenerator;
use schemars::generate::SchemaSettings;
use serde_json::{Map, Value, json};

use super::{Answer, Route, Surface, table};
use crate::web::Access;

pub fn document() -> Value {
    let mut generator = SchemaSettings::draft2020_12()
        .with(|settings| settings.definitions_path = "/components/schemas".into())
        .into_generator();
    let mut paths = Map::new();
    let problem = generator.subschema_for::<Problem>();
    for route in table().iter().filter(|route| route.surface == Surface::Api) {
        let entry = paths.entry(route.path).or_insert_with(|| json!({}));
        entry[route.method.as_str().to_ascii_lowercase()] = operation(route, &mut generator, problem.as_value());
    }
    let schemas = generator.take_definitions(true);
    json!({
        "openapi": "3.1.0",
        "info": {"title": "DSG", "version": env!("CARGO_PKG_VERSION")},
        "paths": paths,
        "components": {
            "schemas": schemas,
            "securitySchemes": {"bearer": {"type": "http", "scheme": "bearer"}},
        },
    })
}

fn operation(route: &Route, generator: &mut SchemaGenerator, problem: &Value) -> Value {
    let in_path = route.path.split('/').filter_map(|part| part.strip_prefix('{')?.strip_suffix('}'));
    let mut parameters: Vec<Value> = in_path
        .map(|name| json!({"name": name, "in": "path", "required": true, "schema": {"type": "string"}}))
        .collect();
    parameters
        .extend(route.query.iter().map(|name| json!({"name": name, "in": "query", "schema": {"type": "string"}})));
    let success = match route.answer {
        Answer::Json(schema) => {
            json!({"description": "done", "content": {"application/json": {"schema": schema(generator)}}})
        }
        Answer::Other(kind) => json!({"description": "done", "content": {kind: {}}}),
        Answer::Empty => json!({"description": "done"}),
    };
    let mut operation = json!({
        "summary": route.summary,
        "description": needed(route.access),
        "parameters": parameters,
        "responses": {
            "2XX": success,
            "default": {"description": "refused", "content": {"application/problem+json": {"schema": problem}}},
        },
    });
    if route.access != Access::Open {
        operation["security"] = json!([{"bearer": []}]);
    }
    if let Some(schema) = route.request {
        operation["requestBody"] =
            json!({"required": true, "content": {"application/json": {"schema": schema(generator)}}});
    }
    operation
}

fn needed(access: Access) -> String {
    match access {
        Access::Open => "Open to everybody.".to_owned(),
        Access::Role(role) => format!("Needs the role {role:?} or more."),
        Access::Runner => "For runners, with their own credential.".to_owned(),
        Access::RoleOrRunner(role) => format!("Needs the role {role:?} or more, or a runner's credential."),
        Access::Join => "Needs a join token.".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_reference_of_the_document_has_its_schema() {
        let document = document();
        let mut references = Vec::new();
        collect(&document, &mut references);
        assert!(references.len() > 20, "{references:?}");
        for reference in references {
            let pointer = reference.strip_prefix('#').expect("a local reference");
            assert!(document.pointer(pointer).is_some(), "{reference} leads nowhere");
        }
    }

    fn collect(value: &Value, found: &mut Vec<String>) {
        match value {
            Value::Object(map) => {
                found.extend(map.get("$ref").and_then(Value::as_str).map(str::to_owned));
                map.values().for_each(|value| collect(value, found));
            }
            Value::Array(list) => list.iter().for_each(|value| collect(value, found)),
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
        }
    }
}
