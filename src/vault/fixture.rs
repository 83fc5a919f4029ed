//! A data directory with a store, for the tests of vault and identity.

use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;

use crate::policy::grant::Grant;
use crate::secret::SecretBytes;
use crate::substitution::slug::{Field, Slug};
use crate::vault::people::Role;
use crate::vault::registrar::people::NewUser;
use crate::vault::sharing::Offer;
use crate::vault::{
    Actor, Found, Keyring, Kind, NewCredential, Principal, Registrar, Store, StoreUrl, Vault,
};

/// A moment between "expired" and "not yet".
pub(crate) const NOW: i64 = 1_800_000_000;

pub(crate) struct Fixture {
    directory: TempDir,
}

impl Fixture {
    pub(crate) fn new() -> Self {
        Self {
            directory: tempfile::tempdir().unwrap(),
        }
    }

    pub(crate) fn data_dir(&self) -> PathBuf {
        self.directory.path().join("data")
    }

    pub(crate) fn store_url(&self) -> StoreUrl {
        store_url(&self.data_dir())
    }

    /// What a running server has.
    pub(crate) async fn vault(&self) -> Vault {
        Vault::open(&self.data_dir(), &self.store_url(), &keyring())
            .await
            .unwrap()
    }

    /// What a command has: connections of its own.
    pub(crate) async fn registrar(&self) -> Registrar {
        registrar(&self.store_url()).await
    }
}

/// The store that every test uses, in a data directory.
pub(crate) fn store_url(data_dir: &Path) -> StoreUrl {
    StoreUrl::parse("sqlite:egret.db", data_dir).unwrap()
}

pub(crate) async fn registrar(url: &StoreUrl) -> Registrar {
    let store = Store::open(url, keyring().policy_keys()).await.unwrap();
    Registrar::new(store, &keyring())
}

pub(crate) fn keyring() -> Keyring {
    Keyring::from_master(&[9; 32]).unwrap()
}

pub(crate) fn actor() -> Actor {
    Actor::operator("cli", "tester")
}

pub(crate) fn principal(name: &str) -> Principal {
    Principal::parse(name).unwrap()
}

pub(crate) fn slug(name: &str) -> Slug {
    Slug::parse(name).unwrap()
}

pub(crate) fn field(name: &str) -> Field {
    Field::parse(name).unwrap()
}

pub(crate) fn secret(value: &str) -> SecretBytes {
    SecretBytes::new(value.as_bytes().to_vec())
}

pub(crate) fn grant() -> Grant {
    Grant::for_hosts(vec!["api.example.com".parse().unwrap()])
}

pub(crate) fn new_credential(owner: &str, name: &str) -> NewCredential {
    NewCredential {
        owner: principal(owner),
        slug: slug(name),
        kind: Kind::Secret,
        description: String::new(),
        grant: grant(),
        rotate_every: None,
    }
}

/// Sharing without limits.
pub(crate) fn with(name: &str) -> Offer {
    Offer::to(name.parse().unwrap())
}

impl Registrar {
    /// Adds users.
    pub(crate) async fn add_users(&self, names: &[&str]) {
        for name in names {
            let new = NewUser {
                name: principal(name),
                display_name: String::new(),
                role: Role::Member,
            };
            self.add_user(&actor(), &new).await.unwrap();
        }
    }

    /// Adds a secret and returns its version.
    pub(crate) async fn add_secret(&self, owner: &str, name: &str, value: &str) -> u32 {
        self.add(&actor(), new_credential(owner, name), secret(value))
            .await
            .unwrap()
    }
}

impl Vault {
    /// The value a request of `who` would carry now, after looking for changes.
    pub(crate) async fn value(&self, who: &str, name: &str) -> Option<String> {
        self.refresh().await.unwrap();
        match self.find(&principal(who), &slug(name), NOW) {
            Found::One(usable) => {
                let value = self.open_value(&usable.credential, None).unwrap();
                Some(String::from_utf8(value.expose().to_vec()).unwrap())
            }
            Found::None | Found::Ambiguous | Found::Unverified => None,
        }
    }

    /// The values for which what `who` receives is searched now, after looking for changes.
    pub(crate) async fn searched(&self, who: &str) -> Vec<String> {
        self.refresh().await.unwrap();
        let mut values = Vec::new();
        for credential in self.live(&principal(who)) {
            let opened = self.open_all(&credential);
            let text = |value: &[u8]| String::from_utf8_lossy(value).into_owned();
            values.extend(opened.map(|(_, value)| text(value.expose())));
        }
        values.sort();
        values
    }
}

/// Runs an `#[ignore]`d test of this binary as a process of its own, told about a data directory.
pub(crate) fn run_in_another_process(test: &str, data_dir: &Path, umask: &str) {
    let status = Command::new("sh")
        .args(["-c", "umask \"$1\"; shift; exec \"$@\"", "sh", umask])
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", test, "--ignored", "--quiet"])
        .env(DATA_DIR_VARIABLE, data_dir)
        .status()
        .unwrap();
    assert!(status.success());
}

/// The data directory that [`run_in_another_process`] names, in that process.
pub(crate) fn told_data_dir() -> Option<PathBuf> {
    std::env::var_os(DATA_DIR_VARIABLE).map(PathBuf::from)
}

const DATA_DIR_VARIABLE: &str = "EGRET_TEST_DATA_DIR";
