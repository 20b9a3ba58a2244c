//! Environment variables: which names there can be, and which belong to DSG, to the GPU or to the loader.
use std::collections::BTreeMap;

use crate::spec::node::step;
use crate::spec::problem::{Found, Report, Rule};

pub fn check(pointer: &str, env: &BTreeMap<String, String>, report: &mut Report) {
    for name in env.keys() {
        if report.is_full() {
            return;
        }
        let place = format!("{pointer}/{}", step(name));
        let letters = name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
        if name.is_empty() || !letters || name.starts_with(|c: char| c.is_ascii_digit()) {
            let message = "a variable's name has only letters, digits and _, and begins with no digit";
            report.add(Found::new(Rule::EnvName, place, message).value(name.as_str()).at_key());
        } else if let Some(why) = reserved(name) {
            report.add(Found::new(Rule::EnvReserved, place, format!("`{name}` {why}")).at_key());
        }
    }
}

fn reserved(name: &str) -> Option<&'static str> {
    if name.starts_with("DSG_") {
        return Some("is set by DSG");
    }
    if name.starts_with("NVIDIA_") || name == "CUDA_VISIBLE_DEVICES" {
        return Some("is set by the runner: ask for GPUs with `resources.gpus`");
    }
    name.starts_with("LD_").then_some("changes which code is loaded, and is not taken; set it inside the command")
}
