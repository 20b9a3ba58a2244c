//! Whole lives of the runner, most with an engine that runs nothing, against a server of a few hundred lines that can be told
//! to misbehave.
mod ends;
mod fake;
mod gpus;
mod images;
mod join;
mod lies;
mod life;
mod pause;
mod proof;
mod real;
mod registry;
mod room;
mod secrets;
mod trouble;

fn sha256(bytes: &[u8]) -> String {
    use sha2::Digest;
    sha2::Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}
