//! What tests share: real processes in a folder of their own ([`lab`]), a bad network between them ([`proxy`]), a host of its own at the
//! end of a wire that can be cut ([`far_host`]), the API as a typed client ([`client`]), and a [`browser`].
pub mod bench;
pub mod browser;
pub mod client;
pub mod far_host;
pub mod lab;
pub mod proxy;
