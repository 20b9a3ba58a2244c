//! A full disk: a real server on a real file system that has no space left, and then has some again.
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use dsg_schemas::api::{JobDetail, Submit, Submitted};

use super::grid::{HELLO, PATIENCE, client, problem, read};

/// A small file system in a mount namespace of its own, which goes with the process that holds it.
struct SmallDisk {
    holder: Ended,
    at: PathBuf,
}

/// A process that does not outlive its test.
struct Ended(Child);

impl Drop for Ended {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl SmallDisk {
    /// `None`: only root may do that.
    async fn mount(at: &Path) -> Option<SmallDisk> {
        let script = "mount -t tmpfs -o size=24m none \"$0\" && touch \"$0/mounted\" && exec sleep 3600";
        let mut command = Command::new("unshare");
        command.args(["--mount", "sh", "-c", script]).arg(at).stderr(Stdio::null());
        let mut disk = SmallDisk { holder: Ended(command.spawn().ok()?), at: at.to_owned() };
        while !disk.seen("mounted").exists() {
            if disk.holder.0.try_wait().expect("a child").is_some() {
                return None;
            }
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
        Some(disk)
    }
    /// As those see it who are in the namespace.
    fn seen(&self, name: &str) -> PathBuf {
        PathBuf::from(format!("/proc/{}/root{}", self.holder.0.id(), self.at.join(name).display()))
    }
    async fn server(&self) -> (Ended, String) {
        // Of an earlier one; on a full disk a new one cannot be written, and the port is the same.
        let mut command = Command::new("nsenter");
        command.arg(format!("--mount=/proc/{}/ns/mnt", self.holder.0.id())).arg(env!("CARGO_BIN_EXE_dsg-server"));
        command.arg("--data").arg(self.at.join("data")).args(["--plain-http", "--listen"]);
        let port = match std::fs::read_to_string(self.seen("data/url")) {
            Ok(url) => url.trim().rsplit(':').next().unwrap_or("0").to_owned(),
            Err(_) => "0".to_owned(),
        };
        command.arg(format!("127.0.0.1:{port}")).stdout(Stdio::null()).stderr(Stdio::null());
        let server = Ended(command.spawn().expect("nsenter"));
        let url = wait_for(self.seen("data/url")).await;
        let up = async {
            while client().get(format!("{url}/healthz")).send().await.is_err() {
                tokio::time::sleep(std::time::Duration::from_millis(20)).await;
            }
        };
        tokio::time::timeout(PATIENCE, up).await.expect("a server in time");
        (server, url)
    }
}

async fn wait_for(path: PathBuf) -> String {
    let found = async {
        loop {
            match std::fs::read_to_string(&path) {
                Ok(text) => return text.trim().to_owned(),
                Err(_) => tokio::time::sleep(std::time::Duration::from_millis(20)).await,
            }
        }
    };
    tokio::time::timeout(PATIENCE, found).await.expect("there in time")
}

#[tokio::test]
async fn a_full_disk_is_told_and_needs_no_restart() {
    let outer = tempfile::tempdir().expect("a directory");
    let Some(disk) = SmallDisk::mount(outer.path()).await else {
        eprintln!("SKIPPED: a_full_disk_is_told_and_needs_no_restart needs root, to mount a small file system");
        return;
    };
    let (server, url) = disk.server().await;
    let token = wait_for(disk.seen("data/admin.token")).await;
    let http = client();
    let submit = async |spec: &str| {
        let submit = Submit { spec: spec.to_owned(), ..Submit::default() };
        http.post(format!("{url}/api/v1/jobs")).bearer_auth(&token).json(&submit).send().await.expect("an answer")
    };
    let first = read::<Submitted>(submit(HELLO).await).await.job;

    let ballast = disk.seen("ballast");
    // Writes until nothing more fits.
    let full = std::fs::File::create(&ballast).and_then(|mut file| std::io::copy(&mut std::io::repeat(7), &mut file));
    assert_eq!(full.expect_err("full").kind(), std::io::ErrorKind::StorageFull);
    // There is some room inside the store itself.
    let refused = async {
        loop {
            let answer = submit(&HELLO.replace("count: 2", "count: 20000")).await;
            if !answer.status().is_success() {
                return problem(answer).await;
            }
        }
    };
    let refused = tokio::time::timeout(PATIENCE, refused).await.expect("the store is full in time");
    assert_eq!((refused.status, refused.code.as_str()), (507, "disk_full"));
    assert!(refused.detail.contains("disk is full") && refused.detail.contains("nothing was done"), "{refused:?}");
    let get = async |path: &str| http.get(format!("{url}{path}")).bearer_auth(&token).send().await.expect("an answer");
    let there: JobDetail = read(get(&format!("/api/v1/jobs/{first}")).await).await;
    assert_eq!(there.job.id, first);
    assert_eq!(get("/api/v1/jobs").await.status(), 200, "reading goes on");
    assert!(get("/").await.text().await.expect("a page").contains("is full"), "and every page says what is wrong");

    // Not even a kill and a start on the full disk keep anybody from reading what was acknowledged.
    drop(server);
    let (_server, _) = disk.server().await;
    let there: JobDetail = read(get(&format!("/api/v1/jobs/{first}")).await).await;
    assert_eq!(there.job.id, first);

    std::fs::remove_file(&ballast).expect("removed");
    let again = async {
        loop {
            let answer = submit(HELLO).await;
            if answer.status().is_success() {
                return read::<Submitted>(answer).await.job;
            }
        }
    };
    let next = tokio::time::timeout(PATIENCE, again).await.expect("normal again in time");
    assert!(next > first);
}
