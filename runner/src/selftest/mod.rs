//! What a runner proves about itself at start, with an image that it carries inside: a promise that was never tried costs other
//! people's chunks.
mod bench;
mod files;
mod gpus;
mod image;
mod inside;
mod preflight;
mod secrets;
mod surroundings;
#[cfg(test)]
mod tests;
mod verdict;

pub use image::{PROGRAM_PATH, SelfTestImage, image, this_arch};
pub use preflight::{Subject, preflight, sweep};
pub use surroundings::{disk, engine, mounts, server};
pub(crate) use verdict::{failed, passed, warned};
