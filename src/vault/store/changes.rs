//! What a running proxy reads of a store: whether something was committed, and what.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use super::condition::ObjectName;
use crate::substitution::slug::Slug;
use crate::vault::approval::Approval;
use crate::vault::egress::EgressEntry;
use crate::vault::key_request::KeyRequest;
use crate::vault::model::{Client, Credential};
use crate::vault::name::{GroupName, Principal};
use crate::vault::people::{Bundle, BundleId, Group, User};
use crate::vault::policy_key::{Head, SetDigest};
use crate::vault::seal::KeyId;
use crate::vault::token_id::RevokedIssued;

/// What was committed after some revision, for a running proxy to load.
#[derive(Debug)]
pub struct Changes {
    /// The master key under which all of it is sealed. After another one, digests of before say nothing.
    pub key: KeyId,
    /// What the store as a whole contains now.
    pub head: Head,
    /// Credentials that were created, changed or deleted.
    pub credentials: Vec<ChangedCredential>,
    /// Users, groups and clients, all of them, if something about one changed. There are few, and a
    /// complete set needs no tombstones.
    pub directory: Option<Directory>,
}

/// A credential that was changed.
#[derive(Debug)]
pub struct ChangedCredential {
    /// Who owns it.
    pub owner: Principal,
    /// Its slug.
    pub slug: Slug,
    /// Its part of the digest of all credentials.
    pub digest: SetDigest,
    /// What became of it.
    pub content: Content,
}

/// What became of a credential.
#[derive(Debug)]
pub enum Content {
    /// This.
    Live(Box<Credential>),
    /// It was deleted.
    Deleted,
    /// What is stored was not written by Egret. It may not be used.
    Unverified,
}

/// Everyone who may use something.
#[derive(Debug, Default)]
pub struct Directory {
    /// Users by name.
    pub users: BTreeMap<Principal, User>,
    /// Groups by name.
    pub groups: BTreeMap<GroupName, Group>,
    /// Bundles by owner and name.
    pub bundles: BTreeMap<BundleId, Bundle>,
    /// Clients.
    pub clients: Vec<Client>,
    /// What owners were asked and said.
    pub approvals: BTreeMap<String, Approval>,
    /// Credentials that are asked for, by number.
    pub key_requests: BTreeMap<i64, KeyRequest>,
    /// Egress rules by their numbers.
    pub egress: BTreeMap<i64, EgressEntry>,
    /// Whether an egress rule was not written by Egret.
    pub has_unverified_egress: bool,
    /// JWTs of issuers that are revoked, by the client that they name.
    pub revoked_issued: BTreeMap<String, RevokedIssued>,
    /// Clients of issuers whose entry was not written by Egret: what is revoked of theirs is not known.
    pub unverified_issued: BTreeSet<String>,
    /// The revision of each of them.
    pub revisions: HashMap<ObjectName, i64>,
    /// Users whose entry was not written by Egret: they may do nothing.
    pub unverified_users: BTreeSet<Principal>,
    /// Names of all entries that were not written by Egret, with their kinds: `client ci`.
    pub unverified: Vec<String>,
}

/// The credentials of one owner, or of everyone.
#[derive(Debug, Default)]
pub struct Listing {
    /// Those that may be used as far as the store is concerned, by owner and slug.
    pub credentials: Vec<Credential>,
    /// Those whose entry was not written by Egret.
    pub unverified: Vec<(Principal, Slug)>,
}

/// What of a store was not written by Egret.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Audit {
    /// Credentials, as `owner/slug`.
    pub credentials: BTreeSet<String>,
    /// All else, with its kind: `client ci`.
    pub entries: BTreeSet<String>,
}

/// Whether what was read of a store is still its content.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Freshness {
    /// Nothing was committed since.
    Fresh,
    /// Something was committed, or it cannot be ruled out.
    Stale,
    /// The store was removed or exchanged while it was open: what can be read of it is no longer
    /// what a command writes. Holds a reason for the log.
    Gone(String),
}

/// What a copy of the store holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StoreCopy {
    /// The version of its form.
    pub schema: i64,
    /// The number of its last change.
    pub revision: i64,
}
