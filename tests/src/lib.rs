//! What tests share: real processes in a folder of their own ([`lab`]), and the API as a typed client ([`client`]).
pub mod bench;
pub mod client;
pub mod lab;
