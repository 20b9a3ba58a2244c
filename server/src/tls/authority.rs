//! A CA of the server's own: made once, and a leaf certificate that is renewed at start when it is old or its names have changed.
use std::io::Write;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::Path;
use std::time::{Duration, SystemTime};

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose,
};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::{Authority, Certificates, TlsError, addresses, read};

const DAY: Duration = Duration::from_secs(86_400);
/// The CA outlives any lab's server; the leaf stays below the 825 days that some clients allow.
const CA_DAYS: u32 = 3650;
const LEAF_DAYS: u32 = 400;
/// Renewed at a start within this time of its end: a server that is restarted once a month never meets the end.
const RENEW_DAYS: u32 = 60;

/// What the leaf was made for.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
struct LeafNote {
    names: Vec<String>,
    ends_unix_s: u64,
}

/// Certificates in `folder`, made where they are missing, old, or for other names.
pub fn own(folder: &Path, public_names: &[String], now: SystemTime) -> Result<Certificates, TlsError> {
    if let Err(source) = std::fs::DirBuilder::new().recursive(true).mode(0o700).create(folder) {
        return Err(TlsError::File { what: "create", path: folder.to_owned(), source });
    }
    let names = addresses::names(public_names);
    let key = ca_key(folder)?;
    let ca = ca_certificate(folder, &key, now)?;
    if !leaf_is_good(folder, &names, now) {
        make_leaf(folder, &names, key, now)?;
    }
    let chain_pem = read(&folder.join("leaf.pem"))?;
    Ok(Certificates { chain_pem, key_pem: read(&folder.join("leaf.key"))?, ca: Some(ca) })
}

fn ca_key(folder: &Path) -> Result<KeyPair, TlsError> {
    let path = folder.join("ca.key");
    if !path.exists() {
        let key = KeyPair::generate().map_err(|source| TlsError::Key { path: path.clone(), source })?;
        write(&path, &key.serialize_pem())?;
    }
    KeyPair::from_pem(&read(&path)?).map_err(|source| TlsError::Key { path, source })
}

fn ca_params(now: SystemTime) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, "DSG grid CA");
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    // A client whose clock is behind must still find it valid.
    params.not_before = (now - DAY).into();
    params.not_after = (now + DAY * CA_DAYS).into();
    params
}

fn ca_certificate(folder: &Path, key: &KeyPair, now: SystemTime) -> Result<Authority, TlsError> {
    let path = folder.join("ca.pem");
    if !path.exists() {
        let made =
            ca_params(now).self_signed(key).map_err(|source| TlsError::Key { path: folder.join("ca.key"), source })?;
        write(&path, &made.pem())?;
    }
    let pem = read(&path)?;
    let fingerprint = fingerprint(&pem);
    Ok(Authority { pem, fingerprint })
}

fn leaf_is_good(folder: &Path, names: &[String], now: SystemTime) -> bool {
    let note =
        std::fs::read(folder.join("leaf.json")).ok().and_then(|bytes| serde_json::from_slice::<LeafNote>(&bytes).ok());
    let whole = folder.join("leaf.pem").exists() && folder.join("leaf.key").exists();
    let late = unix_s(now + DAY * RENEW_DAYS);
    note.is_some_and(|note| whole && note.names == names && note.ends_unix_s > late)
}

fn make_leaf(folder: &Path, names: &[String], ca_key: KeyPair, now: SystemTime) -> Result<(), TlsError> {
    let wrap = |source| TlsError::Make { names: names.to_vec(), source };
    let mut params = CertificateParams::new(names.to_vec()).map_err(wrap)?;
    params.distinguished_name.push(DnType::CommonName, "dsg-server");
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.insert_extended_key_usage(ExtendedKeyUsagePurpose::ServerAuth);
    params.use_authority_key_identifier_extension = true;
    let end = now + DAY * LEAF_DAYS;
    params.not_before = (now - DAY).into();
    params.not_after = end.into();
    let key = KeyPair::generate().map_err(wrap)?;
    // Only the name and the key of the CA go into the leaf, so the parameters need not be read back from its certificate.
    let made = params.signed_by(&key, &Issuer::new(ca_params(now), ca_key)).map_err(wrap)?;
    write(&folder.join("leaf.key"), &key.serialize_pem())?;
    write(&folder.join("leaf.pem"), &made.pem())?;
    let note = LeafNote { names: names.to_vec(), ends_unix_s: unix_s(end) };
    write(&folder.join("leaf.json"), &serde_json::json!(note).to_string())
}

