//! Images that people brought: kept by name until somebody removes them. A job keeps the one that its name meant at submit.
use dsg_schemas::api::Acted;
use dsg_schemas::spec::{may_be_pushed, pushed_name};

use super::acted;
use crate::event::{Millis, Refusal};
use crate::grid::Grid;
use crate::job::Job;
use crate::row::ImageRow;

/// They are one row.
const IMAGES: usize = 1000;

impl Grid {
    pub(super) fn push_image(&mut self, name: String, row: ImageRow) -> Result<Acted, Refusal> {
        if !may_be_pushed(&name) {
            return Err(Refusal::ImageName(name));
        }
        let before = self.images.get(&name);
        if before.is_some_and(|before| before.sha256 == row.sha256) {
            return acted(0, format!("{name} is this very image already"));
        }
        let said = match before {
            Some(_) => "is another image from now on; jobs that were submitted before keep theirs",
            None if self.images.len() >= IMAGES => return Err(Refusal::TooManyImages(IMAGES)),
            None => "can be used in job files",
        };
        let message = format!("{name} {said}");
        self.images.insert(name, row);
        self.changes.images = true;
        acted(1, message)
    }

    pub(super) fn remove_image(&mut self, name: &str) -> Result<Acted, Refusal> {
        if !self.images.contains_key(name) {
            return Err(Refusal::UnknownImage(name.to_owned()));
        }
        let mut open = self.jobs.values().filter(|job| !job.row.state.is_final());
        if let Some(job) = open.find(|job| uses(job, name)) {
            return Err(Refusal::ImageInUse { name: name.to_owned(), job: job.row.id });
        }
        self.images.remove(name);
        self.changes.images = true;
        acted(1, format!("{name} is removed"))
    }
}

fn uses(job: &Job, name: &str) -> bool {
    let run = job.row.gather.as_ref().and_then(|gather| gather.run.as_ref());
    let images = std::iter::once(&job.row.image).chain(run.map(|run| &run.needs.image));
    images.filter_map(|image| pushed_name(image)).any(|used| used == name)
}

/// As it is pushed now.
pub(super) fn row(now: Millis, who: String, sha256: String, size: u64) -> ImageRow {
    ImageRow { sha256, size, by: who, at_ms: now }
}
