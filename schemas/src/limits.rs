//! A limit on everything, each with its reason.

/// Chunks in one job. Above it, one state byte each still fits memory, but no person can reason about the job.
pub const CHUNKS_PER_JOB: u64 = 1_000_000;
/// A job file. The largest honest one is well below.
pub const SPEC_BYTES: usize = 1 << 20;
/// YAML values in one job file, aliases counted: they bound how long the check takes (`make bench ONLY=check`: below 100 ms). Longer
/// lists belong into a file and `chunks.rows`.
pub const SPEC_NODES: usize = 40_000;
/// Nesting in one job file. The deepest documented key is at 6.
pub const SPEC_DEPTH: usize = 32;
/// Problems said of one job file: nobody reads on, and looking for more costs time.
pub const SPEC_PROBLEMS: usize = 100;
/// Retry rules of one job: they are walked at each failure.
pub const RETRY_RULES: usize = 20;
/// Requeues that the grid grants one chunk for its own failures (lost runner, failed pull) before it gives up.
pub const GRID_REQUEUES: u32 = 5;
/// Extra attempts a spec may ask for.
pub const RETRY_LIMIT: u32 = 100;
/// Uploaded files of one job: their list travels with each start order.
pub const UPLOADS: usize = 10_000;
/// `DSG_ITEM` is left out above this: a kernel refuses a single environment string over 128 KiB.
pub const ITEM_ENV_BYTES: usize = 32 << 10;
/// The items of one chunk, as JSON lines: they travel in the start order.
pub const ITEMS_BYTES: usize = 4 << 20;
/// One log upload. Large enough for a flood, small enough to hold in memory at both ends.
pub const LOG_BATCH_BYTES: usize = 1 << 20;
/// Log bytes kept of one attempt, both streams together: the head stays, the tail is a ring, the hole is recorded.
pub const LOG_HEAD_BYTES: u64 = 8 << 20;
pub const LOG_TAIL_BYTES: u64 = 24 << 20;
/// A longer line is shown as several; the raw bytes stay whole.
pub const LOG_LINE_BYTES: usize = 64 << 10;
/// One piece of a blob upload.
pub const BLOB_PIECE_BYTES: u64 = 8 << 20;
/// Files that one output glob may match.
pub const OUTPUT_FILES: usize = 10_000;
/// Outputs of chunks that a gather's container finds: their list travels with its start order.
pub const GATHER_FILES: usize = 10_000;
/// A secret that is shorter cannot be masked: it would be found everywhere in a log.
pub const SECRET_BYTES_LEAST: usize = 8;
/// A key, a certificate, a service account: the largest honest one is well below.
pub const SECRET_BYTES_MOST: usize = 64 << 10;
/// Secrets of one container.
pub const SECRETS: usize = 16;
/// All of them together: what is masked is looked for in a score of spellings, which take memory.
pub const SECRETS_BYTES: usize = 128 << 10;
/// Secrets of the whole grid: they are one row.
pub const SECRETS_OF_GRID: usize = 200;
/// Rows of one page of a list.
pub const PAGE_ROWS: usize = 200;
/// How long a lease lasts without a sync, unless the server is told otherwise.
pub const LEASE_MS: u64 = 60_000;
/// Shorter, and a busy machine looks like a lost one; longer, and nobody waits for it.
pub const LEASE_MIN_MS: u64 = 2_000;
pub const LEASE_MAX_MS: u64 = 3_600_000;
/// Runners sync so many times in a lease while they hold something: one good sync in a bad hour keeps what is held.
pub const RENEWALS: u64 = 4;
/// How long an idle sync is held open by the server.
pub const SYNC_WAIT_MS: u64 = 20_000;
/// Processes in one container: bounds a fork bomb, far above honest use.
pub const PIDS: i64 = 4096;
/// Open files in one container.
pub const NOFILE: i64 = 65_536;
/// A file of `rows:`. It is read whole, once, at submit.
pub const ROWS_BYTES: u64 = 64 << 20;
/// Its rows as JSON lines, where every row repeats the names of the columns.
pub const TABLE_BYTES: usize = 256 << 20;
