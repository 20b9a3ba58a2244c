//! Where an engine may listen: an order of places, from what somebody asked for to what distributions ship.
use std::path::PathBuf;

/// One place to try, and who named it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Place {
    pub socket: PathBuf,
    pub from: &'static str,
}

/// The places to try. An address that a person gave is the only one: trying others would run containers where nobody expects them.
pub(super) fn places(asked: Option<&str>, environment: &dyn Fn(&str) -> Option<String>) -> Result<Vec<Place>, String> {
    if let Some(address) = asked {
        return Ok(vec![Place { socket: socket_of(address)?, from: "--engine" }]);
    }
    if let Some(address) = environment("DOCKER_HOST").filter(|address| !address.is_empty()) {
        return Ok(vec![Place { socket: socket_of(&address)?, from: "DOCKER_HOST" }]);
    }
    let usual = |socket: &str| Place { socket: PathBuf::from(socket), from: "the usual place" };
    let mut places = vec![usual("/run/docker.sock"), usual("/var/run/docker.sock")];
    if let Some(folder) = environment("XDG_RUNTIME_DIR").filter(|folder| !folder.is_empty()) {
        let under = |socket: &str| Place { socket: PathBuf::from(&folder).join(socket), from: "XDG_RUNTIME_DIR" };
        places.push(under("docker.sock"));
        places.push(under("podman/podman.sock"));
    }
    places.push(usual("/run/podman/podman.sock"));
    Ok(places)
}

fn socket_of(address: &str) -> Result<PathBuf, String> {
    let path = match address.split_once("://") {
        Some(("unix", path)) => path,
        None if address.starts_with('/') => address,
        Some((scheme, _)) => {
            return Err(format!(
                "failed to use the container engine at {address:?}: {scheme}:// is not supported, because a runner must see the engine's host; give a Unix socket, as in unix:///run/docker.sock"
            ));
        }
        None => {
            return Err(format!(
                "failed to use the container engine at {address:?}: it is no address; give a Unix socket, as in unix:///run/docker.sock"
            ));
        }
    };
    Ok(PathBuf::from(path))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sockets(asked: Option<&str>, environment: &[(&str, &str)]) -> Result<Vec<String>, String> {
        let look = |name: &str| environment.iter().find(|(key, _)| *key == name).map(|(_, value)| (*value).to_owned());
        Ok(places(asked, &look)?.into_iter().map(|place| place.socket.display().to_string()).collect())
    }

    #[test]
    fn what_was_asked_for_is_the_only_place() {
        let both = [("DOCKER_HOST", "unix:///h.sock"), ("XDG_RUNTIME_DIR", "/run/user/7")];
        assert_eq!(sockets(Some("unix:///a.sock"), &both), Ok(vec!["/a.sock".to_owned()]));
        assert_eq!(sockets(Some("/a.sock"), &both), Ok(vec!["/a.sock".to_owned()]));
        assert_eq!(sockets(None, &both), Ok(vec!["/h.sock".to_owned()]));
        let usual = sockets(None, &both[1..]).expect("places");
        assert_eq!(
            usual,
            [
                "/run/docker.sock",
                "/var/run/docker.sock",
                "/run/user/7/docker.sock",
                "/run/user/7/podman/podman.sock",
                "/run/podman/podman.sock"
            ]
        );
    }

    #[test]
    fn other_ways_than_a_unix_socket_are_refused_with_the_way_out() {
        for address in ["tcp://1.2.3.4:2375", "ssh://me@host", "docker", "http://x"] {
            let told = sockets(Some(address), &[]).expect_err(address);
            assert!(told.contains(address) && told.contains("unix:///run/docker.sock"), "{told}");
        }
    }
}