fn unix_s(time: SystemTime) -> u64 {
    time.duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

/// Whole or not at all, and for the owner's eyes only whatever the umask.
fn write(path: &Path, text: &str) -> Result<(), TlsError> {
    let new = path.with_extension("new");
    let written = std::fs::OpenOptions::new().create(true).write(true).truncate(true).mode(0o600).open(&new);
    let written = written.and_then(|mut file| file.write_all(text.as_bytes()).and_then(|()| file.sync_all()));
    let written = written.and_then(|()| std::fs::rename(&new, path));
    written.map_err(|source| TlsError::File { what: "write", path: path.to_owned(), source })
}

/// sha256 of the DER inside the first PEM block.
fn fingerprint(pem: &str) -> String {
    use base64::Engine as _;
    let body: String = pem.lines().filter(|line| !line.starts_with("-----")).map(str::trim).collect();
    let der = base64::engine::general_purpose::STANDARD.decode(body).unwrap_or_default();
    Sha256::digest(der).iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn the_ca_stays_and_the_leaf_is_renewed_in_time() -> Result<(), Box<dyn std::error::Error>> {
        let folder = tempfile::tempdir()?;
        let path = folder.path().join("tls");
        let now = SystemTime::now();
        let first = own(&path, &[], now)?;
        let again = own(&path, &[], now + DAY)?;
        assert_eq!(first.chain_pem, again.chain_pem, "a good leaf is kept");
        let named = own(&path, &["lab.example.org".to_owned()], now)?;
        assert_ne!(first.chain_pem, named.chain_pem, "other names need another leaf");
        let late = own(&path, &["lab.example.org".to_owned()], now + DAY * (LEAF_DAYS - RENEW_DAYS + 1))?;
        assert_ne!(named.chain_pem, late.chain_pem, "an old leaf is renewed");
        assert_eq!(first.ca, late.ca, "the CA is the same for ever");
        for file in std::fs::read_dir(&path)? {
            assert_eq!(file?.metadata()?.permissions().mode() & 0o777, 0o600);
        }
        Ok(())
    }

    #[test]
    fn a_client_that_trusts_only_the_ca_accepts_the_leaf() -> Result<(), Box<dyn std::error::Error>> {
        let folder = tempfile::tempdir()?;
        let made = own(folder.path(), &[], SystemTime::now())?;
        let mut roots = rustls::RootCertStore::empty();
        let ca = made.ca.ok_or("no CA")?;
        roots.add(der(&ca.pem)?)?;
        let provider = std::sync::Arc::new(rustls::crypto::ring::default_provider());
        let verifier = rustls::client::WebPkiServerVerifier::builder_with_provider(roots.into(), provider).build()?;
        use rustls::client::danger::ServerCertVerifier as _;
        for name in ["localhost", "127.0.0.1", "::1"] {
            let name = rustls::pki_types::ServerName::try_from(name)?;
            verifier.verify_server_cert(&der(&made.chain_pem)?, &[], &name, &[], rustls::pki_types::UnixTime::now())?;
        }
        let stranger = rustls::pki_types::ServerName::try_from("evil.example.org")?;
        assert!(
            verifier
                .verify_server_cert(&der(&made.chain_pem)?, &[], &stranger, &[], rustls::pki_types::UnixTime::now())
                .is_err()
        );
        Ok(())
    }

    fn der(pem: &str) -> Result<rustls::pki_types::CertificateDer<'static>, Box<dyn std::error::Error>> {
        use base64::Engine as _;
        let body: String = pem.lines().filter(|line| !line.starts_with("-----")).collect();
        Ok(base64::engine::general_purpose::STANDARD.decode(body)?.into())
    }
}
