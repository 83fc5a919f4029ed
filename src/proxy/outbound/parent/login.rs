//! The login at a parent proxy: a stored credential, used like any other. It goes to the hosts that it
//! is allowed for, and each use is on record before it is sent.

use std::sync::Arc;

use super::failure::proxy_failed;
use crate::clock::unix_seconds;
use crate::config::{ParentProtocol, ParentProxy};
use crate::error::Refusal;
use crate::ledger::{EncodedEntries, Entry, Ledger, event, outcome};
use crate::secret::SecretBytes;
use crate::substitution::slug::{Field, Slug};
use crate::vault::cache::{Found, Usable};
use crate::vault::{Credential, Kind, Principal, Vault};

/// What the ledger names as client and action: Egret itself, for this setting.
const CLIENT: &str = "egret";
const ACTION: &str = "upstream.proxy";

/// Takes the login of a credential.
pub struct Login {
    /// Where the value is.
    pub vault: Arc<Vault>,
    /// Where its use is put on record.
    pub ledger: Ledger,
    /// Whose credential it is.
    pub owner: Principal,
    /// Its slug.
    pub slug: Slug,
}

/// A user name and a password.
pub(super) enum Pair {
    /// As `login` credentials have them.
    Fields(Arc<SecretBytes>, Arc<SecretBytes>),
    /// In one value, around a colon at this place.
    Joined(Arc<SecretBytes>, usize),
}

impl Pair {
    pub(super) fn user(&self) -> &[u8] {
        match self {
            Self::Fields(user, _) => user.expose(),
            Self::Joined(both, colon) => &both.expose()[..*colon],
        }
    }

    pub(super) fn password(&self) -> &[u8] {
        match self {
            Self::Fields(_, password) => password.expose(),
            Self::Joined(both, colon) => &both.expose()[colon + 1..],
        }
    }
}

impl Login {
    /// The login, once its use is on record.
    pub(super) async fn take(&self, parent: &ParentProxy) -> Result<Pair, Refusal> {
        self.vault.refresh().await?;
        let found = self.vault.find(&self.owner, &self.slug, unix_seconds());
        let credential = match found {
            Found::One(Usable { credential, .. }) if credential.owner == self.owner => credential,
            _ => return Err(not_usable()),
        };
        let mut hosts = credential.grant.hosts.iter();
        if !hosts.any(|host| host.matches(&parent.place)) {
            let place = &parent.place;
            return Err(proxy_failed(format!(
                "the credential of upstream.proxy_credential is not allowed for the proxy; its owner \
                 can allow it with `egret credential allow SLUG --add --host {place}`"
            )));
        }
        let pair = self.open(&credential)?;
        let lines = EncodedEntries::from_iter([self.entry(&credential, parent)]);
        self.ledger.commit(lines).await?;
        Ok(pair)
    }

    fn open(&self, credential: &Credential) -> Result<Pair, Refusal> {
        let open = |field: Option<&str>| {
            let field: Option<Field> = field.and_then(|name| name.parse().ok());
            let opened = self.vault.open_value(credential, field.as_ref());
            opened.map_err(|_| not_usable())
        };
        if credential.kind == Kind::Login {
            return Ok(Pair::Fields(
                open(Some("username"))?,
                open(Some("password"))?,
            ));
        }
        let both = open(None)?;
        let colon = both.expose().iter().position(|byte| *byte == b':');
        let colon = colon.ok_or_else(|| {
            proxy_failed(
                "the credential of upstream.proxy_credential is no login: save it with `--kind \
                 login`, or as one value `USER:PASSWORD`",
            )
        })?;
        Ok(Pair::Joined(both, colon))
    }

    fn entry<'a>(&'a self, credential: &'a Credential, parent: &ParentProxy) -> Entry<'a> {
        let place = match parent.protocol {
            ParentProtocol::Http => "header:proxy-authorization",
            ParentProtocol::Socks => "socks",
        };
        Entry {
            principal: Some(self.owner.as_str().into()),
            client: Some(CLIENT.into()),
            action: Some(ACTION.into()),
            slug: Some(self.slug.as_str().into()),
            version: Some(credential.version),
            owner: Some(self.owner.as_str().into()),
            destination: Some(parent.place.to_string().into()),
            locations: vec![place.into()],
            outcome: Some(outcome::USED.into()),
            ..Entry::new(event::USE)
        }
    }
}

fn not_usable() -> Refusal {
    proxy_failed(
        "the credential of upstream.proxy_credential cannot be used: it is not there, revoked or \
         expired",
    )
}
