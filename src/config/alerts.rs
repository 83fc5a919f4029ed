//! Where alerts go, and which lines of the ledger are alerts: `[alerts]`.

use std::path::PathBuf;

use http::Uri;

use super::key::nearest;
use super::raw::Value;
use super::resolve::{Resolver, unless};
use super::units::FromValue;
use crate::ledger::event;
use crate::vault::store::Event;

/// Stands for `use` lines of which something is new, among events.
pub const FIRST_USE: &str = "first_use";

/// `[alerts]`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Alerts {
    /// The webhook, if there is one.
    pub url: Option<Uri>,
    /// The file with the secret that signs them.
    pub secret: Option<PathBuf>,
    /// The events of ledger lines that are sent.
    pub events: Vec<String>,
}

/// Every event of the ledger: of requests, then administrative ones.
pub fn event_names() -> impl Iterator<Item = &'static str> {
    let administrative = Event::ALL.iter().map(|event| event.as_str());
    event::ALL.iter().copied().chain(administrative)
}

impl Resolver<'_> {
    pub(super) fn alerts(&mut self) -> Alerts {
        let data_dir = self.data_dir;
        let secret = self.parse("alerts.secret", |value| unless::<String>("none", value));
        Alerts {
            url: self.parse("alerts.url", parse_webhook),
            secret: secret.map(|path| data_dir.join(path)),
            events: self.list("alerts.events", parse_event),
        }
    }
}

pub(super) fn parse_webhook(value: &Value) -> Result<Option<Uri>, String> {
    let Some(text) = unless::<String>("none", value)? else {
        return Ok(None);
    };
    let url: Option<Uri> = text.parse().ok();
    let is_complete = |url: &Uri| {
        let is_http = matches!(url.scheme_str(), Some("https" | "http"));
        is_http && url.host().is_some_and(|host| !host.is_empty())
    };
    // Not repeated: such addresses often have a token in them.
    let url = url.filter(is_complete);
    url.map(Some).ok_or_else(|| {
        "expected an address such as \"https://alerts.example.com/egret\"".to_owned()
    })
}

/// A misspelt name would be an alert that never comes.
fn parse_event(value: &Value) -> Result<String, String> {
    let text = String::from_value(value)?;
    let names = || event_names().chain([FIRST_USE]);
    if names().any(|name| name == text) {
        return Ok(text);
    }
    Err(match nearest(&text, names()) {
        Some(name) => format!("there is no event {text:?}, did you mean {name:?}?"),
        None => format!("there is no event {text:?}; `egret ledger tail --event '?'` lists them"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_that_no_line_has_is_refused() {
        let read = |text: &str| parse_event(&Value::Text(text.to_owned()));
        for name in event_names().chain([FIRST_USE]) {
            assert_eq!(read(name).as_deref(), Ok(name));
        }
        let misspelt = read("credential.create").unwrap_err();
        assert!(
            misspelt.contains("did you mean \"credential.created\"?"),
            "{misspelt}"
        );
        for text in ["", "credential", "zzz", "USE"] {
            assert!(read(text).unwrap_err().contains("no event"), "{text}");
        }
    }
}
