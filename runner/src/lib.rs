//! The runner of DSG: on each host, it offers what the host has, and runs what fits.
pub mod container;
