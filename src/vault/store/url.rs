//! Which store to open.

use std::path::{Path, PathBuf};

use super::sqlite;

/// The store that `store.url` names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoreUrl(pub(super) Location);

/// A kind of store, and what it needs to be found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Location {
    Sqlite(sqlite::Location),
}

/// A URL that names no store. Does not quote it: a URL of another kind may hold a password.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("expected \"sqlite:FILE\", such as \"sqlite:egret.db\"")]
pub struct InvalidStoreUrl;

impl StoreUrl {
    /// Parses a URL. A relative path in it is relative to `data_dir`.
    pub fn parse(url: &str, data_dir: &Path) -> Result<Self, InvalidStoreUrl> {
        let location = match url.split_once(':') {
            Some(("sqlite", rest)) => sqlite::Location::parse(rest, data_dir).map(Location::Sqlite),
            _ => None,
        };
        location.map(Self).ok_or(InvalidStoreUrl)
    }
}

impl StoreUrl {
    /// The files on this machine that the store consists of.
    pub fn files(&self) -> Vec<PathBuf> {
        let Self(Location::Sqlite(location)) = self;
        location.files()
    }

    /// The names of the files in a copy of the store, and where they belong.
    pub fn places(&self) -> [(&'static str, PathBuf); 2] {
        let Self(Location::Sqlite(location)) = self;
        location.places()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_of_the_same_file_are_the_same_store() {
        let parse = |url| StoreUrl::parse(url, Path::new("/data"));
        let one = parse("sqlite:egret.db").unwrap();
        assert_eq!(parse("sqlite://egret.db"), Ok(one.clone()));
        assert_eq!(parse("sqlite:/data/egret.db"), Ok(one.clone()));
        assert_ne!(parse("sqlite:other.db"), Ok(one));
    }

    #[test]
    fn what_names_no_store_is_refused_and_not_quoted() {
        for url in [
            "",
            "egret.db",
            "sqlite:",
            "sqlite://",
            "postgres://me:hunter2@host/db",
        ] {
            let error = StoreUrl::parse(url, Path::new("/data")).unwrap_err();
            assert!(!error.to_string().contains("hunter2"), "{url}");
        }
    }
}
