//! What a file says, and what a store holds, in the same terms.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use serde::{Deserialize, Serialize};

use crate::policy::egress::{EgressRule, Stance};
use crate::policy::grant::{Grant, HostPattern, PathPrefix};
use crate::policy::location::LocationRule;
use crate::policy::share_limits::ShareLimits;
use crate::policy::use_limits::{Asking, Budget, Copies, UseLimits, UsesChange};
use crate::vault::egress::{EgressEntry, Subject};
use crate::vault::model::Credential;
use crate::vault::name::{ClientName, GroupName, Principal};
use crate::vault::people::{Bundle, Grantee, Role, Share, User};
use crate::vault::sharing::Offer;
use crate::vault::store::{Directory, Listing};

/// What a file says.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Desired {
    /// Users by name.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub users: BTreeMap<Principal, DesiredUser>,
    /// Groups by name.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub groups: BTreeMap<GroupName, DesiredGroup>,
    /// Limits and shares of credentials, by `owner/slug`.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub credentials: BTreeMap<String, DesiredCredential>,
    /// Bundles by `owner/name`.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub bundles: BTreeMap<String, DesiredBundle>,
    /// Clients by name.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub clients: BTreeMap<ClientName, DesiredClient>,
    /// Rules about where clients may go, by whom they are about: all of theirs, in any order.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub rules: BTreeMap<Subject, Vec<DesiredRule>>,
}

/// A user.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DesiredUser {
    /// The name for people.
    #[serde(default)]
    pub display_name: String,
    /// What the user may do.
    #[serde(default)]
    pub role: Role,
    /// Whether the user may do nothing.
    #[serde(default)]
    pub disabled: bool,
}

/// A group.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DesiredGroup {
    /// The users in it.
    #[serde(default)]
    pub members: BTreeSet<Principal>,
}

/// Where a credential may be used, and who else may use it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DesiredCredential {
    /// Hosts that may receive it.
    pub hosts: Vec<HostPattern>,
    /// Where in a request it may be placed; any header if it is missing.
    #[serde(default = "any_header")]
    pub locations: Vec<LocationRule>,
    /// Methods it may be used with; any if there is none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub methods: Vec<String>,
    /// Prefixes of the paths it may be used for; any if there is none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub paths: Vec<PathPrefix>,
    /// Actions that may use it; any if there is none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub actions: Vec<String>,
    /// When it stops working.
    #[serde(default, skip_serializing_if = "Option::is_none", with = "moment")]
    pub expires: Option<i64>,
    /// How old its value may become, in seconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rotate_every: Option<i64>,
    /// Who else may use it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub shares: Vec<DesiredShare>,
    /// How often one request may carry its value: a number, or `any`; as it is if it is missing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub copies: Option<Copies>,
    /// How many requests may use it in a time: `100/h`, or `unlimited`; as it is if it is missing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_uses: Option<Budget>,
    /// When its owner is asked: `first-use`, `always` or `never`; as it is if it is missing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub approve: Option<Asking>,
}

fn any_header() -> Vec<LocationRule> {
    vec![LocationRule::Header(None)]
}

/// A share. What is missing adds no limit.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DesiredShare {
    /// A user, `group:NAME` or `everyone`.
    pub with: Grantee,
    /// How far.
    #[serde(flatten)]
    pub limits: ShareLimits,
    /// When it ends.
    #[serde(default, skip_serializing_if = "Option::is_none", with = "moment")]
    pub until: Option<i64>,
}

/// A bundle.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DesiredBundle {
    /// By which slug requests name which credential of the owner.
    #[serde(default)]
    pub entries: BTreeMap<String, String>,
    /// Who else may use it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub shares: Vec<DesiredShare>,
}

/// A client that is there.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DesiredClient {
    /// `owner/name` of the only bundle that it may use.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bundle: Option<String>,
}

/// A rule about where clients may go. What is missing does not narrow it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DesiredRule {
    /// `allow`, `observe` or `deny`.
    pub rule: Stance,
    /// The hosts; every host if there is none, which no `allow` may be about.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub hosts: Vec<HostPattern>,
    /// Only requests with these methods.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub methods: Vec<String>,
    /// Only paths with these prefixes.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub paths: Vec<PathPrefix>,
    /// Only these actions.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub actions: Vec<String>,
    /// Its number, of one that is there.
    #[serde(skip)]
    pub number: Option<i64>,
    /// In which line of the file it begins, counted from 1.
    #[serde(skip)]
    pub line: Option<usize>,
}

