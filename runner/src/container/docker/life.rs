//! Which life of the engine this is. Docker ends its containers when it stops, unless it was told to let them live: what such a
//! container says at its end is then the engine's doing, an exit code of 0 no less than one of 143.
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use super::connect::engine_process;
use super::failure::Trouble;
use super::{DockerEngine, Kind};
use crate::container::Failure;

/// Where Docker writes its process, for a socket that systemd opened in its place.
const PID_FILE: &str = "/run/docker.pid";
const SYSTEMD: i32 = 1;

impl DockerEngine {
    pub(super) async fn present_life(&self) -> Result<Option<String>, Failure> {
        if self.kind == Kind::Podman || self.outlived {
            return Ok(None);
        }
        let socket = &self.plain.socket;
        let seen = || format!("{}: nobody listens", socket.display());
        let process = engine_process(socket).await.ok_or_else(|| Trouble::Silent(seen()));
        let life = process
            .and_then(|process| life(socket, process, Path::new(PID_FILE)).ok_or_else(|| Trouble::Silent(seen())));
        life.map(Some).map_err(|trouble| trouble.failed("see whether the engine was restarted"))
    }
}

/// Its process with the moment of its start, and the socket, which each life makes anew unless systemd keeps it.
fn life(socket: &Path, listener: Option<i32>, pid_file: &Path) -> Option<String> {
    let file = fs::metadata(socket).ok()?;
    let written = || fs::read_to_string(pid_file).ok()?.trim().parse().ok();
    let process = if listener == Some(SYSTEMD) { written() } else { listener };
    let began = process.and_then(start_ticks).unwrap_or_default();
    let process = process.unwrap_or_default();
    Some(format!("process {process} of {began}, socket {} of {}.{}", file.ino(), file.ctime(), file.ctime_nsec()))
}

/// The 22nd word of its stat; the name in parentheses may hold spaces.
fn start_ticks(process: i32) -> Option<u64> {
    let stat = fs::read_to_string(format!("/proc/{process}/stat")).ok()?;
    stat.rsplit_once(')')?.1.split_whitespace().nth(19)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_life_ends_with_its_process_or_its_socket() {
        let dir = tempfile::tempdir().expect("a folder");
        let (socket, pid_file) = (dir.path().join("engine.sock"), dir.path().join("engine.pid"));
        assert_eq!(life(&socket, Some(7), &pid_file), None);
        fs::write(&socket, "").expect("a file");
        let me = i32::try_from(std::process::id()).expect("a process");
        let first = life(&socket, Some(me), &pid_file).expect("a life");
        assert_eq!(life(&socket, Some(me), &pid_file).as_deref(), Some(first.as_str()));
        assert!(!first.contains(" of 0,"), "its start is known: {first}");
        fs::remove_file(&socket).expect("removed");
        // A clock that stands still for a moment must not make two lives one.
        std::thread::sleep(std::time::Duration::from_millis(20));
        fs::write(&socket, "").expect("a file");
        assert_ne!(life(&socket, Some(me), &pid_file).as_deref(), Some(first.as_str()), "its socket is another one");
        let systemds = life(&socket, Some(SYSTEMD), &pid_file);
        fs::write(&pid_file, format!("{me}\n")).expect("a file");
        assert_ne!(life(&socket, Some(SYSTEMD), &pid_file), systemds, "its process is another one");
    }
}
