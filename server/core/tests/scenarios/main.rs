//! Runs every `scenarios/*.txt`: commands, each followed by what it must print (`> …`). `BLESS=1` writes what it prints instead.
//!
//! | command | means |
//! |---|---|
//! | `runner ada cpus=4 gpus=1 …` | enrol and hello with these facts (see `words.rs`); `enrol ada cpus=4 …`: without the hello |
//! | `hello ada [host=h] …` | a new session of its process; what it holds, it keeps |
//! | `reboot ada` | all that it holds is gone; nothing is said to the server |
//! | `submit fit chunks=3 cpus=2 …` | a job (see `words.rs`) |
//! | `sync ada 3=running 4=exit:1 [no_more=why] [goodbye] [answer=lost]` | it reports what it holds, with these changes |
//! | `… sick_gpus=gpu0,gpu1` | these GPUs broke |
//! | `… only`, `… session=4 seq=17` | it holds nothing but these; a sync of another session, or out of its turn |
//! | `wake ada` | the held sync of ada is given work, if there is any |
//! | `repeat ada` | its last sync arrives once more |
//! | `wait 30s` | time passes, with a tick at its end; `quiet 30s`: without one |
//! | `restart` | the server starts anew from its rows; `restart same`: which say the same as its memory did |
//! | `away 30m` | the server is suspended for so long; `back 10m`: its clock goes back, as no running server's does |
//! | `cancel 1`, `hold 1`, `release 1`, `retry 1 failed`, `delete 1`, `drain ada`, `undrain ada`, `remove ada` | acts of mara |
//! | `runner ada lives=1h` | it ends by itself, so long after the beginning of the scenario |
//! | `pause ada`, `evict ada`, `resume ada` | acts of mara, too |
//! | `limit 1 4`, `limit 1 none`, `limit owner=mara cpus=2` | of a job's chunks at once, of what an owner's chunks reserve at once |
//! | `push dsg/x:1 aaaa`, `unpush dsg/x:1` | mara brings or removes an image; `images` shows them |
//! | `key k1`, `seal token k1 [size=9B]`, `unseal token` | the shell has this key; mara sets or removes a secret |
//! | `secrets 3 ada` | ada asks for the secrets of attempt 3 |
//! | `edit 1 chunks=9 memory=2GiB [other] [again]` | mara replaces the job file; `other`: the chunks do something else |
//! | `gathered 1 a.csv`, `gathered 1 problem=why` | the server's own steps are done |
//! | `expire 1 logs`, `expire 1 outputs`, `expire 1 job` | a rule takes them; `none`: there were none; `stale`: it saw another end |
//! | `explain 1/0`, `why 1`, `job 1`, `queue`, `runners`, `owners`, `attempt 3`, `can cpus=9` | questions |
#[expect(dead_code, reason = "the simulator needs the rest")]
#[path = "../common/disk.rs"]
mod disk;
mod play;
#[expect(dead_code, reason = "the simulator needs the rest")]
#[path = "../common/proof/mod.rs"]
mod proof;
#[expect(dead_code, reason = "the simulator needs the rest")]
#[path = "../common/shell.rs"]
mod shell;
mod show;
mod words;

use std::path::{Path, PathBuf};

#[test]
fn every_scenario_prints_what_it_says() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("scenarios");
    let mut files: Vec<PathBuf> = std::fs::read_dir(&folder)
        .expect("the folder of scenarios")
        .map(|entry| entry.expect("an entry").path())
        .collect();
    files.sort();
    assert!(files.len() >= 25, "only {} scenarios", files.len());
    let bless = std::env::var_os("BLESS").is_some();
    let mut wrong = Vec::new();
    for file in files {
        let said = std::fs::read_to_string(&file).expect("a scenario");
        let printed = play::play(&said, &file.display().to_string());
        if bless {
            std::fs::write(&file, &printed).expect("the scenario can be written");
        } else if said != printed {
            let at = said.lines().zip(printed.lines()).position(|(said, printed)| said != printed).unwrap_or(0);
            let line = |text: &str| text.lines().nth(at).unwrap_or("").to_owned();
            let (wanted, got) = (line(&said), line(&printed));
            wrong.push(format!("{}:{}\n  wanted {wanted}\n  got    {got}", file.display(), at + 1));
        }
    }
    assert!(wrong.is_empty(), "BLESS=1 accepts what is printed now\n{}", wrong.join("\n"));
}