/// What a store holds, as a file would say it.
pub type Present = Desired;

/// A file that says nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InvalidFile {
    reason: String,
    /// In which line, counted from 1.
    pub line: Option<usize>,
}

impl InvalidFile {
    pub(super) fn new(reason: String) -> Self {
        Self { reason, line: None }
    }

    /// In a line of the file, if that is known.
    pub(super) fn at(line: Option<usize>, reason: &str) -> Self {
        let place = line.map_or_else(String::new, |line| format!("line {line}: "));
        Self {
            reason: format!("{place}{reason}"),
            line,
        }
    }
}

impl InvalidFile {
    /// A member that does not exist, and those that do in its place, if that is what is wrong.
    pub fn unknown_member(&self) -> Option<(&str, Vec<&str>)> {
        // What serde says. The names at its end are those of our types, whatever the file has before them.
        let said = self.reason.trim_end();
        let (name, known) = said.rsplit_once("`, expected ")?;
        let (_, name) = name.rsplit_once("unknown field `")?;
        let is_name = |text: &&str| {
            let is_part = |byte: u8| byte.is_ascii_lowercase() || byte == b'_';
            !text.is_empty() && text.bytes().all(is_part)
        };
        let known: Vec<&str> = known.split('`').skip(1).step_by(2).collect();
        let is_known = !known.is_empty() && known.iter().all(is_name);
        is_known.then_some((name, known))
    }
}

impl fmt::Display for InvalidFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.reason)
    }
}

impl std::error::Error for InvalidFile {}

impl Desired {
    /// Reads a file: JSON if it begins with `{`, else TOML.
    ///
    /// # Errors
    /// What is wrong, and where. A file has no values, so its text may be shown.
    pub fn read(text: &str) -> Result<Self, InvalidFile> {
        let mut read = Self::parse(text)?;
        read.note_lines(text);
        Ok(read)
    }

    fn parse(text: &str) -> Result<Self, InvalidFile> {
        if text.trim_start().starts_with('{') {
            return serde_json::from_str(text).map_err(|error| InvalidFile {
                line: Some(error.line()),
                reason: error.to_string(),
            });
        }
        let line = |at: usize| 1 + text.bytes().take(at).filter(|byte| *byte == b'\n').count();
        toml::from_str(text).map_err(|error| InvalidFile {
            line: error.span().map(|span| line(span.start)),
            reason: error.to_string(),
        })
    }

    /// What a store holds.
    pub fn of(directory: &Directory, listing: &Listing) -> Self {
        let users = directory.users.iter();
        let groups = directory.groups.iter();
        let bundles = directory.bundles.iter();
        let clients = directory.clients.iter();
        let credentials = listing.credentials.iter();
        Self {
            users: users
                .map(|(name, user)| (name.clone(), user.into()))
                .collect(),
            groups: groups
                .map(|(name, group)| {
                    let members = group.present().cloned().collect();
                    (name.clone(), DesiredGroup { members })
                })
                .collect(),
            rules: rules(&directory.egress),
            credentials: credentials
                .map(|one| (format!("{}/{}", one.owner, one.slug), one.into()))
                .collect(),
            bundles: bundles
                .map(|(id, bundle)| (id.to_string(), bundle.into()))
                .collect(),
            clients: clients
                .map(|client| {
                    let bundle = client.bundle.as_ref().map(ToString::to_string);
                    (client.name.clone(), DesiredClient { bundle })
                })
                .collect(),
        }
    }
}

impl From<&User> for DesiredUser {
    fn from(user: &User) -> Self {
        Self {
            display_name: user.display_name.clone(),
            role: user.role,
            disabled: user.disabled,
        }
    }
}

impl From<&Credential> for DesiredCredential {
    fn from(credential: &Credential) -> Self {
        let grant = credential.grant.clone();
        Self {
            hosts: grant.hosts,
            locations: grant.locations,
            methods: grant.methods,
            paths: grant.paths,
            actions: grant.actions,
            expires: grant.expires,
            rotate_every: credential.rotate_every,
            shares: shares(credential.shares.iter().map(|share| &**share)),
            copies: grant.uses.copies,
            max_uses: Some(Budget(grant.uses.budget)),
            approve: Some(Asking(grant.uses.approve)),
        }
    }
}

