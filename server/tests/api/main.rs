//! The server from outside: a real one on a free port, spoken to over HTTP by hand-written runners and people.
mod bytes;
mod doors;
mod full;
mod grid;
mod late;
mod life;
mod lists;
mod outputs;
mod problems;
mod restart;
mod retention;
mod secrets;
mod sweep;
mod tls;
mod watermark;
