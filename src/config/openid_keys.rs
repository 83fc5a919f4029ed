//! Reads `[openid]`.

use super::openid::{GroupMapping, OpenId};
use super::raw::Value;
use super::resolve::Resolver;
use super::safe_url::is_safe_url;
use super::units::FromValue;
use crate::vault::GroupName;

impl Resolver<'_> {
    pub(super) fn openid(&mut self) -> Option<OpenId> {
        let [client_id, secret, groups_claim] = [
            "openid.client_id",
            "openid.client_secret_file",
            "openid.groups_claim",
        ]
        .map(|key| self.parse(key, optional));
        let issuer = self.parse("openid.issuer", parse_issuer);
        let openid = OpenId {
            issuer: issuer.clone().unwrap_or_default(),
            client_id: client_id.clone().unwrap_or_default(),
            client_secret: secret.map(|path| self.data_dir.join(path)),
            scopes: self.list("openid.scopes", String::from_value),
            user_claim: self.read("openid.user_claim"),
            create_users: self.read("openid.create_users"),
            groups_claim,
            groups: self.list("openid.groups", parse_mapping),
            groups_max_age: self.read("openid.groups_max_age"),
        };
        match (issuer, client_id) {
            (None, None) => None,
            (Some(_), Some(_)) => Some(openid),
            _ => {
                let message =
                    "openid.issuer and openid.client_id belong together; set both or none";
                self.complain("openid.issuer", message);
                None
            }
        }
    }
}

fn optional(value: &Value) -> Result<Option<String>, String> {
    let text = String::from_value(value)?;
    Ok((text != "none").then_some(text))
}

/// A URL without query or fragment (OpenID Connect Discovery 1.0 section 3). Over plain HTTP anyone on
/// the way could sign in as anyone.
fn parse_issuer(value: &Value) -> Result<Option<String>, String> {
    let Some(text) = optional(value)? else {
        return Ok(None);
    };
    let fits = is_safe_url(&text) && !text.contains(['?', '#']);
    fits.then(|| Some(text.clone())).ok_or_else(|| {
        format!(
            "{text:?}: expected an https URL without query, such as \"https://login.example.com\"; \
             http on loopback only"
        )
    })
}

fn parse_mapping(value: &Value) -> Result<GroupMapping, String> {
    let text = String::from_value(value)?;
    let mapping = text.rsplit_once('=').and_then(|(theirs, ours)| {
        Some(GroupMapping {
            theirs: theirs.to_owned(),
            ours: GroupName::parse(ours).ok()?,
        })
    });
    mapping.ok_or_else(|| {
        format!("{text:?}: expected THEIRS=OURS, such as \"platform-operators=ops\"")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_issuer_is_a_url_that_nobody_on_the_way_can_change() {
        let parse = |text: &str| parse_issuer(&Value::Text(text.to_owned()));
        for good in [
            "https://login.example.com",
            "https://login.example.com/",
            "https://login.example.com:8443/realms/a",
            "http://127.0.0.1:9000",
            "http://localhost:9000/x",
        ] {
            assert_eq!(parse(good), Ok(Some(good.to_owned())));
        }
        assert_eq!(parse("none"), Ok(None));
        for bad in [
            "http://login.example.com",
            "https://",
            "login.example.com",
            "https://login.example.com?x",
            "ftp://login.example.com",
            "https://user@login.example.com",
        ] {
            assert!(parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_group_of_the_provider_may_have_any_name() {
        let parse = |text: &str| parse_mapping(&Value::Text(text.to_owned()));
        let mapping = parse("CN=Ops,DC=example=ops").unwrap();
        assert_eq!(
            (mapping.theirs.as_str(), mapping.ours.as_str()),
            ("CN=Ops,DC=example", "ops")
        );
        assert!(parse("ops").is_err() && parse("ops=").is_err() && parse("a=B C").is_err());
    }
}
