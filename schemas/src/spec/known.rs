//! Words of the design that this version does not do yet: refused with a sentence of their own, never as mere unknown keys.

/// A place (list positions left out) and what to say of it. `NAME` stands for any key.
const KEYS: &[(&str, &str)] = &[
    ("stages", "split it into one job per stage"),
    ("needs", "submit the next job when this one is done (`dsg wait`)"),
    (
        "secrets.env",
        "read the file /run/secrets/NAME: a variable is seen by whoever may inspect the container, and by every program in it",
    ),
    ("cache", "every chunk is run"),
    ("defaults", "write the keys at the top level"),
    ("template", "write the job out, with `params` for what varies"),
    ("with", "write the job out, with `params` for what varies"),
    ("revision", "write the job out, with `params` for what varies"),
    ("required_params", "a param without a default must be given anyway"),
    ("job", "write the job's keys at the top level"),
    ("approval", "use `hold: true`, and release the job by hand"),
    ("compat", "read DSG_CHUNK_INDEX and DSG_CHUNK_COUNT"),
    ("chunks.same_as", "repeat the source"),
    ("chunks.max_chunks", "at most 1,000,000 chunks are taken anyway"),
    ("chunks.batch.bytes", "use `batch: {items: …}` or `batch: {into: …}`"),
    ("retry.rules.when.log_matches", "let the command end with an exit code of its own"),
    ("gather.retry.rules.when.log_matches", "let the command end with an exit code of its own"),
    ("timeouts.pull", "a pull that hangs is given up by the runner"),
    ("gather.timeouts.pull", "a pull that hangs is given up by the runner"),
    ("constraints.spread", "use `chunks.per_runner`"),
    ("inputs.mode", "inputs are copied and read-only"),
    ("inputs.sha256", "uploads are verified anyway"),
    ("inputs.unpack", "unpack it in the container"),
    ("outputs.min_size", "test the size in the container, and end with an exit code other than 0"),
    ("outputs.publish", "get it with `dsg fetch`"),
    ("outputs.retain", "use `retention: {outputs: …}`"),
    ("gather.outputs.min_size", "test the size in the container, and end with an exit code other than 0"),
    ("gather.outputs.publish", "get it with `dsg fetch`"),
    ("gather.outputs.retain", "use `retention: {outputs: …}`"),
    ("gather.missing", "missing chunks are listed in the manifest"),
    ("params.NAME.minLength", "use `pattern`"),
    ("params.NAME.maxLength", "use `pattern`"),
];

/// A place, a word that may stand there by the design, and what to do.
const WORDS: &[(&str, &str, &str)] = &[
    ("kind", "Template", "write a job, with `params` for what varies"),
    ("network", "host", "use `none` or `bridge`"),
    ("gather.mode", "jsonl", "use `concat`: JSON lines can be joined byte after byte"),
    ("gather.mode", "tar", "get the outputs with `dsg fetch`, or use `mode: run`"),
    ("gather.when", "finished", "use `partial`"),
    ("chunks.files.order", "size", "use `name` or `natural`"),
    ("params.NAME.type", "path", "use `string`"),
    ("params.NAME.type", "duration", "use `string`"),
    ("params.NAME.type", "size", "use `string`"),
];

/// What to do in place of a key of the design.
pub fn key(readable: &str) -> Option<&'static str> {
    let place = plain(readable);
    KEYS.iter().find(|(key, _)| *key == place).map(|(_, hint)| *hint)
}

/// What to do in place of a word of the design.
pub fn word(readable: &str, word: &str) -> Option<&'static str> {
    let place = plain(readable);
    WORDS.iter().find(|(key, known, _)| *key == place && *known == word).map(|(_, _, hint)| *hint)
}

/// The one-document form of several stages: what else is missing then does not matter.
pub fn replaces_the_job(key: &str) -> bool {
    matches!(key, "stages" | "template" | "job")
}

/// `params.x.type` to `params.NAME.type`, `inputs[0].mode` to `inputs.mode`.
fn plain(readable: &str) -> String {
    let mut out = String::new();
    for (index, part) in readable.split('.').enumerate() {
        let part = part.split('[').next().unwrap_or_default();
        let part = if index == 1 && readable.starts_with("params.") { "NAME" } else { part };
        if index > 0 {
            out.push('.');
        }
        out.push_str(part);
    }
    out
}
