//! The style sheet and the script, under an address that changes with them.

use std::sync::LazyLock;

use axum::extract::Path;
use axum::response::{IntoResponse, Response};
use http::{StatusCode, header};

const STYLE: &str = include_str!("assets/page.css");
const SCRIPT: &str = include_str!("assets/page.js");
const ICON: &str = include_str!("assets/icon.svg");

/// The first characters of the hash of all files.
static VERSION: LazyLock<String> = LazyLock::new(|| {
    let text = [STYLE, SCRIPT, ICON].concat();
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, text.as_bytes());
    let bytes = digest.as_ref().iter().take(8);
    bytes.map(|byte| format!("{byte:02x}")).collect()
});

/// The address of the style sheet.
pub(super) fn style() -> String {
    format!("/assets/{}/page.css", *VERSION)
}

/// The address of the icon.
pub(super) fn icon() -> String {
    format!("/assets/{}/icon.svg", *VERSION)
}

/// The address of the script.
pub(super) fn script() -> String {
    format!("/assets/{}/page.js", *VERSION)
}

/// `GET /assets/{version}/{name}`. Whoever asks may have them: nothing in them depends on the user.
pub(super) async fn serve(Path((version, name)): Path<(String, String)>) -> Response {
    let found = match name.as_str() {
        "page.css" => Some((STYLE, "text/css; charset=utf-8")),
        "page.js" => Some((SCRIPT, "text/javascript; charset=utf-8")),
        "icon.svg" => Some((ICON, "image/svg+xml")),
        _ => None,
    };
    let Some((text, kind)) = found else {
        return StatusCode::NOT_FOUND.into_response();
    };
    // Kept only under its own address: one of another version would stay for a year.
    let keep = if version == *VERSION {
        "public, max-age=31536000, immutable"
    } else {
        "no-store"
    };
    let fields = [(header::CONTENT_TYPE, kind), (header::CACHE_CONTROL, keep)];
    (fields, text).into_response()
}
