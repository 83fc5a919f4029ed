//! What Egret keeps: its directory, keys, store, authority and ledger.

use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::Path;

use time::OffsetDateTime;

use super::finding::{Finding, Verdict};
use crate::cli::ca::clients;
use crate::cli::when;
use crate::config::Config;
use crate::files;
use crate::ledger::{Ledger, layout};
use crate::tls::acceptance::{self, Behind};
use crate::tls::authority::{Authority, Validity};
use crate::vault::{Credential, KeySource, Keyring, Vault};
use crate::views::rfc3339;

/// How many credentials a line names.
const MOST_NAMED: usize = 5;
/// How long before its end an authority is warned of, in seconds.
const SOON: i64 = 60 * 24 * 60 * 60;

/// All of them, in the order in which they build on each other.
pub(super) async fn all(config: &Config) -> Vec<Finding> {
    let mut findings = vec![directory(&config.data_dir)];
    if !config.data_dir.is_dir() {
        return findings;
    }
    findings.push(key_file(config));
    findings.extend(store(config).await);
    findings.push(authority(config));
    findings.push(ledger(config));
    findings.extend(adopted(config));
    findings
}

/// Files that `egret adopt` has kept, with the keys that were in them.
fn adopted(config: &Config) -> Option<Finding> {
    let directory = files::adopted(&config.data_dir);
    let kept = fs::read_dir(&directory).map_or(0, Iterator::count);
    let detail = format!(
        "{} holds {kept}, with keys in the clear",
        directory.display()
    );
    let remedy = "when the programs work: egret adopt --remove-backups";
    (kept > 0).then(|| Finding::ok("old files", detail).with(Verdict::Warning, remedy))
}

fn directory(path: &Path) -> Finding {
    let shown = path.display();
    let Ok(metadata) = fs::metadata(path) else {
        return Finding::ok("directory", format!("{shown} is not there yet"))
            .with(Verdict::Warning, "`egret serve` or `egret run` makes it");
    };
    let mode = metadata.permissions().mode() & 0o7777;
    let found = Finding::ok("directory", format!("{shown}, mode {mode:04o}"));
    let own = rustix::process::getuid().as_raw();
    if metadata.uid() != own {
        let remedy = format!(
            "run this as user {}, or choose another --data-dir",
            metadata.uid()
        );
        return found.with(Verdict::Fault, remedy);
    }
    if files::others_can_write(mode) {
        return found.with(
            Verdict::Fault,
            format!("others can write to it: chmod 0700 '{shown}'"),
        );
    }
    if mode & 0o055 != 0 {
        return found.with(
            Verdict::Warning,
            format!("others can look into it: chmod 0700 '{shown}'"),
        );
    }
    found
}

/// The file of the master key, where it is one.
fn key_file(config: &Config) -> Finding {
    let source = &config.keys.master;
    let KeySource::File(path) = source else {
        return Finding::ok("master key", format!("from {source}"));
    };
    let path = config.data_dir.join(path);
    let shown = path.display();
    let Ok(metadata) = fs::metadata(&path) else {
        let found = Finding::ok("master key", format!("{shown} is not there"));
        return if files::needs_its_master_key(&config.data_dir) {
            found.with(
                Verdict::Fault,
                "put it back from its backup; nothing else opens the store",
            )
        } else {
            found.with(
                Verdict::Warning,
                "the first start makes it; back it up then",
            )
        };
    };
    let mode = metadata.permissions().mode() & 0o7777;
    let found = Finding::ok("master key", format!("{shown}, mode {mode:04o}"));
    if mode & 0o077 != 0 {
        return found.with(
            Verdict::Fault,
            format!("others can read it: chmod 0600 '{shown}'"),
        );
    }
    if config.keys.is_rotating(&config.data_dir) {
        return found.with(
            Verdict::Warning,
            "it is being rotated: `egret keys rotate` completes that",
        );
    }
    found
}

async fn store(config: &Config) -> Vec<Finding> {
    if !config.data_dir.join(files::STORE_REVISION).exists() {
        return vec![Finding::ok("store", "no credential is saved yet")];
    }
    let keyring = match Keyring::load(&config.keys, &config.data_dir).await {
        Ok(keyring) => keyring,
        Err(error) => {
            let found = Finding::ok("store", error.to_string());
            return vec![found.with(Verdict::Fault, "see keys.master in the configuration")];
        }
    };
    match Vault::open(&config.data_dir, &config.store.url, &keyring).await {
        Ok(vault) => {
            let listing = vault.store().list(None).await;
            let findings = vec![integrity(vault.unverified())];
            vault.store().close().await;
            let copies = listing
                .ok()
                .and_then(|listing| copies(&listing.credentials));
            findings.into_iter().chain(copies).collect()
        }
        Err(error) => {
            let found = Finding::ok("store", error.to_string());
            vec![found.with(Verdict::Fault, "`egret store check` says more")]
        }
    }
}

fn integrity(unverified: u64) -> Finding {
    let found = Finding::ok("store", "opens with the master key");
    if unverified == 0 {
        return found;
    }
    Finding {
        detail: format!("{unverified} entries were changed by something that is not Egret"),
        ..found
    }
    .with(
        Verdict::Fault,
        "`egret store check` names them; save them again",
    )
}

