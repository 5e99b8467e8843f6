//! Style, scripts and signs, in the binary. Each has a name of its own for each content, so that
//! browsers may keep it for good.

use std::sync::LazyLock;

struct Asset {
    path: String,
    kind: &'static str,
    bytes: &'static [u8],
}

static STYLE: LazyLock<Asset> =
    LazyLock::new(|| asset("style", "css", "text/css", include_bytes!("../assets/style.css")));
static SCRIPT: LazyLock<Asset> = LazyLock::new(|| {
    asset("console", "js", "text/javascript", include_bytes!("../assets/console.js"))
});
static THEME: LazyLock<Asset> =
    LazyLock::new(|| asset("theme", "js", "text/javascript", include_bytes!("../assets/theme.js")));
static SIGN: LazyLock<Asset> =
    LazyLock::new(|| asset("sign", "svg", "image/svg+xml", include_bytes!("../assets/sign.svg")));

fn asset(name: &str, end: &str, kind: &'static str, bytes: &'static [u8]) -> Asset {
    let hash = blake3::hash(bytes).to_hex();
    let digits = hash.get(..16).unwrap_or_default();
    Asset { path: format!("/assets/{name}-{digits}.{end}"), kind, bytes }
}

pub fn style() -> &'static str {
    &STYLE.path
}

pub fn script() -> &'static str {
    &SCRIPT.path
}

/// Sets the theme before anything is drawn.
pub fn theme() -> &'static str {
    &THEME.path
}

pub fn sign() -> &'static str {
    &SIGN.path
}

/// An asset by its path.
pub fn get(path: &str) -> Option<(&'static str, &'static [u8])> {
    if path == "/favicon.ico" {
        return Some((SIGN.kind, SIGN.bytes));
    }
    let all: [&'static LazyLock<Asset>; 4] = [&STYLE, &SCRIPT, &THEME, &SIGN];
    let found = all.into_iter().find(|asset| asset.path == path)?;
    Some((found.kind, found.bytes))
}
