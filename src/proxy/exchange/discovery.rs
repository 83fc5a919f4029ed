//! What a caller may use, without values: for programs that want to know which placeholders there are.

use serde::Serialize;

use crate::identity::Caller;
use crate::policy::destination::{Destination, Host};
use crate::substitution::slug::{Reference, Slug};
use crate::vault::cache::Usable;
use crate::vault::{Found, Vault};

/// The host that is Egret itself. Its requests go nowhere.
pub const HOST: &str = "egret.internal";

/// A credential that a caller may use. Empty lists of methods, paths and actions allow any.
#[derive(Debug, Serialize)]
pub struct Discovered {
    /// What requests call it.
    pub slug: String,
    /// What a request writes: one placeholder, or one for each field.
    pub placeholders: Vec<String>,
    /// What its owner says about it.
    pub description: String,
    /// Where it may be sent.
    pub hosts: Vec<String>,
    /// Where in a request.
    pub locations: Vec<String>,
    /// With which methods.
    pub methods: Vec<String>,
    /// Below which paths.
    pub paths: Vec<String>,
    /// For which actions.
    pub actions: Vec<String>,
}

/// Whether a request is meant for Egret itself.
pub fn is_for_egret(destination: &Destination) -> bool {
    matches!(&destination.host, Host::Domain(name) if name.as_ref() == HOST)
}

/// Every credential that the caller may use at `now` (unix seconds), by slug.
pub fn discover(vault: &Vault, caller: &Caller, now: i64) -> Vec<Discovered> {
    let bundle = caller.bundle.as_deref();
    let mut slugs = vault.nameable(&caller.principal, bundle);
    if let Some(limit) = &caller.slugs {
        slugs.retain(|slug| limit.contains(slug));
    }
    let found = slugs.into_iter().filter_map(|slug| {
        let found = match bundle {
            Some(bundle) => vault.find_in_bundle(&caller.principal, bundle, &slug, now),
            None => vault.find(&caller.principal, &slug, now),
        };
        match found {
            Found::One(usable) => Some(discovered(&slug, &usable)),
            Found::None | Found::Ambiguous | Found::Unverified => None,
        }
    });
    found.collect()
}

fn discovered(slug: &Slug, usable: &Usable) -> Discovered {
    fn texts<T: ToString>(all: &[T]) -> Vec<String> {
        all.iter().map(ToString::to_string).collect()
    }
    let credential = &usable.credential;
    let placeholders = credential.references().map(|field| {
        let reference = Reference {
            slug: slug.clone(),
            field: field.cloned(),
        };
        reference.placeholder()
    });
    Discovered {
        slug: slug.to_string(),
        placeholders: placeholders.collect(),
        description: credential.description.clone(),
        hosts: texts(&credential.grant.hosts),
        locations: texts(&credential.grant.locations),
        methods: credential.grant.methods.clone(),
        paths: texts(&credential.grant.paths),
        actions: credential.grant.actions.clone(),
    }
}
