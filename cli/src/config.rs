//! Who we are to which server: `$XDG_CONFIG_HOME/dsg/config.json`, readable by its owner only.
//!
//! `DSG_URL` and `DSG_TOKEN_FILE` come before the file. A secret is never taken from the environment or kept where others read it.
use std::fs;
use std::io::Write;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::exit::{Exit, Failure};
use crate::trust::Secret;

/// What `dsg login` keeps.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Config {
    /// Without a slash at its end.
    pub url: String,
    pub token: Secret,
    /// The authority that the server's certificate must come from; without it those that the system trusts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca_pem: Option<String>,
}

/// The environment, as far as it matters here.
#[derive(Clone, Debug, Default)]
pub struct Environment {
    pub config_home: Option<PathBuf>,
    pub home: Option<PathBuf>,
    pub url: Option<String>,
    pub token_file: Option<PathBuf>,
    /// Programs that open a page, the preferred one first; none where there is no screen.
    pub browsers: Vec<String>,
}

impl Environment {
    pub fn of_process() -> Environment {
        let path = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
        Environment {
            config_home: path("XDG_CONFIG_HOME"),
            home: path("HOME"),
            url: std::env::var("DSG_URL").ok().filter(|url| !url.is_empty()),
            token_file: path("DSG_TOKEN_FILE"),
            browsers: browsers(|name| std::env::var(name).ok().filter(|value| !value.is_empty())),
        }
    }

    /// Where the file is.
    pub fn config_path(&self) -> Result<PathBuf, Failure> {
        let folder = match (&self.config_home, &self.home) {
            (Some(folder), _) if folder.is_absolute() => folder.clone(),
            (_, Some(home)) => home.join(".config"),
            (_, None) => {
                return Err(Failure::other(
                    "cannot find a place for the login: neither HOME nor XDG_CONFIG_HOME is set",
                ));
            }
        };
        Ok(folder.join("dsg").join("config.json"))
    }

    /// The login to use, if there is one. A token goes only to the server it was given for: with another `DSG_URL`, the
    /// stored one stays where it is.
    pub fn login(&self) -> Result<Option<Config>, Failure> {
        let stored = read(&self.config_path()?)?;
        let url = self.url.as_deref().map(|url| url.trim_end_matches('/').to_owned());
        let token = self.token_file.as_deref().map(read_token).transpose()?;
        let url = match (url, &stored) {
            (Some(url), _) => url,
            (None, Some(stored)) => stored.url.clone(),
            (None, None) => return Ok(None),
        };
        let stored = stored.filter(|stored| stored.url == url);
        let ca_pem = stored.as_ref().and_then(|stored| stored.ca_pem.clone());
        Ok(token.or(stored.map(|stored| stored.token)).map(|token| Config { url, token, ca_pem }))
    }

    /// The login to use, or how to get one.
    pub fn login_or_fail(&self) -> Result<Config, Failure> {
        self.login()?.ok_or_else(|| {
            Failure::new(Exit::Auth, "not logged in to any server").hint("`dsg login URL`, with a token from its admin")
        })
    }
}

/// `BROWSER`, a list with colons between, then the desktop's own choice where there is a desktop.
fn browsers(variable: impl Fn(&str) -> Option<String>) -> Vec<String> {
    let named = variable("BROWSER").unwrap_or_default();
    let mut browsers: Vec<String> = named.split(':').filter(|name| !name.is_empty()).map(str::to_owned).collect();
    if variable("DISPLAY").or(variable("WAYLAND_DISPLAY")).is_some() {
        browsers.push("xdg-open".to_owned());
    }
    browsers
}

fn read(path: &Path) -> Result<Option<Config>, Failure> {
    match fs::read(path) {
        Ok(bytes) => serde_json::from_slice(&bytes).map(Some).map_err(|error| {
            Failure::other(format!("cannot read the login in {}: {error}", path.display()))
                .hint("`dsg login URL` writes it anew")
        }),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(Failure::file("read the login in", path, &error)),
    }
}

fn read_token(path: &Path) -> Result<Secret, Failure> {
    let text = fs::read_to_string(path).map_err(|error| Failure::file("read the token in", path, &error))?;
    Secret::parse(&text).ok_or_else(|| Failure::usage(format!("{} holds no token (dsg_u_…)", path.display())))
}

