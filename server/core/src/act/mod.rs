//! Acts: what people do to the grid, and what the server does itself. Doing the same twice has one effect.
mod cancel;
mod delete;
mod edit;
mod expire;
mod halt;
mod hold;
mod image;
mod limit;
mod retry;
mod runners;
mod secret;

use dsg_schemas::api::{Act as PersonsAct, Acted};

use crate::event::{Act, Millis, Refusal};
use crate::grid::Grid;
use crate::row::Halt;

impl Grid {
    pub(crate) fn act(&mut self, now: Millis, act: Act) -> Result<Acted, Refusal> {
        let (who, act) = match act {
            Act::Edit(edit) => return self.edit(now, edit),
            Act::Gathered { job, turn, result } => return Ok(self.gathered(now, job, turn, result)),
            Act::Expire(expire) => return self.expire(now, expire),
            Act::SetSecret { who, name, sealed } => return self.set_secret(now, who, name, sealed),
            Act::RemoveSecret { name } => return self.remove_secret(&name),
            Act::Person { who, act } => (who, act),
        };
        match act {
            PersonsAct::Cancel { job } => self.cancel(now, job, &who),
            PersonsAct::Hold { job } => self.hold_job(now, job, &who),
            PersonsAct::Release { job } => self.release(now, job),
            PersonsAct::Retry { job, which } => self.retry(now, job, which),
            PersonsAct::LimitJob { job, parallelism } => self.limit_job(job, parallelism),
            PersonsAct::LimitOwner { owner, cpus_milli, gpus } => self.limit_owner(&owner, cpus_milli, gpus),
            PersonsAct::PushImage { name, sha256, size } => self.push_image(name, image::row(now, who, sha256, size)),
            PersonsAct::RemoveImage { name } => self.remove_image(&name),
            PersonsAct::Delete { job } => self.delete(job),
            PersonsAct::Drain { runner } => self.drain(runner, true),
            PersonsAct::Undrain { runner } => self.drain(runner, false),
            PersonsAct::Pause { runner } => self.halt(runner, Halt::Pause, who),
            PersonsAct::Evict { runner } => self.halt(runner, Halt::Evict, who),
            PersonsAct::Resume { runner } => self.resume(runner),
            PersonsAct::RemoveRunner { runner, force } => self.remove_runner(now, runner, force.then_some(&who)),
        }
    }
}

fn acted(count: u64, message: impl Into<String>) -> Result<Acted, Refusal> {
    Ok(Acted { count, message: message.into() })
}
