//! What the store keeps of each object, as JSON that is authenticated as a whole.
//!
//! Unknown members are refused: a limit that a newer Egret stored must not be dropped by an older one.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::policy::attachment::Attachment;
use crate::policy::grant::Grant;
use crate::substitution::slug::Slug;
use crate::vault::approval::Approval;
use crate::vault::client_proof::{ClientProof, PublicKey, TokenHash};
use crate::vault::egress::EgressEntry;
use crate::vault::key_request::KeyRequest;
use crate::vault::model::{Client, Kind, Phase, State, Version};
use crate::vault::name::{ClientName, Principal};
use crate::vault::people::{Bundle, Group, Share, User};
use crate::vault::stand_in::StandIn;
use crate::vault::token_id::{RevokedIssued, RevokedToken};

/// Something that is stored as one authenticated text.
pub trait Record: Serialize + DeserializeOwned + Send {
    /// What is told apart by name: `credential`, `user`.
    const KIND: &'static str;
}

/// A credential, or what is left of a deleted one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase", deny_unknown_fields)]
pub enum CredentialRecord {
    /// A credential.
    Live(Box<Policy>),
    /// The number of its last version, which is never used again: a version in the ledger always
    /// means one value. Running servers learn from it that the credential is gone.
    Deleted(u32),
}

impl Record for CredentialRecord {
    const KIND: &'static str = "credential";
}

/// All about a credential but its values.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Policy {
    /// The shape of its value.
    pub kind: Kind,
    /// Free text for people.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub description: String,
    /// Where it may be used.
    pub grant: Grant,
    /// Active or revoked.
    pub state: State,
    /// Until when the value of a revoked one is searched for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub searched_until: Option<i64>,
    /// When it was created, unix seconds.
    pub created: i64,
    /// When it got its current value.
    pub rotated: i64,
    /// How old a value may become, in seconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rotate_every: Option<i64>,
    /// The number of the last version that was saved, whether or not it is kept.
    pub last_version: u32,
    /// The versions that are kept, in the order of their numbers.
    pub versions: Vec<Version>,
    /// With whom it is shared.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub shares: Vec<Share>,
    /// Header fields that are set in requests by themselves.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub attachments: Vec<Attachment>,
    /// Texts that mean it in its owner's requests.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub stand_ins: Vec<StandIn>,
}

impl Policy {
    /// The number of the version in force.
    pub fn current(&self) -> u32 {
        let current = |version: &&Version| version.phase == Phase::Current;
        let version = self.versions.iter().find(current);
        version.map_or(self.last_version, |version| version.number)
    }
}

impl Record for User {
    const KIND: &'static str = "user";
}

impl Record for EgressEntry {
    const KIND: &'static str = "egress";
}

impl Record for RevokedIssued {
    const KIND: &'static str = "issued";
}

impl Record for Approval {
    const KIND: &'static str = "approval";
}

impl Record for KeyRequest {
    const KIND: &'static str = "request";
}

impl Record for Group {
    const KIND: &'static str = "group";
}

/// A bundle as it is stored under its owner and name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BundleRecord {
    entries: BTreeMap<String, String>,
    shares: Vec<Share>,
    created: i64,
}

impl Record for BundleRecord {
    const KIND: &'static str = "bundle";
}

impl BundleRecord {
    /// What is stored of a bundle.
    pub fn of(bundle: &Bundle) -> Self {
        let text = |(alias, slug): (&Slug, &Slug)| (alias.to_string(), slug.to_string());
        Self {
            entries: bundle.entries.iter().map(text).collect(),
            shares: bundle.shares.clone(),
            created: bundle.created,
        }
    }

    /// With whom it is shared.
    pub fn shares(&self) -> &[Share] {
        &self.shares
    }

    /// The bundle; `None` if a slug in it is none.
    pub fn bundle(self) -> Option<Bundle> {
        let entries = self.entries.iter().map(|(alias, slug)| {
            let slugs = (Slug::parse(alias).ok()?, Slug::parse(slug).ok()?);
            Some(slugs)
        });
        Some(Bundle {
            entries: entries.collect::<Option<_>>()?,
            shares: self.shares,
            created: self.created,
        })
    }
}

