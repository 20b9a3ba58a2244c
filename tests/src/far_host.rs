//! A host of its own at the end of a wire: a network namespace and a pair of virtual links, which the kernel parts as a broken switch
//! would. Packets vanish without a word, in one direction or in both: connections hang, and nobody is told that they do.
use std::io::Write;
use std::net::Ipv4Addr;
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};

use anyhow::{Context, Result, bail, ensure};

/// Whose packets are lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lost {
    Nothing,
    /// What is sent to the far host.
    ToIt,
    /// What the far host sends.
    FromIt,
    Both,
}

/// A link-layer address that no link has: a frame to it is dropped where it arrives, and nobody answers. This needs nothing but `ip`:
/// neither a packet filter nor a kernel that has one.
const NOBODY: &str = "02:00:00:00:00:01";
/// RFC 2544 keeps 198.18.0.0/15 for measurements in laboratories, so that no network should be there.
const RANGE: [u8; 2] = [198, 18];
/// Set where it must not be left out.
const MUST: &str = "DSG_MUST_NETNS";
/// Why it is left out on purpose.
const SKIP: &str = "DSG_SKIP_NETNS";
const CURE: &str = "no host in a network namespace of its own can be made; to go on without, say why: DSG_SKIP_NETNS='reason' make test";

/// Removed with all that belongs to it when dropped.
pub struct FarHost {
    number: u8,
    /// The links' own addresses: here, and on the far host.
    links: [String; 2],
}

impl FarHost {
    /// `None`, said loudly: there can be none on this machine.
    pub fn new() -> Result<Option<FarHost>> {
        let set = |name| std::env::var(name).ok().filter(|why| !why.is_empty());
        let why = match (set(SKIP), id()?) {
            (Some(why), _) => why,
            (None, 0) => match FarHost::build() {
                Ok(host) => return Ok(Some(host)),
                Err(error) if set(MUST).is_some() => return Err(error.context(CURE)),
                Err(error) => format!("{error:#}"),
            },
            (None, _) if set(MUST).is_some() => bail!("{CURE}: it needs root"),
            (None, _) => "it needs root".to_owned(),
        };
        // Past the test harness, which keeps to itself what a test that passes says.
        let _ =
            writeln!(std::io::stderr(), "SKIPPED: no runner was parted by the kernel, in a network of its own: {why}");
        Ok(None)
    }

    fn build() -> Result<FarHost> {
        static LAST: AtomicUsize = AtomicUsize::new(0);
        sweep();
        let routes = ip("-4 route show table all")?;
        for _ in 0..254 {
            // Begins elsewhere in each process.
            let at = std::process::id() as usize + LAST.fetch_add(1, Ordering::Relaxed);
            let number = (at % 254) as u8 + 1;
            let [a, b] = RANGE;
            let name = link(number);
            // The link is made by one process only: whoever has the link has the number.
            let peer = format!("{name} type veth peer name {name}x");
            if routes.contains(&format!(" {a}.{b}.{number}.")) || ip(&format!("link add {peer}")).is_err() {
                continue;
            }
            let mut host = FarHost { number, links: Default::default() };
            host.wire().with_context(|| format!("making the host {name}"))?;
            return Ok(host);
        }
        // Says what stands in the way.
        ip("link add dsg-far0 type veth peer name dsg-far0x")?;
        let _ = ip("link delete dsg-far0");
        bail!("each network in {}.{}.0.0/16 is taken", RANGE[0], RANGE[1])
    }

    fn wire(&mut self) -> Result<()> {
        let (link, space, [near, far]) = (link(self.number), self.space(), [self.near_ip(), self.far_ip()]);
        ip(&format!("netns add {space}"))?;
        ip(&format!("link set {link}x netns {space}"))?;
        ip(&format!("address add {near}/30 dev {link}"))?;
        ip(&format!("link set {link} up"))?;
        ip(&format!("-n {space} address add {far}/30 dev {link}x"))?;
        ip(&format!("-n {space} link set {link}x up"))?;
        ip(&format!("-n {space} link set lo up"))?;
        self.links =
            [ip(&format!("-o link show {link}"))?, ip(&format!("-n {space} -o link show {link}x"))?].map(|said| {
                let mut words = said.split_whitespace().skip_while(|word| *word != "link/ether");
                words.nth(1).unwrap_or_default().to_owned()
            });
        self.lose(Lost::Nothing)
    }

    /// From now on, until it is called again.
    pub fn lose(&self, lost: Lost) -> Result<()> {
        let (link, space, [near, far]) = (link(self.number), self.space(), [self.near_ip(), self.far_ip()]);
        let to_it = if matches!(lost, Lost::ToIt | Lost::Both) { NOBODY } else { &self.links[1] };
        let from_it = if matches!(lost, Lost::FromIt | Lost::Both) { NOBODY } else { &self.links[0] };
        ip(&format!("neigh replace {far} lladdr {to_it} dev {link} nud permanent"))?;
        ip(&format!("-n {space} neigh replace {near} lladdr {from_it} dev {link}x nud permanent"))?;
        Ok(())
    }

    /// The address of this machine on the wire.
    pub fn near_ip(&self) -> Ipv4Addr {
        Ipv4Addr::new(RANGE[0], RANGE[1], self.number, 1)
    }

    fn far_ip(&self) -> Ipv4Addr {
        Ipv4Addr::new(RANGE[0], RANGE[1], self.number, 2)
    }

    /// With the process, so that a name never means two hosts, one after the other.
    fn space(&self) -> String {
        format!("{}-{}", link(self.number), std::process::id())
    }

    /// What starts a program there.
    pub fn words(&self) -> Vec<String> {
        ["ip", "netns", "exec", &self.space()].map(str::to_owned).to_vec()
    }
}

impl Drop for FarHost {
    fn drop(&mut self) {
        // Either may be missing where its making failed half-way. The other end of the link goes with it.
        let _ = ip(&format!("link delete {}", link(self.number)));
        let _ = ip(&format!("netns delete {}", self.space()));
    }
}

/// Removes hosts of processes that were killed.
fn sweep() {
    for name in ip("netns list").unwrap_or_default().lines().filter_map(|line| line.split(' ').next()) {
        if let Some((number, process)) = name.strip_prefix("dsg-far").and_then(|rest| rest.split_once('-'))
            && !Path::new("/proc").join(process).exists()
        {
            let _ = ip(&format!("link delete dsg-far{number}"));
            let _ = ip(&format!("netns delete {name}"));
        }
    }
}

fn link(number: u8) -> String {
    format!("dsg-far{number}")
}

fn ip(words: &str) -> Result<String> {
    let said = Command::new("ip").args(words.split(' ')).output().context("starting ip, of the package iproute2")?;
    ensure!(said.status.success(), "ip {words}: {}", String::from_utf8_lossy(&said.stderr).trim());
    Ok(String::from_utf8_lossy(&said.stdout).into_owned())
}

fn id() -> Result<u32> {
    let said = Command::new("id").arg("-u").output().context("starting id")?;
    String::from_utf8_lossy(&said.stdout).trim().parse().context("id -u says no number")
}
