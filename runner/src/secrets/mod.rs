//! Secrets on this host: as files in memory, for as long as their container runs, and masked in what it writes.
mod mask;
mod place;
mod spell;
mod stream;

pub use mask::Mask;
pub use place::{Place, default_base};
pub use stream::Stream;
