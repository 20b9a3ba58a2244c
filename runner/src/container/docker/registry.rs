//! Credentials for registries, by reference: the owner names a file per registry, which is read for each pull and given to the engine with
//! that pull alone. What is in it is in no error, no log and no answer.
use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE};
use serde::Deserialize;
use serde_json::json;

const HUB: &str = "docker.io";

/// `host` or `host:port`, and the file for it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Registries {
    pub files: BTreeMap<String, PathBuf>,
}

/// For one header of one request. It is never shown.
pub(super) struct Login {
    pub header: String,
}

/// As `docker login` and `podman login --authfile` write it.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Written {
    #[serde(default)]
    auths: BTreeMap<String, Entry>,
    #[serde(default)]
    creds_store: Option<String>,
    #[serde(default)]
    cred_helpers: BTreeMap<String, String>,
}

#[derive(Deserialize)]
struct Entry {
    auth: Option<String>,
    username: Option<String>,
    password: Option<String>,
    identitytoken: Option<String>,
}

impl Registries {
    /// The registry of an image's full name.
    fn of<'n>(&self, name: &'n str) -> (&'n str, Option<&Path>) {
        let host = name.split('/').next().unwrap_or_default();
        (host, self.files.get(host).map(PathBuf::as_path))
    }

    /// `None`: the owner names no file for this registry.
    pub(super) fn login(&self, name: &str) -> Result<Option<Login>, String> {
        let (host, Some(path)) = self.of(name) else { return Ok(None) };
        let failed = |why: String| format!("failed to take the credentials for {host} from {}: {why}", path.display());
        read(path, host).map(Some).map_err(failed)
    }

    /// Where a pull was refused: which file was looked at, or that there is none.
    pub(super) fn looked_at(&self, name: &str) -> String {
        match self.of(name) {
            (host, Some(path)) => format!("the credentials for {host} came from {} on this runner", path.display()),
            (host, None) => {
                format!("runner.toml of this runner has no credentials for it, as [registry.\"{host}\"] would")
            }
        }
    }

    /// Why each file that cannot be used cannot be.
    pub fn faults(&self) -> Vec<(String, Option<String>)> {
        let look = |(host, path): (&String, &PathBuf)| {
            let why = read(path, host).err();
            (host.clone(), why.map(|why| format!("{}: {why}", path.display())))
        };
        self.files.iter().map(look).collect()
    }
}

fn read(path: &Path, host: &str) -> Result<Login, String> {
    let meta =
        std::fs::metadata(path).map_err(|error| format!("{error}; write it with docker login or podman login"))?;
    if meta.permissions().mode() & 0o007 != 0 {
        return Err("everybody on this host may read it or more; take that away with chmod o= on it".to_owned());
    }
    let text = std::fs::read(path).map_err(|error| error.to_string())?;
    // The parser's own words would quote what is there.
    let place = |error: serde_json::Error| {
        let (line, column) = (error.line(), error.column());
        format!("line {line}, column {column} is not as docker login writes it (a table `auths` of registries)")
    };
    let written: Written = serde_json::from_slice(&text).map_err(place)?;
    let Some(entry) = entry(&written, host) else {
        if written.creds_store.is_some() || written.cred_helpers.contains_key(host) {
            return Err(
                "it leaves them to a credential helper, which a runner does not start; log in with a file of its own"
                    .to_owned(),
            );
        }
        return Err("it has none for this registry; log in to it with docker login or podman login".to_owned());
    };
    login(entry, host).ok_or_else(|| format!("what it has for {host} is no user with a password or a token"))
}

fn entry<'w>(written: &'w Written, host: &str) -> Option<&'w Entry> {
    let is_it = |key: &str| {
        let key = key.trim_start_matches("https://").trim_start_matches("http://");
        let known = key.split('/').next().unwrap_or_default();
        known == host || (host == HUB && known == "index.docker.io")
    };
    let found = written.auths.iter().find(|(key, _)| is_it(key)).map(|(_, entry)| entry);
    // With a helper, an empty entry only says that somebody has logged in.
    found.filter(|entry| entry.auth.is_some() || entry.username.is_some() || entry.identitytoken.is_some())
}

