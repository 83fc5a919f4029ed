//! A host of a service, which may have a blank.

use std::fmt;

use serde::Deserialize;

use crate::policy::grant::HostPattern;

/// A host, such as `api.github.com`, or one with a blank, such as `{shop}.myshopify.com`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct ServiceHost {
    text: String,
    pattern: Option<HostPattern>,
}

impl ServiceHost {
    /// The host, unless it has a blank.
    pub fn pattern(&self) -> Option<HostPattern> {
        self.pattern.clone()
    }

    /// Whether `host` is this one, with something in its blank.
    pub fn covers(&self, host: &HostPattern) -> bool {
        match (&self.pattern, self.text.split_once('}')) {
            (Some(pattern), _) => pattern == host,
            (None, Some((_, rest))) => host.to_string().ends_with(rest),
            (None, None) => false,
        }
    }
}

impl TryFrom<String> for ServiceHost {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let pattern = if text.contains('{') {
            None
        } else {
            Some(
                text.parse::<HostPattern>()
                    .map_err(|error| format!("{text}: {error}"))?,
            )
        };
        Ok(Self { text, pattern })
    }
}

impl fmt::Display for ServiceHost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}
