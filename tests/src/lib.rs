//! What tests share: real processes in a folder of their own ([`lab`]), a bad network between them ([`proxy`]), the API as a typed client
//! ([`client`]), and a [`browser`].
pub mod bench;
pub mod browser;
pub mod client;
pub mod lab;
pub mod proxy;
