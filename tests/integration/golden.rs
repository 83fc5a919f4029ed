//! Texts that users rely on, as they were agreed.

use std::path::Path;

/// Compares `text` with a file of `tests/golden`; `EGRET_UPDATE_GOLDEN=1` writes the file.
///
/// # Panics
/// When it differs.
pub fn check(name: &str, text: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/golden")
        .join(name);
    if std::env::var_os("EGRET_UPDATE_GOLDEN").is_some() {
        std::fs::write(&path, text).expect("write the golden file");
        return;
    }
    let agreed = std::fs::read_to_string(&path).unwrap_or_default();
    for (number, (now, then)) in text.lines().zip(agreed.lines()).enumerate() {
        assert_eq!(now, then, "line {} of {name}", number + 1);
    }
    assert_eq!(
        text.lines().count(),
        agreed.lines().count(),
        "{name} has another length; EGRET_UPDATE_GOLDEN=1 writes it"
    );
}
