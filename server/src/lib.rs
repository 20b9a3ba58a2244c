//! The shell around the brain: HTTP, the store, logs, blobs and pages.
pub mod api;
pub mod app;
pub mod auth;
pub mod blobs;
mod checksum;
pub mod cli;
pub mod clock;
pub mod command;
pub mod config;
pub mod convert;
pub mod engine;
pub mod failure;
pub mod gather;
pub mod guard;
pub mod housekeeping;
pub mod logs;
pub mod pages;
pub mod plans;
pub mod retention;
pub mod routes;
pub mod server;
pub mod store;
pub mod tls;
pub mod views;
pub mod web;

pub use config::{Config, Tls};
pub use server::{Server, StartError, start};
