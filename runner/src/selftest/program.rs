//! The only program of the self-test image. It does one small thing per call, named by its first argument, and says on stdout
//! what it saw from inside the container.
use std::env;
use std::fs;
use std::io::{self, Read, Write};
use std::os::unix::fs::MetadataExt;
use std::process::ExitCode;
use std::thread::sleep;
use std::time::Duration;

fn main() -> ExitCode {
    let words: Vec<String> = env::args().skip(1).collect();
    match run(&words) {
        Ok(code) => ExitCode::from(code),
        Err(error) => {
            eprintln!("dsg-selftest {}: {error}", words.join(" "));
            ExitCode::from(99)
        }
    }
}

/// Several things in one call are parted by `then`; the code of the last one counts.
fn run(words: &[String]) -> io::Result<u8> {
    let mut code = 0;
    for step in words.split(|word| word == "then") {
        code = one(step)?;
        io::stdout().flush()?;
    }
    Ok(code)
}

fn one(step: &[String]) -> io::Result<u8> {
    let words: Vec<&str> = step.iter().map(String::as_str).collect();
    match words.as_slice() {
        ["echo", rest @ ..] => println!("{}", rest.join(" ")),
        ["print", text] => print!("{text}"),
        ["error", rest @ ..] => eprintln!("{}", rest.join(" ")),
        ["bytes", hex] => io::stdout().write_all(&bytes(hex)?)?,
        ["exit", code] => return number(code).map(|code| code as u8),
        ["sleep", milliseconds] => sleep(Duration::from_millis(number(milliseconds)?)),
        ["lines", count] => lines(number(count)?)?,
        ["env"] => env::vars().for_each(|(name, value)| println!("{name}={value}")),
        ["cat", path] => cat(path)?,
        ["write", path, rest @ ..] => fs::write(path, rest.join(" "))?,
        ["list", path] => list(path)?,
        ["id"] => status(&["Uid", "Gid", "Groups"])?,
        ["limits"] => limits()?,
        ["network"] => network()?,
        ["place", path] => place(path)?,
        ["gpu"] => return gpu(),
        ["eat-memory", mebibytes] => eat(number(mebibytes)?),
        ["burn-cpu", milliseconds] => burn(Duration::from_millis(number(milliseconds)?)),
        ["child", rest @ ..] => return child(rest),
        ["forks", count, rest @ ..] => forks(number(count)?, rest),
        other => return Err(io::Error::other(format!("no such step: {other:?}"))),
    }
    Ok(0)
}

fn number(text: &str) -> io::Result<u64> {
    text.parse().map_err(|_| io::Error::other(format!("{text:?} is not a number")))
}

fn bytes(hex: &str) -> io::Result<Vec<u8>> {
    let pairs = hex.as_bytes().chunks(2).map(|pair| String::from_utf8_lossy(pair).into_owned());
    pairs.map(|pair| u8::from_str_radix(&pair, 16).map_err(io::Error::other)).collect()
}

fn lines(count: u64) -> io::Result<()> {
    let mut out = io::BufWriter::new(io::stdout().lock());
    for line in 0..count {
        writeln!(out, "line {line}")?;
    }
    out.flush()
}

fn cat(path: &str) -> io::Result<()> {
    let mut whole = Vec::new();
    fs::File::open(path)?.read_to_end(&mut whole)?;
    io::stdout().write_all(&whole)
}

fn list(path: &str) -> io::Result<()> {
    let mut names: Vec<String> =
        fs::read_dir(path)?.flatten().map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
    names.sort();
    names.iter().for_each(|name| println!("{name}"));
    Ok(())
}

fn status(wanted: &[&str]) -> io::Result<()> {
    let text = fs::read_to_string("/proc/self/status")?;
    let named = |line: &&str| line.split(':').next().is_some_and(|name| wanted.contains(&name));
    text.lines().filter(named).for_each(|line| println!("{}", line.split_whitespace().collect::<Vec<_>>().join(" ")));
    Ok(())
}

