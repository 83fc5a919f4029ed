//! Whether a header field may be attached to requests, and how it is spelled there.

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::policy::attachment::{Attachment, NEVER};
use crate::policy::grant::Grant;
use crate::policy::location::{Location, LocationRule};
use crate::substitution::basic::Basic;
use crate::substitution::encoding::Encoding;
use crate::substitution::placeholder::scan;
use crate::substitution::slug::{Reference, Slug};
use crate::vault::model::Credential;

/// Most rules of one credential.
pub const MOST: usize = 32;
/// The longest name of a field.
const LONGEST_NAME: usize = 64;
/// The longest text of a field.
const LONGEST_VALUE: usize = 1024;

/// What is wrong with a field that is to be attached.
pub type Problem = &'static str;

/// The field as it is put into a request: what Basic credentials say is in base64 there.
pub fn spelled(attachment: &Attachment) -> String {
    let value = &attachment.value;
    if attachment.name == "authorization"
        && let Some((scheme, rest)) = value.split_once(' ')
        && scheme.eq_ignore_ascii_case("basic")
        // No base64 holds a colon.
        && rest.contains(':')
    {
        return format!("{scheme} {}", STANDARD.encode(rest.trim()));
    }
    value.clone()
}

/// The placeholders of the field.
pub fn references(attachment: &Attachment) -> Vec<Reference> {
    let value = spelled(attachment);
    let basic = (attachment.name == "authorization").then(|| Basic::parse(value.as_bytes()));
    let decoded = basic.flatten().map(|basic| basic.decoded().to_vec());
    let text = decoded.unwrap_or_else(|| value.into_bytes());
    let tokens = scan(Encoding::Header, &text).into_iter();
    let named = tokens.filter(|token| !token.escape);
    named.map(|token| token.reference).collect()
}

/// A rule, and the credential that it attaches.
pub type Attachable = (Arc<Credential>, Arc<Attachment>);

/// Whether a rule can be one of this credential.
pub fn check(attachment: &Attachment, slug: &Slug, grant: &Grant) -> Result<(), Problem> {
    check_field(attachment)?;
    let references = references(attachment);
    if references.is_empty() || references.iter().any(|named| named.slug != *slug) {
        return Err("the header has to hold the placeholder of this credential, and no other one");
    }
    if attachment.hosts.is_empty() {
        return Err("name the hosts whose requests get the header");
    }
    let is_granted = |host: &_| grant.hosts.iter().any(|granted| granted.includes(host));
    if !attachment.hosts.iter().all(is_granted) {
        return Err(
            "the credential is not allowed for one of these hosts; allow it first with \
             `egret credential allow SLUG --add --host HOST`",
        );
    }
    let location = Location::Header(attachment.name.as_str().into());
    if !grant.locations.iter().any(|rule| rule.allows(&location)) {
        return Err(
            "the credential is not allowed in this header; allow it first with \
             `egret credential allow SLUG --add --in header:NAME`",
        );
    }
    Ok(())
}

fn check_field(attachment: &Attachment) -> Result<(), Problem> {
    let (name, value) = (&attachment.name, &attachment.value);
    let is_lower_case = !name.bytes().any(|byte| byte.is_ascii_uppercase());
    if name.len() > LONGEST_NAME || !is_lower_case {
        return Err("the name of the header is not one");
    }
    if format!("header:{name}").parse::<LocationRule>().is_err() {
        return Err("nothing can be attached in this header: it is none, or routes the message");
    }
    let is_visible = |byte: u8| (b' '..=b'~').contains(&byte);
    if value.len() > LONGEST_VALUE || value.trim() != value || !value.bytes().all(is_visible) {
        return Err("the header has to be visible ASCII on one line, of at most 1024 characters");
    }
    let is_never = |method: &String| NEVER.contains(&method.as_str());
    if attachment.methods.iter().any(is_never) {
        return Err("nothing is ever attached to TRACE and OPTIONS");
    }
    Ok(())
}

/// A rule in words, for the ledger. It holds no value: the field holds a placeholder.
pub fn describe(attachment: &Attachment) -> String {
    let mut text = format!("{}: {}", attachment.name, attachment.value);
    let mut list = |name: &str, items: Vec<String>| {
        if !items.is_empty() {
            text.push_str(&format!("; {name} {}", items.join(" ")));
        }
    };
    list(
        "hosts",
        attachment.hosts.iter().map(ToString::to_string).collect(),
    );
    list("methods", attachment.methods.clone());
    list(
        "paths",
        attachment.paths.iter().map(ToString::to_string).collect(),
    );
    list("clients", attachment.clients.clone());
    list("actions", attachment.actions.clone());
    if attachment.replace {
        text.push_str("; replaces the client's own");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::vault::fixture::{grant, slug};

    fn attachment(name: &str, value: &str) -> Attachment {
        Attachment {
            number: 1,
            name: name.to_owned(),
            value: value.to_owned(),
            hosts: grant().hosts,
            methods: Vec::new(),
            paths: Vec::new(),
            clients: Vec::new(),
            actions: Vec::new(),
            replace: false,
        }
    }

    fn checked(name: &str, value: &str) -> Result<(), Problem> {
        check(&attachment(name, value), &slug("pat"), &grant())
    }

    #[test]
    fn basic_credentials_are_written_in_base64() {
        let basic = attachment("authorization", "Basic user:<<pat>>");
        assert_eq!(
            spelled(&basic),
            format!("Basic {}", STANDARD.encode("user:<<pat>>"))
        );
        assert_eq!(references(&basic).len(), 1);
        for ready in ["Basic <<pat>>", "Bearer a:<<pat>>"] {
            assert_eq!(spelled(&attachment("authorization", ready)), ready);
        }
        let other = attachment("x-basic", "Basic user:<<pat>>");
        assert_eq!(spelled(&other), "Basic user:<<pat>>");
    }

    #[test]
    fn a_field_holds_the_placeholder_of_its_credential_and_no_other() {
        assert_eq!(checked("authorization", "Bearer <<pat>>"), Ok(()));
        assert_eq!(checked("authorization", "Basic user:<<pat>>"), Ok(()));
        for value in ["Bearer x", "<<other>>", "<<pat>> <<other>>", "<<!pat>>", ""] {
            assert!(checked("authorization", value).is_err(), "{value}");
        }
        let long = "a".repeat(1024);
        for value in ["<<pat>>\n", "\u{e9}<<pat>>", &format!("<<pat>>{long}")] {
            assert!(checked("x-key", value).is_err(), "{value}");
        }
    }

    #[test]
    fn headers_that_route_or_describe_the_message_are_refused() {
        for name in [
            "host",
            "content-type",
            "connection",
            "transfer-encoding",
            "proxy-authorization",
            "egret-action",
            "X-Upper",
            "",
            "a b",
        ] {
            assert!(checked(name, "<<pat>>").is_err(), "{name}");
        }
        // Named nowhere in the grant.
        assert!(checked("cookie", "<<pat>>").is_err());
    }

    #[test]
    fn a_rule_reaches_no_further_than_the_credential() {
        let mut wider = attachment("x-key", "<<pat>>");
        wider.hosts.push("elsewhere.example".parse().unwrap());
        assert!(check(&wider, &slug("pat"), &grant()).is_err());
        let never = Attachment {
            methods: vec!["OPTIONS".to_owned()],
            ..attachment("x-key", "<<pat>>")
        };
        assert!(check(&never, &slug("pat"), &grant()).is_err());
    }
}