/// Credentials that one request may carry any number of times, because they were saved before there was
/// a limit: a copy could ride along where others can read it.
fn copies(credentials: &[Credential]) -> Option<Finding> {
    let unlimited = credentials
        .iter()
        .filter(|one| one.grant.uses.copies.is_none());
    let mut names: Vec<&str> = unlimited.map(|one| one.slug.as_str()).collect();
    let count = names.len();
    names.truncate(MOST_NAMED);
    let first = names.first()?;
    let more = if count > names.len() {
        " and others"
    } else {
        ""
    };
    let detail = format!(
        "{}{more}: a request may carry them any number of times",
        names.join(", ")
    );
    let remedy =
        format!("`egret credential allow {first} --copies 1`, or `--copies any` if that is meant");
    Some(Finding::ok("copies", detail).with(Verdict::Warning, remedy))
}

fn authority(config: &Config) -> Finding {
    let (cert, key) = (&config.tls.ca_cert, &config.tls.ca_key);
    if !cert.exists() || !key.exists() {
        return Finding::ok("authority", format!("{} is not there yet", cert.display()))
            .with(Verdict::Warning, "the first start makes it with its key");
    }
    let authority = match Authority::load_or_create(cert, key) {
        Ok(authority) => authority,
        Err(error) => {
            return Finding::ok("authority", error.to_string()).with(
                Verdict::Fault,
                "put ca.pem and ca.key back together, or move both away",
            );
        }
    };
    let now = OffsetDateTime::now_utc();
    let time = |at: OffsetDateTime| rfc3339(at.unix_timestamp());
    let waiting = authority.succession().filter(|next| next.from > now);
    let signing = authority.fingerprint(now);
    let behind = acceptance::read(&config.data_dir).map(|all| Behind::of(&all, &signing));
    match authority.validity(now) {
        Validity::Valid if waiting.is_some() => {
            let from = waiting.map(|next| time(next.from)).unwrap_or_default();
            let detail = format!("valid now; another one takes over on {from}");
            Finding::ok("authority", detail).with(
                Verdict::Warning,
                "restart programs from before it: `egret ca status` names their clients",
            )
        }
        Validity::Valid if let Some(remark) = behind.ok().as_ref().and_then(clients::remark) => {
            Finding::ok("authority", format!("valid now; {remark}")).with(
                Verdict::Warning,
                "restart these programs or give them the CA; `egret ca status` says more",
            )
        }
        Validity::Valid => {
            let soon = now + time::Duration::seconds(SOON);
            let found = Finding::ok("authority", "valid now");
            match authority.validity(soon) {
                Validity::Over(end) => Finding {
                    detail: format!("valid until {}", time(end)),
                    ..found
                }
                .with(
                    Verdict::Warning,
                    "`egret ca rotate` makes the next one, which clients trust before it signs",
                ),
                _ => found,
            }
        }
        Validity::NotYet(begin) => Finding::ok("authority", format!("valid from {}", time(begin)))
            .with(
                Verdict::Fault,
                "this machine's clock is wrong, or was when the authority was made",
            ),
        Validity::Over(end) => Finding::ok("authority", format!("ended on {}", time(end))).with(
            Verdict::Fault,
            "stop the server, move ca.pem and ca.key away, and start it",
        ),
    }
}

fn ledger(config: &Config) -> Finding {
    let directory = config.ledger_dir();
    let current = directory.join(layout::CURRENT);
    let Ok(metadata) = fs::metadata(&current) else {
        return Finding::ok("ledger", "nothing is recorded yet");
    };
    let is_held = Ledger::probe_lock(&directory).is_err();
    let holder = if is_held { ", held by a server" } else { "" };
    let found = Finding::ok("ledger", format!("{}{holder}", current.display()));
    // A clock that was ahead when the last line was written goes back in the record.
    if metadata.mtime() > when::now() {
        return found.with(
            Verdict::Warning,
            "its last line is from the future: check the clock",
        );
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::vault::fixture::{Fixture, actor, grant, principal, slug};

    #[tokio::test]
    async fn a_credential_from_before_the_limit_is_named() {
        let fixture = Fixture::new();
        let command = fixture.registrar().await;
        command
            .add_secret("ann", "new", "a-long-value-of-one")
            .await;
        command
            .add_secret("ann", "old", "a-long-value-of-other")
            .await;
        let vault = fixture.vault().await;
        let list = async || vault.store().list(None).await.unwrap().credentials;
        assert!(copies(&list().await).is_none(), "a new one is put in once");
        // As they were stored before.
        let (ann, old) = (principal("ann"), slug("old"));
        command.allow(&actor(), &ann, &old, grant()).await.unwrap();
        let found = copies(&list().await).expect("a finding");
        assert_eq!(found.verdict, Verdict::Warning);
        assert!(found.detail.starts_with("old:"), "{}", found.detail);
        assert!(
            found
                .remedy
                .is_some_and(|remedy| remedy.contains("allow old --copies 1"))
        );
    }
}
