//! Style sheet, scripts and icon, embedded in the binary and addressed by their content.
use std::sync::LazyLock;

use sha2::{Digest, Sha256};

pub struct Asset {
    /// `style-1a2b3c4d.css`, under `/assets/`.
    pub name: String,
    pub content_type: &'static str,
    pub bytes: &'static [u8],
    stem: &'static str,
}

const SCRIPT: &str = "text/javascript; charset=utf-8";
static ASSETS: LazyLock<Vec<Asset>> = LazyLock::new(|| {
    vec![
        asset("style", "css", "text/css; charset=utf-8", include_bytes!("../../assets/style.css")),
        asset("live", "js", SCRIPT, include_bytes!("../../assets/live.js")),
        asset("log", "js", SCRIPT, include_bytes!("../../assets/log.js")),
        asset("map", "js", SCRIPT, include_bytes!("../../assets/map.js")),
        asset("submit", "js", SCRIPT, include_bytes!("../../assets/submit.js")),
        asset("icon", "svg", "image/svg+xml", include_bytes!("../../assets/icon.svg")),
    ]
});

fn asset(stem: &'static str, extension: &str, content_type: &'static str, bytes: &'static [u8]) -> Asset {
    let hash = Sha256::digest(bytes);
    let short: String = hash.iter().take(6).map(|byte| format!("{byte:02x}")).collect();
    Asset { name: format!("{stem}-{short}.{extension}"), content_type, bytes, stem }
}

/// By the name in its address. An address of another version is not found: its page belongs to another server.
pub fn find(name: &str) -> Option<&'static Asset> {
    ASSETS.iter().find(|asset| asset.name == name)
}

/// The address of one of our own assets.
pub fn url(stem: &'static str) -> String {
    let name = ASSETS.iter().find(|asset| asset.stem == stem).map_or(stem, |asset| asset.name.as_str());
    format!("/assets/{name}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_asset_is_found_by_its_address_and_scripts_stay_small() {
        for stem in ["style", "live", "log", "map", "submit", "icon"] {
            let url = url(stem);
            let name = url.strip_prefix("/assets/").expect("our folder");
            assert_eq!(find(name).map(|asset| asset.stem), Some(stem));
        }
        assert!(find("style.css").is_none());
        let scripts: usize =
            ASSETS.iter().filter(|asset| asset.content_type == SCRIPT).map(|asset| asset.bytes.len()).sum();
        assert!(scripts <= 33 << 10, "the scripts grew to {scripts} bytes");
    }
}
