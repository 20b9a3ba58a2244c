//! What a runner proves about itself at start, with an image that it carries inside: a promise that was never tried costs other
//! people's chunks.
mod image;
mod preflight;

pub use image::{PROGRAM_PATH, SelfTestImage, image, this_arch};
pub use preflight::{Subject, preflight};