impl From<&Bundle> for DesiredBundle {
    fn from(bundle: &Bundle) -> Self {
        let entries = bundle.entries.iter();
        Self {
            entries: entries
                .map(|(alias, slug)| (alias.to_string(), slug.to_string()))
                .collect(),
            shares: shares(bundle.shares.iter()),
        }
    }
}

fn rules(entries: &BTreeMap<i64, EgressEntry>) -> BTreeMap<Subject, Vec<DesiredRule>> {
    let mut rules: BTreeMap<Subject, Vec<DesiredRule>> = BTreeMap::new();
    for (number, entry) in entries {
        let EgressRule {
            stance,
            hosts,
            methods,
            paths,
            actions,
        } = entry.rule.clone();
        let rule = DesiredRule {
            rule: stance,
            hosts,
            methods,
            paths,
            actions,
            number: Some(*number),
            line: None,
        };
        rules.entry(entry.subject.clone()).or_default().push(rule);
    }
    rules
}

impl DesiredRule {
    /// What it says.
    pub fn rule(&self) -> EgressRule {
        EgressRule {
            stance: self.rule,
            hosts: self.hosts.clone(),
            methods: self.methods.clone(),
            paths: self.paths.clone(),
            actions: self.actions.clone(),
        }
    }
}

fn shares<'a>(shares: impl Iterator<Item = &'a Share>) -> Vec<DesiredShare> {
    let present = shares.filter(|share| share.ended.is_none());
    let mut shares: Vec<_> = present.map(DesiredShare::from).collect();
    shares.sort_by(|a, b| a.with.cmp(&b.with));
    shares
}

impl From<&Share> for DesiredShare {
    fn from(share: &Share) -> Self {
        Self {
            with: share.with.clone(),
            limits: share.limits.clone(),
            until: share.until,
        }
    }
}

impl DesiredCredential {
    /// Its limits, for a credential that may be used this often.
    pub fn grant(&self, uses: UseLimits) -> Grant {
        let change = UsesChange {
            copies: self.copies,
            budget: self.max_uses,
            approve: self.approve,
        };
        Grant {
            hosts: self.hosts.clone(),
            locations: self.locations.clone(),
            methods: self.methods.clone(),
            paths: self.paths.clone(),
            actions: self.actions.clone(),
            expires: self.expires,
            uses: change.apply(uses),
        }
    }
}

impl DesiredShare {
    /// The offer that makes it.
    pub fn offer(&self) -> Offer {
        Offer {
            with: self.with.clone(),
            limits: self.limits.clone(),
            until: self.until,
        }
    }
}

/// Points in time as text, in UTC.
mod moment {
    use serde::{Deserialize, Deserializer, Serializer};
    use time::OffsetDateTime;
    use time::format_description::well_known::Rfc3339;

    pub fn serialize<S: Serializer>(time: &Option<i64>, serializer: S) -> Result<S::Ok, S::Error> {
        let time = time.and_then(|unix| OffsetDateTime::from_unix_timestamp(unix).ok());
        match time.and_then(|time| time.format(&Rfc3339).ok()) {
            Some(text) => serializer.serialize_some(&text),
            None => serializer.serialize_none(),
        }
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(reader: D) -> Result<Option<i64>, D::Error> {
        let text = Option::<String>::deserialize(reader)?;
        let parse = |text: String| {
            let time = OffsetDateTime::parse(&text, &Rfc3339);
            let time = time.map(OffsetDateTime::unix_timestamp);
            time.map_err(|_| serde::de::Error::custom("write a time as in 2027-01-31T12:00:00Z"))
        };
        text.map(parse).transpose()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_member_that_does_not_exist_is_told_from_all_else() {
        let unknown = |text: &str| {
            let error = Desired::read(text).unwrap_err();
            let found = error.unknown_member();
            found.map(|(name, known)| (name.to_owned(), known.join(" ")))
        };
        let role = "display_name role disabled";
        for text in [
            "[users.dave]\nrol = 'member'\n",
            "{\"users\": {\"dave\": {\"rol\": \"member\"}}}",
        ] {
            assert_eq!(unknown(text), Some(("rol".into(), role.into())), "{text}");
        }
        // What a file has before the end of the message is no name of ours.
        let deceives = "[users.dave]\n\"a`, expected `hunter\" = 1\n";
        assert_eq!(unknown(deceives).unwrap().1, role);
        for text in ["[users", "users = 3", "[users.Dave]\n", "{\"users\": 3}"] {
            assert_eq!(unknown(text), None, "{text}");
        }
    }
}
