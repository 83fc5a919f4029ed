//! Mercurial, apt and wget have no variable for their roots: they are settings, in a file that a variable
//! names.

use std::ffi::{OsStr, OsString};
use std::path::Path;

use super::inherited::Inherited;

/// Where Mercurial looks for settings without the variable, which takes the place of these. A directory
/// stands for the files in it, and what is not there is passed over.
const MERCURIAL: &[&str] = &[
    "/usr/local/etc/mercurial/hgrc",
    "/usr/local/etc/mercurial/hgrc.d",
    "/etc/mercurial/hgrc",
    "/etc/mercurial/hgrc.d",
    "~/.hgrc",
];

/// Settings for Mercurial. Debian's own name the system's roots.
pub(super) fn mercurial(bundle: &Path) -> Vec<u8> {
    format!("[web]\ncacerts = {}\n", bundle.to_string_lossy()).into_bytes()
}

/// The variable for Mercurial: the files that it reads anyway, and then ours. The last one wins.
pub(super) fn mercurial_path(inherited: &Inherited, file: &Path) -> OsString {
    let ours = file.as_os_str();
    let mut list = match inherited.get("HGRCPATH") {
        Some(existing) => existing.clone(),
        None => {
            let mut list = OsString::from(MERCURIAL.join(":"));
            let user = inherited.get("XDG_CONFIG_HOME");
            let user = user.filter(|user| !user.is_empty());
            list.push(":");
            list.push(user.map_or(OsStr::new("~/.config"), OsString::as_os_str));
            list.push("/hg/hgrc");
            list
        }
    };
    let colon = |byte: &u8| *byte == b':';
    let mut present = list.as_encoded_bytes().split(colon);
    let is_there = present.any(|it| it == ours.as_encoded_bytes());
    // A colon would end the name of the file.
    if !is_there && !ours.as_encoded_bytes().contains(&b':') {
        list.push(":");
        list.push(ours);
    }
    list
}

/// Settings for wget.
pub(super) fn wget(bundle: &Path) -> Vec<u8> {
    format!("ca_certificate = {}\n", bundle.to_string_lossy()).into_bytes()
}

/// The variable for wget, which takes the place of `~/.wgetrc`: not where the user has that, or another
/// file. wget knows no directive that reads one, and a copy of theirs could hold a password.
pub(super) fn wget_file(inherited: &Inherited, file: &Path) -> Option<OsString> {
    let named = inherited.get("WGETRC").filter(|named| !named.is_empty());
    if let Some(named) = named {
        return (*named == *file.as_os_str()).then(|| named.clone());
    }
    let home = inherited.get("HOME").map(Path::new);
    let has_own = home.is_some_and(|home| home.join(".wgetrc").exists());
    (!has_own).then(|| file.into())
}

/// Settings for apt, after those of the file that the user named.
///
/// As root, apt fetches as the user `_apt`, to whom the port of `egret run` and the roots in Egret's
/// directory are closed: it fetches as root then, without that sandbox.
pub(super) fn apt(bundle: &Path, existing: Option<&OsStr>) -> Vec<u8> {
    let mut text = String::new();
    // A quotation mark would end the name: apt knows no escape.
    let quotable = |path: &str| !path.contains(['"', '\n']);
    let existing = existing.map(|path| path.to_string_lossy());
    if let Some(path) = existing.filter(|path| quotable(path)) {
        text += &format!("#include \"{path}\";\n");
    }
    let bundle = bundle.to_string_lossy();
    if quotable(&bundle) {
        text += &format!("Acquire::https::CaInfo \"{bundle}\";\n");
    }
    text += "APT::Sandbox::User \"root\";\n";
    text.into_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_users_settings_for_mercurial_are_read_before_ours() {
        let ours = Path::new("/d/ca-bundle.hgrc");
        let mut inherited = Inherited::from([("XDG_CONFIG_HOME".to_owned(), "/c".into())]);
        let first = mercurial_path(&inherited, ours);
        let text = first.to_str().expect("text");
        assert!(
            text.ends_with(":~/.hgrc:/c/hg/hgrc:/d/ca-bundle.hgrc"),
            "{text}"
        );
        inherited.insert("HGRCPATH".to_owned(), first.clone());
        assert_eq!(mercurial_path(&inherited, ours), first);
        inherited.insert("HGRCPATH".to_owned(), "/own".into());
        assert_eq!(mercurial_path(&inherited, ours), "/own:/d/ca-bundle.hgrc");
    }

    #[test]
    fn settings_of_the_users_own_for_wget_stay_in_force() {
        let home = tempfile::tempdir().expect("a directory");
        let ours = Path::new("/d/ca-bundle.wgetrc");
        let mut inherited = Inherited::from([("HOME".to_owned(), home.path().into())]);
        let set = wget_file(&inherited, ours).expect("set");
        assert_eq!(set, ours);
        std::fs::write(home.path().join(".wgetrc"), "").expect("written");
        assert_eq!(wget_file(&inherited, ours), None);
        // In a run inside a run the outer one has decided.
        inherited.insert("WGETRC".to_owned(), set.clone());
        assert_eq!(wget_file(&inherited, ours), Some(set));
        inherited.insert("WGETRC".to_owned(), "/own".into());
        assert_eq!(wget_file(&inherited, ours), None);
    }

    #[test]
    fn what_apt_cannot_quote_is_left_out() {
        let settings = |bundle: &str, existing: &str| {
            let settings = apt(bundle.as_ref(), Some(OsStr::new(existing)));
            String::from_utf8(settings).expect("text")
        };
        let both = settings("/b", "/own");
        assert!(both.starts_with("#include \"/own\";\nAcquire::https::CaInfo \"/b\";\n"));
        assert_eq!(settings("/\"", "/\""), "APT::Sandbox::User \"root\";\n");
    }
}