/// A client as it is stored under its name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ClientRecord {
    principal: Principal,
    /// In hexadecimal.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    token_hash: Option<String>,
    /// In base64url.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    public_key: Option<String>,
    created: i64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    expires: Option<i64>,
    enrolment: i64,
    /// Owner and name of the only bundle that it may use.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    bundle: Option<String>,
    /// Whether it uses values that wait for their promotion.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    is_probe: bool,
    /// Tokens that the client signed itself until this time do not work.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    revoked_before: Option<i64>,
    /// Action tokens that do not work any more.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    revoked: Vec<RevokedToken>,
}

impl Record for ClientRecord {
    const KIND: &'static str = "client";
}

impl ClientRecord {
    /// What is stored of a client.
    pub fn of(client: &Client) -> Self {
        let (token_hash, public_key) = match &client.proof {
            ClientProof::Token(hash) => (Some(hexadecimal(hash)), None),
            ClientProof::Key(key) => (None, Some(key.base64url())),
        };
        Self {
            principal: client.principal.clone(),
            token_hash,
            public_key,
            created: client.created,
            expires: client.expires,
            enrolment: client.enrolment,
            bundle: client.bundle.as_ref().map(ToString::to_string),
            is_probe: client.is_probe,
            revoked_before: client.revoked_before,
            revoked: client.revoked.clone(),
        }
    }

    /// The client of that name; `None` if its hash or key is none.
    pub fn client(self, name: ClientName) -> Option<Client> {
        let proof = match (self.token_hash, self.public_key) {
            (Some(hash), None) => ClientProof::Token(parse_hash(&hash)?),
            (None, Some(key)) => ClientProof::Key(PublicKey::parse(key.as_bytes()).ok()?),
            _ => return None,
        };
        Some(Client {
            name,
            principal: self.principal,
            created: self.created,
            expires: self.expires,
            enrolment: self.enrolment,
            bundle: match self.bundle {
                Some(bundle) => Some(Arc::new(bundle.parse().ok()?)),
                None => None,
            },
            is_probe: self.is_probe,
            proof,
            revoked_before: self.revoked_before,
            revoked: self.revoked,
        })
    }
}

fn hexadecimal(hash: &TokenHash) -> String {
    hash.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn parse_hash(hex: &str) -> Option<TokenHash> {
    let mut hash = TokenHash::default();
    if hex.len() != 2 * hash.len() || !hex.is_ascii() {
        return None;
    }
    for (byte, digits) in hash.iter_mut().zip(hex.as_bytes().chunks(2)) {
        *byte = u8::from_str_radix(str::from_utf8(digits).ok()?, 16).ok()?;
    }
    Some(hash)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_is_read_back_as_it_was_stored() {
        let hash = ClientProof::Token(std::array::from_fn(|at| at as u8 * 8));
        let key = PublicKey::parse(format!("{}A", "B".repeat(42)).as_bytes()).unwrap();
        for proof in [hash, ClientProof::Key(key)] {
            reads_back(proof);
        }
        let neither = r#"{"principal":"a","created":1,"enrolment":1}"#;
        let read: ClientRecord = serde_json::from_str(neither).unwrap();
        assert_eq!(read.client(ClientName::parse("ci").unwrap()), None);
    }

    fn reads_back(proof: ClientProof) {
        let client = Client {
            name: ClientName::parse("ci").unwrap(),
            principal: Principal::parse("build").unwrap(),
            created: 1,
            expires: Some(2),
            enrolment: 3,
            bundle: Some(Arc::new("alice/work".parse().unwrap())),
            is_probe: true,
            proof,
            revoked_before: Some(8),
            revoked: vec![RevokedToken {
                id: "run:1".parse().unwrap(),
                until: 9,
            }],
        };
        let json = serde_json::to_string(&ClientRecord::of(&client)).unwrap();
        let read: ClientRecord = serde_json::from_str(&json).unwrap();
        assert_eq!(read.client(client.name.clone()), Some(client));
    }

    #[test]
    fn a_tombstone_holds_a_number_and_unknown_limits_are_refused() {
        let json = serde_json::to_string(&CredentialRecord::Deleted(3)).unwrap();
        assert_eq!(json, r#"{"deleted":3}"#);
        let live = r#"{"live":{"kind":"secret","grant":{"hosts":[],"locations":[]},"state":"active","created":1,"rotated":1,"last_version":1,"versions":[]}}"#;
        assert!(serde_json::from_str::<CredentialRecord>(live).is_ok());
        let newer = live.replace("\"versions\"", "\"weekdays\":[],\"versions\"");
        assert!(serde_json::from_str::<CredentialRecord>(&newer).is_err());
    }
}
