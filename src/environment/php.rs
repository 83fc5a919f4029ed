//! PHP has no variable for its roots: they are settings, in a directory that a variable adds.

use std::ffi::{OsStr, OsString};
use std::path::Path;

/// The settings: the roots of its curl extension and of its streams.
pub(super) fn settings(bundle: &Path) -> Vec<u8> {
    let path = bundle.to_string_lossy();
    // In quotes a setting goes up to the next quote, and `$` begins a variable.
    let path = path
        .replace('\\', r"\\")
        .replace('"', "\\\"")
        .replace('$', r"\$");
    format!("curl.cainfo = \"{path}\"\nopenssl.cafile = \"{path}\"\n").into_bytes()
}

/// The variable: the directories that PHP reads anyway, of which the empty name stands for the
/// compiled-in one, and then ours.
pub(super) fn scanned(existing: Option<&OsStr>, directory: &Path) -> OsString {
    let mut list = existing.unwrap_or_default().to_owned();
    let ours = directory.as_os_str().as_encoded_bytes();
    let is_there = |list: &OsStr| {
        list.as_encoded_bytes()
            .split(|b| *b == b':')
            .any(|d| d == ours)
    };
    // A colon would end the name of the directory.
    if !ours.contains(&b':') && !is_there(&list) {
        list.push(":");
        list.push(directory);
    }
    list
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn our_settings_come_after_those_that_php_reads_anyway() {
        let directory = Path::new("/d/php");
        let once = scanned(None, directory);
        assert_eq!(once, ":/d/php");
        assert_eq!(scanned(Some(&once), directory), once);
        let own = scanned(Some(OsStr::new("/own")), directory);
        assert_eq!(own, "/own:/d/php");
    }
}
