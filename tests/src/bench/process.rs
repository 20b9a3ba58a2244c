//! What a process takes of the machine, as the kernel counts it.
use anyhow::{Context, Result};

/// The kernel's unit of CPU time: 100 a second on every Linux that we run on.
const TICKS_PER_SECOND: f64 = 100.0;

/// Resident memory of a process in MiB.
pub fn resident_mib(pid: u32) -> Result<f64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).context("no VmRSS")?;
    let kib: f64 = line.trim().trim_end_matches("kB").trim().parse()?;
    Ok(kib / 1024.0)
}

/// CPU time of all threads of a process so far, in user and kernel.
pub fn cpu_seconds(pid: u32) -> Result<f64> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat"))?;
    // The name in parentheses may hold spaces; utime and stime are the 12th and 13th word after it.
    let (_, words) = stat.rsplit_once(')').context("no name in the process's stat")?;
    let mut words = words.split_whitespace().skip(11);
    let mut ticks = || -> Result<f64> { Ok(words.next().context("the process's stat is too short")?.parse()?) };
    Ok((ticks()? + ticks()?) / TICKS_PER_SECOND)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_that_works_takes_cpu_time_and_memory() {
        let me = std::process::id();
        let before = cpu_seconds(me).expect("my own stat");
        while cpu_seconds(me).expect("my own stat") < before + 0.05 {}
        assert!(resident_mib(me).expect("my own status") > 1.0);
    }
}
