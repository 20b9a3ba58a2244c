//! Images without a registry: out of a local engine (here a script that speaks as one), onto the server, to a runner, and away again.
use std::os::unix::fs::PermissionsExt;

use anyhow::{Result, ensure};

use super::desk::Desk;

/// Knows one image, and saves it as an archive of these bytes.
fn engine(desk: &Desk, says: &str) -> Result<String> {
    let path = desk.lab.path("engine");
    let script = format!(
        "#!/bin/sh\ncase \"$1 $2\" in\n\"image inspect\") [ \"$5\" = fit:1 ] || {{ echo \"no such image: $5\" >&2; exit 1; }}; echo sha256:abc ;;\n\
         \"save sha256:abc\") printf '%s' '{says}' ;;\n*) echo \"what is $*\" >&2; exit 1 ;;\nesac\n"
    );
    std::fs::write(&path, script)?;
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755))?;
    Ok(path.display().to_string())
}

fn job(image: &str, more: &str) -> String {
    format!(
        "name: fit\nimage: {image}\ncommand: [pretend, exit=0]\nchunks: {{count: 1}}\nresources: {{cpus: 1, memory: 64MiB}}\n{more}"
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn an_image_is_brought_used_and_removed() -> Result<()> {
    let desk = Desk::logged_in(&["ada"]).await?;
    desk.put("job.yaml", &job("dsg/fit:1", "hold: true\n"))?;
    let said = desk.dsg(&["submit", "job.yaml"]).await?.ends_with(7)?;
    ensure!(said.err.contains("nobody has brought the image dsg/fit:1"), "{said:?}");
    let command = engine(&desk, "one")?;
    let said = desk.dsg(&["image", "push", "fit:1", "--from", "other:1", "--engine", &command]).await?.ends_with(5)?;
    ensure!(said.err.contains("no such image: other:1"), "{said:?}");
    desk.dsg(&["image", "push", "Fit:1", "--engine", &command]).await?.ends_with(2)?;
    let said = desk.dsg(&["image", "push", "fit:1", "--engine", &command]).await?.ends_with(0)?;
    ensure!(said.err.contains("dsg/fit:1 can be used in job files"), "{said:?}");
    let rows = desk.dsg(&["image", "ls", "-o", "ndjson"]).await?.ends_with(0)?.rows()?;
    let first = rows[0]["sha256"].clone();
    ensure!(rows.len() == 1 && rows[0]["name"] == "dsg/fit:1" && rows[0]["size"] == 3, "{rows:?}");
    desk.dsg(&["submit", "job.yaml"]).await?.ends_with(0)?;

    // Another one under the name is for later jobs; and an open job holds it.
    engine(&desk, "another")?;
    desk.dsg(&["image", "push", "fit:1", "--engine", &command]).await?.ends_with(0)?;
    let rows = desk.dsg(&["image", "ls", "-o", "ndjson"]).await?.ends_with(0)?.rows()?;
    ensure!(rows.len() == 1 && rows[0]["sha256"] != first && rows[0]["size"] == 7, "{rows:?}");
    let said = desk.dsg(&["image", "rm", "fit:1"]).await?.ends_with(8)?;
    ensure!(said.err.contains("job 1 uses image dsg/fit:1"), "{said:?}");
    desk.dsg(&["cancel", "1"]).await?.ends_with(0)?;
    desk.dsg(&["wait", "1"]).await?;
    desk.dsg(&["image", "rm", "dsg/fit:1"]).await?.ends_with(0)?;
    desk.dsg(&["image", "rm", "dsg/fit:1"]).await?.ends_with(5)?;
    ensure!(desk.dsg(&["image", "ls", "-o", "ndjson"]).await?.ends_with(0)?.rows()?.is_empty());
    Ok(())
}

/// What the pretended engine says is no archive: the runner looks before it loads.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_image_is_not_loaded() -> Result<()> {
    let desk = Desk::logged_in(&["ada"]).await?;
    let command = engine(&desk, "no archive at all")?;
    desk.dsg(&["image", "push", "fit:1", "--engine", &command]).await?.ends_with(0)?;
    desk.put("job.yaml", &job("dsg/fit:1", ""))?;
    desk.dsg(&["submit", "job.yaml", "--wait"]).await?.ends_with(3)?;
    let said = desk.dsg(&["show", "1/0"]).await?.ends_with(0)?;
    ensure!(said.out.contains("image dsg/fit:1 cannot be loaded"), "{said:?}");
    Ok(())
}
