//! `dsg` as people type it, against a real server with pretend runners: every command, its words, and the status it ends with.
mod desk;
mod doctor;
mod edit;
mod end;
mod first_start;
mod images;
mod jobs;
mod looking;
mod policies;
mod results;
mod retention;
mod runners;
mod secrets;
mod submit;
mod tokens;
