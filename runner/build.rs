//! Compiles the self-test program: one static file that needs no image, no shell and no network, so that a runner can prove on
//! any host that containers work there. It is built for the target that the runner itself is built for.
use std::env;
use std::path::Path;
use std::process::Command;

const SOURCE: &str = "src/selftest/program.rs";

fn main() {
    println!("cargo::rerun-if-changed={SOURCE}");
    println!("cargo::rerun-if-changed=build.rs");
    let variable = |name: &str| env::var(name).unwrap_or_else(|_| panic!("cargo sets {name} for build scripts"));
    let program = Path::new(&variable("OUT_DIR")).join("dsg-selftest");
    let target = variable("TARGET");
    let mut rustc = Command::new(variable("RUSTC"));
    rustc
        .args(["--edition", "2024", "--crate-name", "dsg_selftest", "--crate-type", "bin", "--target", &target])
        .args(["-C", "target-feature=+crt-static", "-C", "opt-level=z", "-C", "panic=abort"])
        .args(["-C", "strip=symbols", "-C", "debuginfo=0", "-C", "codegen-units=1"])
        .arg("-o")
        .arg(&program)
        .arg(SOURCE);
    if let Ok(linker) = env::var("RUSTC_LINKER") {
        rustc.arg("-C").arg(format!("linker={linker}"));
    }
    let status = rustc.status().unwrap_or_else(|error| panic!("failed to run rustc for {SOURCE}: {error}"));
    assert!(
        status.success(),
        "failed to build {SOURCE} as a static program for {target}; a glibc target needs the static C library (Debian: libc6-dev, Fedora: glibc-static)"
    );
}
