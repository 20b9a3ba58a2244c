//! The work that the grid does meanwhile: pretended chunks, each with lines of its own and a file that nobody else writes.
use anyhow::Result;
use dsg_schemas::ids::JobId;
use dsg_tests::lab::Lab;

#[derive(Clone, Copy, Debug)]
pub struct Work {
    pub chunks: u32,
    pub run_ms: u64,
    pub lines: usize,
}

impl Work {
    pub async fn submit(&self, lab: &Lab) -> Result<JobId> {
        let Work { chunks, run_ms, lines } = self;
        let spec = format!(
            "name: chaos
image: pretend/chaos
resources: {{cpus: 1, memory: 16MiB}}
command: [pretend, run_ms={run_ms}, lines={lines}, errors=1, line_bytes=40, \"write=/out/row.txt=row {{{{chunk.index}}}}\\n\"]
chunks: {{count: {chunks}}}
outputs: [{{name: row, path: /out/row.txt}}]
gather: {{mode: concat, from: row, output: rows}}
"
        );
        lab.client.submit(&spec).await
    }

    /// What a chunk leaves.
    pub fn row(index: u32) -> Vec<u8> {
        format!("row {index}\n").into_bytes()
    }

    /// What the gathered file must hold: each row once, in order.
    pub fn rows(&self) -> Vec<u8> {
        (0..self.chunks).flat_map(Work::row).collect()
    }

    /// What each chunk prints.
    pub fn printed(&self) -> Vec<u8> {
        (0..self.lines).flat_map(|n| format!("{:.<39}\n", format!("line {n}")).into_bytes()).collect()
    }
}

/// More runners than there are cores to run them, and each with several places.
pub const RUNNER: [&str; 6] = ["--pretend", "--cpus", "4", "--memory", "4GiB", "--log-json"];

/// A lab whose runners write down what they begin, and in which a proxy can read.
pub async fn lab(options: &[&str]) -> Result<Lab> {
    Ok(logging(Lab::plain(options).await?))
}

/// Runners that are added from now on write down what they begin.
pub fn logging(mut lab: Lab) -> Lab {
    lab.environment.push(("DSG_LOG".into(), "info,dsg_runner=debug".into()));
    lab
}