/// Limits as the container itself sees them, as `name value` lines.
fn limits() -> io::Result<()> {
    let first = |files: &[&str]| files.iter().find_map(|file| fs::read_to_string(file).ok()).unwrap_or_default();
    let show = |name: &str, value: String| println!("{name} {}", value.split_whitespace().collect::<Vec<_>>().join(" "));
    show("memory", first(&["/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"]));
    show("pids", first(&["/sys/fs/cgroup/pids.max", "/sys/fs/cgroup/pids/pids.max"]));
    // Version 2 has the period behind it, version 1 in a file of its own.
    show("cpu-quota", first(&["/sys/fs/cgroup/cpu.max", "/sys/fs/cgroup/cpu/cpu.cfs_quota_us"]));
    show("cpu-period", first(&["/sys/fs/cgroup/cpu/cpu.cfs_period_us"]));
    let rlimits = fs::read_to_string("/proc/self/limits")?;
    for (name, head) in [("nofile", "Max open files"), ("nproc", "Max processes"), ("core", "Max core file size")] {
        let line = rlimits.lines().find_map(|line| line.strip_prefix(head)).unwrap_or_default();
        show(name, line.to_owned());
    }
    status(&["CapEff", "NoNewPrivs", "Seccomp"])
}

/// What tells this file from all others of the host.
fn place(path: &str) -> io::Result<()> {
    let meta = fs::metadata(path)?;
    println!("place {:x}:{}", meta.dev(), meta.ino());
    Ok(())
}

/// The interfaces that lead out of the container: those with a route, or with an address of IPv6. Some kernels put idle ones, without
/// either, into every container.
fn network() -> io::Result<()> {
    let routes = fs::read_to_string("/proc/net/route")?;
    // Kernels without IPv6 have no such file.
    let addresses = fs::read_to_string("/proc/net/if_inet6").unwrap_or_default();
    let routed = routes.lines().skip(1).filter_map(|line| line.split_whitespace().next());
    let mut names: Vec<&str> = routed.chain(addresses.lines().filter_map(|line| line.split_whitespace().last())).collect();
    names.retain(|name| *name != "lo");
    names.sort_unstable();
    names.dedup();
    println!("network {}", if names.is_empty() { "none".to_owned() } else { names.join(" ") });
    Ok(())
}

/// GPU devices, one per line; 3 where there are none.
fn gpu() -> io::Result<u8> {
    let mut found = Vec::new();
    for entry in fs::read_dir("/dev")?.flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        let number = name.strip_prefix("nvidia").unwrap_or_default();
        if !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit()) {
            let opened = fs::OpenOptions::new().read(true).write(true).open(entry.path());
            let state = opened.map_or_else(|error| format!("cannot be opened: {error}"), |_| "opens".to_owned());
            found.push(format!("{name} {state}"));
        }
    }
    found.sort();
    found.iter().for_each(|line| println!("{line}"));
    Ok(if found.is_empty() { 3 } else { 0 })
}

/// Takes memory and touches every page of it.
fn eat(mebibytes: u64) {
    let mut held: Vec<Vec<u8>> = Vec::new();
    for round in 0..mebibytes {
        held.push(vec![(round % 251) as u8 + 1; 1 << 20]);
        std::hint::black_box(&held);
    }
    println!("ate {} MiB", held.len());
}

fn burn(length: Duration) {
    let began = std::time::Instant::now();
    let mut sum = 0_u64;
    while began.elapsed() < length {
        sum = std::hint::black_box(sum.wrapping_mul(31).wrapping_add(7));
    }
    println!("burnt {sum}");
}

/// The same program as a child; its signal, if it was killed, becomes a line and its exit is swallowed.
fn child(words: &[&str]) -> io::Result<u8> {
    let status = std::process::Command::new("/proc/self/exe").args(words).status()?;
    println!("child {status}");
    Ok(0)
}

/// Starts so many children and waits for none of them, or as many as it may.
fn forks(count: u64, words: &[&str]) {
    for at in 0..count {
        if let Err(error) = std::process::Command::new("/proc/self/exe").args(words).spawn() {
            return println!("forks ended at {at}: {error}");
        }
    }
    println!("all {count} were started");
}
