//! The kernel's own log of OOM kills, which names the cgroup and so the container. Written before the process dies: what is there
//! at the end of a container is complete. What is not there proves nothing, because the kernel limits how often it writes.
use std::collections::{HashSet, VecDeque};
use std::fs::{File, OpenOptions};
use std::io::{ErrorKind, Read};
use std::os::unix::fs::OpenOptionsExt;
use std::sync::{Mutex, PoisonError};

use rustix::fs::OFlags;

/// Containers remembered: more than one host ends between two looks.
const NAMES: usize = 4_096;
const RECORD_BYTES: usize = 8_192;

pub(super) struct KernelLog {
    reader: Mutex<Reader>,
}

#[derive(Default)]
struct Reader {
    /// `None`: not allowed to read it, which is usual for an ordinary user.
    file: Option<File>,
    named: HashSet<String>,
    order: VecDeque<String>,
}

impl KernelLog {
    /// From the oldest record on, so that kills from before this program's start are known, too.
    pub(super) fn open() -> KernelLog {
        let flags = i32::try_from(OFlags::NONBLOCK.bits()).unwrap_or_default();
        let file = OpenOptions::new().read(true).custom_flags(flags).open("/dev/kmsg");
        if let Err(error) = &file {
            tracing::debug!(%error, "the kernel log cannot be read; OOM kills are known from cgroups and the engine only");
        }
        KernelLog { reader: Mutex::new(Reader { file: file.ok(), ..Reader::default() }) }
    }

    /// Whether an OOM kill in that container is on record.
    pub(super) fn names(&self, id: &str) -> bool {
        let mut reader = self.reader.lock().unwrap_or_else(PoisonError::into_inner);
        reader.catch_up();
        reader.named.contains(id)
    }
}

impl Reader {
    /// Reads what is new. Each read gives one record, or says that there is no more.
    fn catch_up(&mut self) {
        let mut record = [0; RECORD_BYTES];
        while let Some(file) = &mut self.file {
            match file.read(&mut record) {
                Ok(0) => return,
                Ok(length) => self.learn(&String::from_utf8_lossy(&record[..length])),
                // Records were overwritten before we read them: go on with the oldest that is left.
                Err(error) if error.kind() == ErrorKind::BrokenPipe || error.kind() == ErrorKind::InvalidInput => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => return,
                Err(_) => self.file = None,
            }
        }
    }

    fn learn(&mut self, record: &str) {
        for id in oom_ids(record) {
            if self.named.insert(id.clone()) {
                self.order.push_back(id);
            }
        }
        while self.order.len() > NAMES {
            if let Some(oldest) = self.order.pop_front() {
                self.named.remove(&oldest);
            }
        }
    }
}

/// Container ids in the paths of an OOM record: of the cgroup whose limit was reached, and of the victim's.
fn oom_ids(record: &str) -> Vec<String> {
    if !record.contains("oom-kill:constraint=CONSTRAINT_MEMCG") {
        return Vec::new();
    }
    let paths = record.split(',').filter_map(|part| {
        let (name, path) = part.split_once('=')?;
        matches!(name, "oom_memcg" | "task_memcg").then_some(path)
    });
    paths.flat_map(|path| path.split(['/', '-', '.', ':']).filter(|part| is_id(part)).map(str::to_owned)).collect()
}

fn is_id(text: &str) -> bool {
    text.len() == 64 && text.bytes().all(|byte| byte.is_ascii_hexdigit())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_containers_of_an_oom_kill_are_named() {
        let id = "0123456789abcdef".repeat(4);
        for path in [
            format!("/docker/{id}"),
            format!("/libpod_parent/libpod-{id}"),
            format!("/system.slice/docker-{id}.scope"),
            format!("/machine.slice/libpod-{id}.scope/container"),
        ] {
            let record = format!(
                "6,1,2,-;oom-kill:constraint=CONSTRAINT_MEMCG,nodemask=(null),cpuset=x,mems_allowed=0,oom_memcg={path},task_memcg={path},task=sh,pid=7,uid=0"
            );
            assert!(oom_ids(&record).contains(&id), "{record}");
        }
        let whole_host = format!("6,1,2,-;oom-kill:constraint=CONSTRAINT_NONE,task_memcg=/docker/{id},task=sh");
        assert!(oom_ids(&whole_host).is_empty(), "the host ran out, not the container's limit");
        assert!(oom_ids(&format!("6,1,2,-;something oom_memcg=/docker/{id}")).is_empty());
    }

    #[test]
    fn memory_of_names_is_bounded() {
        let mut reader = Reader::default();
        let record =
            |number: usize| format!("oom-kill:constraint=CONSTRAINT_MEMCG,oom_memcg=/docker/{number:064x},task=x");
        for number in 0..NAMES + 10 {
            reader.learn(&record(number));
        }
        assert_eq!((reader.named.len(), reader.order.len()), (NAMES, NAMES));
        assert!(
            reader.named.contains(&format!("{:064x}", NAMES + 9)) && !reader.named.contains(&format!("{:064x}", 0))
        );
    }
}
