//! Whole lives of the runner with an engine that runs nothing, against a server of a hundred lines that can be told to
//! misbehave.
mod fake;
mod life;
mod trouble;
