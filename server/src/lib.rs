//! The shell around the brain: HTTP, the store, logs, blobs and pages.
pub mod api;
pub mod app;
pub mod auth;
pub mod blobs;
pub mod clock;
pub mod config;
pub mod convert;
pub mod failure;
pub mod gather;
pub mod guard;
pub mod logs;
pub mod pages;
pub mod store;
pub mod tls;
pub mod views;
