//! Every route there is. The router, the OpenAPI document and the test that knocks at each door are made from this one table.
mod openapi;
mod route;
mod router;
mod table;

pub use openapi::document;
pub use route::{Answer, Route, Surface};
pub use router::router;
pub use table::table;
