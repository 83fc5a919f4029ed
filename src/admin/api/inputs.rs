//! What the members of requests can be.

use std::fmt::Display;
use std::path::PathBuf;
use std::str::FromStr;

use serde_json::Value;

use super::fields::{Input, Wrong};
use super::request::too_large;
use crate::admin::problem::AdminProblem;
use crate::policy::destination::{Destination, Scheme};
use crate::policy::egress::Stance;
use crate::policy::grant::{self, HostPattern, PathPrefix};
use crate::policy::location::LocationRule;
use crate::policy::use_limits::{Asking, Budget, Copies};
use crate::secret::SecretBytes;
use crate::substitution::slug::Slug;
use crate::vault::Kind;
use crate::vault::access::Scope;
use crate::vault::approval::Verdict;
use crate::vault::client_proof::PublicKey;
use crate::vault::egress::Subject;
use crate::vault::name::{CallerName, ClientName, GroupName, Principal};
use crate::vault::people::{BundleId, Grantee, Role};
use crate::vault::token_id::TokenId;

/// Longest value of a credential, in bytes.
pub const LONGEST_VALUE: usize = 64 * 1024;

/// Longest list.
const MOST_ITEMS: usize = 1000;

impl<T: Input> Input for Option<T> {
    fn read(value: Option<Value>) -> Result<Self, Wrong> {
        match value {
            None | Some(Value::Null) => Ok(None),
            present => T::read(present).map(Some),
        }
    }
}

impl<T: Input> Input for Vec<T> {
    /// A missing list is an empty one.
    fn read(value: Option<Value>) -> Result<Self, Wrong> {
        let items = match value {
            None | Some(Value::Null) => return Ok(Vec::new()),
            Some(Value::Array(items)) => items,
            Some(_) => return Err(Wrong::new("it has to be a list")),
        };
        if items.len() > MOST_ITEMS {
            return Err(Wrong::new(format!("a list has at most {MOST_ITEMS} items")));
        }
        let read = |(at, item)| T::read(Some(item)).map_err(|wrong| wrong.in_item(at));
        items.into_iter().enumerate().map(read).collect()
    }
}

impl Input for bool {
    /// A missing one is false.
    fn read(value: Option<Value>) -> Result<Self, Wrong> {
        match value {
            None | Some(Value::Null) => Ok(false),
            Some(Value::Bool(value)) => Ok(value),
            Some(_) => Err(Wrong::new("it has to be true or false")),
        }
    }
}

impl Input for u64 {
    fn read(value: Option<Value>) -> Result<Self, Wrong> {
        let number = present(value)?;
        let number = number.as_u64();
        number.ok_or_else(|| Wrong::new("it has to be a whole number, not below 0"))
    }
}

impl Input for String {
    fn read(value: Option<Value>) -> Result<Self, Wrong> {
        match present(value)? {
            Value::String(text) => Ok(text),
            _ => Err(Wrong::new("it has to be text")),
        }
    }
}

fn present(value: Option<Value>) -> Result<Value, Wrong> {
    value.ok_or_else(|| Wrong::new("it is missing"))
}

/// Reads a text; the parsers named here say what is right, and never what they were given.
fn text<T, E: Display>(
    value: Option<Value>,
    parse: impl FnOnce(&str) -> Result<T, E>,
) -> Result<T, Wrong> {
    let text = String::read(value)?;
    parse(&text).map_err(Wrong::new)
}

macro_rules! texts {
    ($($type:ty),* $(,)?) => { $(
        impl Input for $type {
            fn read(value: Option<Value>) -> Result<Self, Wrong> {
                text(value, <$type>::from_str)
            }
        }
    )* };
}

texts!(
    HostPattern,
    Kind,
    Principal,
    GroupName,
    ClientName,
    CallerName,
    BundleId,
    Grantee,
    Role,
    Scope,
    Slug,
    TokenId,
    Copies,
    Budget,
    Asking,
    Verdict,
    Subject,
    Stance,
);

impl Input for PublicKey {
    fn read(value: Option<Value>) -> Result<Self, Wrong> {
        text(value, |text| PublicKey::parse(text.as_bytes()))
    }
}

