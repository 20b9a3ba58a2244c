//! What goes wrong in an engine call, sorted once: no answer, an answer that refuses, or an answer that makes no sense.
use dsg_schemas::reason::EndReason;

use crate::container::Failure;

/// Why one call did not work. Status codes differ between engines (Podman says 500 for nearly everything), so words decide.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Trouble {
    /// Nothing came back, or it broke off: nothing is known about what the engine did.
    Silent(String),
    Refused {
        status: u16,
        message: String,
    },
    /// It answered something that we cannot read.
    Strange(String),
}

impl Trouble {
    /// 404, or what a stream says instead.
    pub(super) fn missing(&self) -> bool {
        matches!(self, Trouble::Refused { status: 404, .. })
    }

    pub(super) fn says(&self, words: &[&str]) -> bool {
        let text = self.text().to_lowercase();
        words.iter().any(|word| text.contains(word))
    }

    pub(super) fn text(&self) -> &str {
        match self {
            Trouble::Silent(text) | Trouble::Strange(text) => text,
            Trouble::Refused { message, .. } => message,
        }
    }

    /// For people, with what was attempted.
    pub(super) fn failed(self, attempted: &str) -> Failure {
        let full = self.says(&["no space left on device", "disk quota exceeded"]);
        self.sorted(attempted, if full { EndReason::DiskFull } else { EndReason::EngineError })
    }

    /// The same, where the caller knows better whose fault it was.
    pub(super) fn sorted(self, attempted: &str, reason: EndReason) -> Failure {
        match self {
            Trouble::Silent(text) => Failure {
                reason: EndReason::EngineError,
                message: format!(
                    "failed to {attempted}: the container engine does not answer ({text}); check that it runs, as with systemctl status docker"
                ),
                engine_gone: true,
            },
            Trouble::Refused { message, .. } => {
                Failure { reason, message: format!("failed to {attempted}: {message}"), engine_gone: false }
            }
            Trouble::Strange(text) => Failure {
                reason,
                message: format!("failed to {attempted}: the engine's answer could not be read: {text}"),
                engine_gone: false,
            },
        }
    }
}

impl From<bollard::errors::Error> for Trouble {
    fn from(error: bollard::errors::Error) -> Trouble {
        use bollard::errors::Error;
        match error {
            Error::DockerResponseServerError { status_code, message } => {
                Trouble::Refused { status: status_code, message: message.trim().to_owned() }
            }
            Error::DockerStreamError { error } => Trouble::Refused { status: 200, message: error.trim().to_owned() },
            Error::IOError { .. }
            | Error::HyperResponseError { .. }
            | Error::HyperLegacyError { .. }
            | Error::SocketNotFoundError(_) => Trouble::Silent(chain(&error)),
            Error::RequestTimeoutError => Trouble::Silent("no answer in time".to_owned()),
            other => Trouble::Strange(chain(&other)),
        }
    }
}

/// An error with its causes, none said twice.
pub(super) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        let more = cause.to_string();
        if !text.contains(&more) {
            text = format!("{text}: {more}");
        }
        next = cause.source();
    }
    text
}

/// Why a container did not start. Both engines pass on what the runtime said, and only its words tell a wrong command from a
/// broken host.
pub(super) fn start_reason(trouble: &Trouble) -> EndReason {
    let not_ours = ["no space left on device", "disk quota exceeded"];
    let gpu = ["could not select device driver", "unresolvable cdi device", "nvidia-container", "cdi device injection"];
    let command = [
        "executable file not found",
        "no such file or directory: unknown",
        "not found in $path",
        "exec format error",
        "unable to find user",
        "no matching entries in passwd",
        "starting container process caused",
        "unable to start container process",
        "permission denied: unknown",
        "is a directory: unknown",
        // In the words of crun.
        "attempted to invoke a command that was not found",
        "exists but it is not executable",
        "is not a regular file: operation not permitted",
        "open executable: permission denied",
    ];
    let host = ["error mounting", "cgroup", "setting rlimit", "error running hook", "seccomp"];
    if trouble.says(&not_ours) {
        EndReason::DiskFull
    } else if trouble.says(&gpu) {
        EndReason::GpuError
    } else if trouble.says(&command) && !trouble.says(&host) {
        EndReason::BadCommand
    } else {
        EndReason::EngineError
    }
}

