//! What this host has, found out at start, and what it is doing, sampled now and then.
mod gpu;
mod host;
mod load;
mod xid;

pub use gpu::{GpuProbe, Gpus};
pub use host::host;
pub use load::LoadProbe;