fn login(entry: &Entry, host: &str) -> Option<Login> {
    let decoded = match &entry.auth {
        Some(auth) => Some(String::from_utf8(STANDARD.decode(auth.trim()).ok()?).ok()?),
        None => None,
    };
    let (user, password) = match decoded.as_deref().map(|text| text.split_once(':')) {
        Some(pair) => pair.map(|(user, password)| (user.to_owned(), password.trim_end_matches('\0').to_owned()))?,
        None => (entry.username.clone().unwrap_or_default(), entry.password.clone().unwrap_or_default()),
    };
    let token = entry.identitytoken.clone().unwrap_or_default();
    if token.is_empty() && (user.is_empty() || password.is_empty()) {
        return None;
    }
    let server = if host == HUB { "https://index.docker.io/v1/" } else { host };
    let told = match token.is_empty() {
        true => json!({"username": user, "password": password, "serveraddress": server}),
        false => json!({"username": user, "identitytoken": token, "serveraddress": server}),
    };
    Some(Login { header: URL_SAFE.encode(told.to_string()) })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Encodes to both characters in which the two alphabets differ.
    const PASSWORD: &str = "s3cret~?>~?>";

    fn file(text: &str, mode: u32) -> (tempfile::TempDir, Registries) {
        let folder = tempfile::tempdir().expect("dir");
        let path = folder.path().join("auth.json");
        std::fs::write(&path, text).expect("written");
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).expect("set");
        let files = ["lab.example:5000", "docker.io"].map(|host| (host.to_owned(), path.clone()));
        (folder, Registries { files: files.into() })
    }

    fn told(registries: &Registries, name: &str) -> Option<serde_json::Value> {
        let login = registries.login(name).unwrap_or_else(|why| panic!("{why}"))?;
        Some(serde_json::from_slice(&URL_SAFE.decode(login.header).expect("the engine's alphabet")).expect("json"))
    }

    #[test]
    fn a_registry_gets_its_own_credentials_and_no_other_does() {
        let auth = STANDARD.encode(format!("ada:{PASSWORD}"));
        let text = json!({"auths": {"lab.example:5000": {"auth": auth},
            "https://index.docker.io/v1/": {"username": "", "identitytoken": "tok"}}});
        let (_folder, registries) = file(&text.to_string(), 0o600);
        let lab = told(&registries, "lab.example:5000/x/y:1").expect("some");
        assert_eq!(lab, json!({"username": "ada", "password": PASSWORD, "serveraddress": "lab.example:5000"}));
        let hub = told(&registries, "docker.io/library/busybox:1").expect("some");
        assert_eq!(
            (&hub["identitytoken"], &hub["serveraddress"]),
            (&json!("tok"), &json!("https://index.docker.io/v1/"))
        );
        for other in ["lab.example/x:1", "lab.example:5001/x:1", "lab.example:5000.evil.example/x:1", "sha256:ab"] {
            assert_eq!(told(&registries, other), None, "{other}");
        }
    }

    #[test]
    fn a_file_that_cannot_be_used_is_named_and_not_quoted() {
        let with = |text: &str, mode| {
            let (_folder, registries) = file(text, mode);
            let why = registries.login("lab.example:5000/x:1").err().expect("it cannot be used");
            assert!(why.contains("lab.example:5000") && why.contains("auth.json"), "{why}");
            assert!(!why.contains("s3cret"), "{why}");
            why
        };
        assert!(with(r#"{"auths": {"lab.example:5000": "s3cret"}}"#, 0o600).contains("line 1, column"));
        assert!(with(r#"{"auths": {"lab.example:5000": {"auth": "s3cret"}}}"#, 0o600).contains("no user"));
        assert!(with(r#"{"auths": {"other": {"auth": "s3cret"}}}"#, 0o600).contains("none for this registry"));
        let helper = r#"{"auths": {"lab.example:5000": {}}, "credsStore": "s3cretservice"}"#;
        assert!(with(helper, 0o600).contains("credential helper"));
        assert!(with("{}", 0o604).contains("chmod"));
        let gone = Registries { files: [("h".to_owned(), PathBuf::from("/nowhere/auth.json"))].into() };
        assert!(gone.login("h/x").err().is_some_and(|why| why.contains("docker login")));
    }
}