/// Whether trying a pull again may help. A wrong password and an image that does not exist read the same on most registries.
pub(super) fn pull_reason(trouble: &Trouble) -> EndReason {
    let later = ["too many requests", "toomanyrequests", "timeout", "timed out", "connection refused", "temporar"];
    let never = [
        "manifest unknown",
        "manifest for",
        "unauthorized",
        "authentication required",
        "pull access denied",
        "requested access to the resource is denied",
        "repository does not exist",
        "name unknown",
        "not found",
        "no such image",
        "invalid reference format",
        "short-name",
        "denied:",
    ];
    let elsewhere = ["no matching manifest", "no image found in manifest list", "no image found in image index"];
    if trouble.says(&["no space left on device", "disk quota exceeded"]) {
        EndReason::DiskFull
    } else if trouble.says(&elsewhere) {
        // There is one for other platforms: another runner may take it.
        EndReason::Refused
    } else if trouble.says(&later) || !trouble.says(&never) {
        EndReason::PullFailed
    } else {
        EndReason::ImageNotFound
    }
}

/// Whether the registry wants to know who asks, or does not like who does.
pub(super) fn is_about_login(trouble: &Trouble) -> bool {
    trouble.says(&["unauthorized", "authentication required", "denied", "no basic auth credentials", "docker login"])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(message: &str) -> Trouble {
        Trouble::Refused { status: 500, message: message.to_owned() }
    }

    #[test]
    fn the_words_of_both_engines_are_sorted() {
        let cases = [
            ("manifest for busybox:nope not found: manifest unknown: manifest unknown", EndReason::ImageNotFound),
            (
                "pull access denied for lab/x, repository does not exist or may require 'docker login'",
                EndReason::ImageNotFound,
            ),
            (
                "reading manifest latest in docker.io/lab/x: unauthorized: access to the requested resource is not authorized",
                EndReason::ImageNotFound,
            ),
            (
                "Get \"https://registry-1.docker.io/v2/\": dial tcp 1.2.3.4:443: connect: connection refused",
                EndReason::PullFailed,
            ),
            ("toomanyrequests: You have reached your pull rate limit", EndReason::PullFailed),
            (
                "Get \"https://x/v2/\": net/http: request canceled (Client.Timeout exceeded while awaiting headers)",
                EndReason::PullFailed,
            ),
            ("dial tcp: lookup registry.invalid: no such host", EndReason::PullFailed),
            ("write /var/lib/docker/tmp/x: no space left on device", EndReason::DiskFull),
            ("no matching manifest for linux/arm64/v8 in the manifest list entries", EndReason::Refused),
            ("choosing an image from manifest list: no image found in manifest list for linux", EndReason::Refused),
        ];
        for (message, reason) in cases {
            assert_eq!(pull_reason(&refused(message)), reason, "{message}");
        }
    }

    #[test]
    fn a_start_that_fails_is_the_users_only_where_the_command_is_to_blame() {
        let cases = [
            (
                "OCI runtime create failed: runc create failed: unable to start container process: exec: \"nope\": executable file not found in $PATH: unknown",
                EndReason::BadCommand,
            ),
            (
                "runc: runc create failed: unable to start container process: exec: \"/data\": permission denied: unknown: OCI permission denied",
                EndReason::BadCommand,
            ),
            (
                "crun: executable file `nope` not found in $PATH: No such file or directory: OCI runtime attempted to invoke a command that was not found",
                EndReason::BadCommand,
            ),
            (
                "preparing container 1a for attach: crun: executable file `/no/such` not found: No such file or directory: OCI runtime attempted to invoke a command that was not found",
                EndReason::BadCommand,
            ),
            (
                "crun: the path `/etc/passwd` exists but it is not executable: Operation not permitted: OCI permission denied",
                EndReason::BadCommand,
            ),
            (
                "crun: cgroups in hybrid mode not supported, drop all controllers from cgroupv2: OCI runtime error",
                EndReason::EngineError,
            ),
            ("unable to find user bob: no matching entries in passwd file", EndReason::BadCommand),
            ("could not select device driver \"nvidia\" with capabilities: [[gpu]]", EndReason::GpuError),
            ("setting up CDI devices: unresolvable CDI devices nvidia.com/gpu=7", EndReason::GpuError),
            (
                "unable to start container process: error during container init: error setting rlimits for type 7: operation not permitted: setting rlimit",
                EndReason::EngineError,
            ),
            ("mkdir /var/lib/docker/overlay2/x: no space left on device", EndReason::DiskFull),
        ];
        for (message, reason) in cases {
            assert_eq!(start_reason(&refused(message)), reason, "{message}");
        }
    }

    #[test]
    fn silence_is_the_engine_gone_and_nothing_else_is() {
        let gone = Trouble::Silent("connection refused".into()).sorted("start it", EndReason::BadCommand);
        assert_eq!((gone.reason, gone.engine_gone), (EndReason::EngineError, true));
        let refused = refused("oh").failed("start it");
        assert_eq!((refused.reason, refused.engine_gone), (EndReason::EngineError, false));
        assert_eq!(refused.message, "failed to start it: oh");
    }
}
