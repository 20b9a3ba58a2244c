//! How the cost of a chunk grows with what else there is: with the number of need classes in the queue.
use anyhow::Result;

use super::grid::{Work, run};
use super::{ROUNDS, print_spread};

const CHUNKS: u64 = 20_000;

/// Prints `grid_cost_growth_10_classes` and `grid_cost_growth_40_classes`: the server's CPU time per chunk with so many jobs of
/// different needs over that with one job, in alternating rounds.
pub async fn classes() -> Result<()> {
    let work = |classes| Work { chunks: CHUNKS, classes, runners: 20, places: 64 };
    let (mut ten, mut forty) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        let one = run(work(1)).await?.cpu_us_per_chunk;
        ten.push(run(work(10)).await?.cpu_us_per_chunk / one);
        forty.push(run(work(40)).await?.cpu_us_per_chunk / one);
    }
    print_spread("grid_cost_growth_10_classes", &ten, "ratio");
    print_spread("grid_cost_growth_40_classes", &forty, "ratio");
    Ok(())
}