/// Writes the login whole or not at all, for its owner's eyes only.
pub fn write(path: &Path, config: &Config) -> Result<(), Failure> {
    let fail = |error: std::io::Error| Failure::file("write the login to", path, &error);
    let folder = path.parent().unwrap_or(Path::new("."));
    fs::DirBuilder::new().recursive(true).mode(0o700).create(folder).map_err(fail)?;
    let fresh = path.with_extension(format!("new-{}", std::process::id()));
    let mut text = serde_json::to_vec_pretty(config).map_err(|error| fail(error.into()))?;
    text.push(b'\n');
    let write = || {
        let mut file = fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&fresh)?;
        file.set_permissions(fs::Permissions::from_mode(0o600))?;
        file.write_all(&text)?;
        file.sync_all()?;
        fs::rename(&fresh, path)
    };
    write().map_err(|error| {
        let _ = fs::remove_file(&fresh);
        fail(error)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(url: &str, token: &str) -> Config {
        Config { url: url.to_owned(), token: Secret::parse(token).expect("a token"), ca_pem: None }
    }

    fn place() -> (tempfile::TempDir, Environment) {
        let folder = tempfile::tempdir().expect("a folder");
        let environment = Environment { config_home: Some(folder.path().to_owned()), ..Environment::default() };
        (folder, environment)
    }

    #[test]
    fn the_file_is_its_owners_alone_even_over_an_open_one() {
        let (_folder, environment) = place();
        let path = environment.config_path().expect("a path");
        fs::create_dir_all(path.parent().expect("a folder")).expect("created");
        fs::write(&path, "{}").expect("written");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).expect("set");
        write(&path, &config("https://lab:8420", "dsg_u_abc")).expect("written");
        assert_eq!(fs::metadata(&path).expect("there").permissions().mode() & 0o777, 0o600);
        assert_eq!(environment.login().expect("read"), Some(config("https://lab:8420", "dsg_u_abc")));
        let left: Vec<_> = fs::read_dir(path.parent().expect("a folder")).expect("listed").collect();
        assert_eq!(left.len(), 1, "nothing else is left behind");
    }

    #[test]
    fn a_token_never_goes_to_another_server() {
        let (folder, mut environment) = place();
        write(&environment.config_path().expect("a path"), &config("https://lab:8420", "dsg_u_abc")).expect("written");
        environment.url = Some("https://evil:8420".to_owned());
        assert_eq!(environment.login().expect("read"), None);
        assert_eq!(environment.login_or_fail().expect_err("no login").exit, Exit::Auth);
        environment.url = Some("https://lab:8420/".to_owned());
        assert_eq!(environment.login().expect("read"), Some(config("https://lab:8420", "dsg_u_abc")));
        let file = folder.path().join("token");
        fs::write(&file, "dsg_u_other\n").expect("written");
        environment.token_file = Some(file);
        environment.url = Some("https://other:1".to_owned());
        assert_eq!(environment.login().expect("read"), Some(config("https://other:1", "dsg_u_other")));
    }

    #[test]
    fn a_secret_is_not_shown_by_debug() {
        assert!(!format!("{:?}", config("https://lab", "dsg_u_abc")).contains("abc"));
    }

    #[test]
    fn no_login_is_said_with_what_to_do() {
        let (_folder, environment) = place();
        assert_eq!(environment.login().expect("nothing there"), None);
        fs::create_dir_all(environment.config_path().expect("a path").parent().expect("a folder")).expect("created");
        fs::write(environment.config_path().expect("a path"), "{half").expect("written");
        assert!(environment.login().expect_err("broken").message.contains("config.json"));
    }

    #[test]
    fn a_browser_is_the_one_named_or_the_desktops() {
        let of = |set: &[(&str, &str)]| {
            browsers(|name| set.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned()))
        };
        assert_eq!(of(&[]), Vec::<String>::new(), "no screen, no browser");
        assert_eq!(of(&[("BROWSER", "firefox:w3m")]), ["firefox", "w3m"]);
        assert_eq!(of(&[("BROWSER", "firefox"), ("WAYLAND_DISPLAY", "wayland-0")]), ["firefox", "xdg-open"]);
        assert_eq!(of(&[("DISPLAY", ":0")]), ["xdg-open"]);
    }
}