impl Input for LocationRule {
    fn read(value: Option<Value>) -> Result<Self, Wrong> {
        let text = String::read(value)?;
        // Its own messages repeat a part of the text.
        text.parse().map_err(|_| {
            Wrong::new(
                "a place is header, query, path or body, or one of them with a name: \
                 header:authorization, query:key, body:client_secret, body:/auth/token",
            )
        })
    }
}

impl Input for PathPrefix {
    fn read(value: Option<Value>) -> Result<Self, Wrong> {
        text(value, grant::parse_path)
    }
}

/// A method, or `*` for any.
pub struct Method(pub String);

impl Input for Method {
    fn read(value: Option<Value>) -> Result<Self, Wrong> {
        text(value, grant::parse_method).map(Self)
    }
}

/// The name of an action, or `*` for any.
pub struct Action(pub String);

impl Input for Action {
    fn read(value: Option<Value>) -> Result<Self, Wrong> {
        text(value, grant::parse_action).map(Self)
    }
}

/// A point in time, unix seconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Time(pub i64);

impl FromStr for Time {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let format = &time::format_description::well_known::Rfc3339;
        time::OffsetDateTime::parse(text, format)
            .map(|time| Self(time.unix_timestamp()))
            .map_err(|_| "write a time as in 2027-01-31T12:00:00Z")
    }
}

impl Input for Time {
    fn read(value: Option<Value>) -> Result<Self, Wrong> {
        text(value, Time::from_str)
    }
}

/// Where a client connects to: a host and a port.
pub struct ProxyAddress {
    /// A name or an address, without brackets.
    pub host: String,
    /// The port.
    pub port: u16,
}

impl Input for ProxyAddress {
    fn read(value: Option<Value>) -> Result<Self, Wrong> {
        let text = String::read(value)?;
        let wrong = || Wrong::new("write a host and a port, as in egret.internal:7070");
        let (_, port) = text.rsplit_once(':').ok_or_else(wrong)?;
        let port: u16 = port.parse().map_err(|_| wrong())?;
        let destination = Destination::from_authority(Scheme::Http, &text).map_err(|_| wrong())?;
        let host = destination.host.to_string();
        let host = host.trim_start_matches('[').trim_end_matches(']');
        Ok(Self {
            host: host.to_owned(),
            port,
        })
    }
}

/// A directory in a sandbox.
pub struct SandboxPath(pub PathBuf);

impl Input for SandboxPath {
    fn read(value: Option<Value>) -> Result<Self, Wrong> {
        let text = String::read(value)?;
        let is_plain = text.starts_with('/')
            && text.len() <= 200
            && text
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || b"/._-".contains(&byte));
        if is_plain {
            Ok(Self(text.into()))
        } else {
            Err(Wrong::new(
                "it is an absolute path of at most 200 letters, digits and . _ - /",
            ))
        }
    }
}

/// The value of a credential: text, or for a login and for fields an object of texts.
///
/// Not `Debug`, and gone from memory with the request.
pub struct SecretInput {
    bytes: SecretBytes,
    is_object: bool,
}

impl Input for SecretInput {
    fn read(value: Option<Value>) -> Result<Self, Wrong> {
        let value = present(value)?;
        let is_object = value.is_object();
        let bytes = match value {
            Value::String(text) => text.into_bytes(),
            Value::Object(fields) => object(fields)?,
            _ => return Err(Wrong::new("it has to be text, or an object of texts")),
        };
        Ok(Self {
            bytes: SecretBytes::new(bytes),
            is_object,
        })
    }
}

fn object(fields: serde_json::Map<String, Value>) -> Result<Vec<u8>, Wrong> {
    if fields.values().any(|value| !value.is_string()) {
        return Err(Wrong::new("each of its fields has to be text"));
    }
    serde_json::to_vec(&fields).map_err(|_| Wrong::new("it cannot be written as JSON"))
}

impl SecretInput {
    /// The value of a credential of this kind.
    ///
    /// # Errors
    /// When it is too long, or an object where text is wanted.
    pub fn of_kind(self, kind: Kind) -> Result<SecretBytes, AdminProblem> {
        if self.bytes.len() > LONGEST_VALUE {
            return Err(too_large());
        }
        if self.is_object && kind == Kind::Secret {
            let detail = "the value of a secret is text; an object is for a login or for fields";
            return Err(AdminProblem::field("value", detail));
        }
        Ok(self.bytes)
    }
}
