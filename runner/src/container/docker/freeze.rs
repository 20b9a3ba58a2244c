//! Pause and unpause: the engine's freezer, which both have under the same name.
use super::DockerEngine;
use super::plain::escaped_path;
use crate::container::{Failure, State};

impl DockerEngine {
    pub(super) async fn freeze(&self, id: &str) -> Result<(), Failure> {
        let asked = self.plain.order(&format!("/containers/{}/pause", escaped_path(id))).await;
        match asked {
            Ok(()) => Ok(()),
            // Both refuse what is so already, in words of their own: only what the engine says now counts.
            Err(trouble) => match self.look(id).await {
                Ok(State::Paused | State::Exited(_) | State::Gone) => Ok(()),
                Ok(State::Created | State::Running { .. }) | Err(_) => Err(trouble.failed("pause the container")),
            },
        }
    }

    pub(super) async fn thaw(&self, id: &str) -> Result<(), Failure> {
        let asked = self.plain.order(&format!("/containers/{}/unpause", escaped_path(id))).await;
        match asked {
            Ok(()) => Ok(()),
            Err(trouble) => match self.look(id).await {
                Ok(State::Created | State::Running { .. } | State::Exited(_) | State::Gone) => Ok(()),
                Ok(State::Paused) | Err(_) => Err(trouble.failed("let the container go on")),
            },
        }
    }

    /// Before a TERM, which a frozen process does not hear, and before a removal, which Docker 20.10 refuses then.
    pub(super) async fn thaw_if_frozen(&self, id: &str) {
        if let Ok(State::Paused) = self.look(id).await
            && let Err(failure) = self.thaw(id).await
        {
            tracing::warn!(container = id, %failure, "a frozen container is to end");
        }
    }
}
