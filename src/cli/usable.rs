//! The values that a principal's placeholders mean, with the hosts that may have them.

use std::sync::Arc;

use super::output;
use crate::policy::grant::HostPattern;
use crate::policy::location::LocationRule;
use crate::secret::SecretBytes;
use crate::substitution::slug::Reference;
use crate::vault::{Kind, Principal, Vault};

/// A value that a placeholder means.
pub(super) struct Usable {
    pub(super) reference: Reference,
    pub(super) kind: Kind,
    pub(super) value: Arc<SecretBytes>,
    pub(super) hosts: Vec<HostPattern>,
    pub(super) locations: Vec<LocationRule>,
}

/// The values that the principal may use now. User names are no values.
pub(super) fn usable(vault: &Vault, principal: &Principal, now: i64) -> Vec<Usable> {
    let mut all = Vec::new();
    for credential in vault.live(principal) {
        if !credential.usable(now) {
            continue;
        }
        for field in credential.references() {
            let name = field.map(|field| field.as_str());
            if credential.kind == Kind::Login && name == Some("username") {
                continue;
            }
            let reference = Reference {
                slug: credential.slug.clone(),
                field: field.cloned(),
            };
            match vault.open_value(&credential, field) {
                Ok(value) => all.push(Usable {
                    reference,
                    kind: credential.kind,
                    value,
                    hosts: credential.grant.hosts.clone(),
                    locations: credential.grant.locations.clone(),
                }),
                Err(error) => {
                    output::note(&format!("files are not compared with {reference}: {error}"));
                }
            }
        }
    }
    all
}
