//! What tests share: real processes in a folder of their own ([`lab`]), the API as a typed client ([`client`]), and a [`browser`].
pub mod bench;
pub mod browser;
pub mod client;
pub mod lab;
