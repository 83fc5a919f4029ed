//! Reads `[alerts]`.

use super::alerts::{Alerts, FIRST_USE, event_names};
use super::key::nearest;
use super::raw::Value;
use super::resolve::{Resolver, parse_webhook, unless};
use super::units::FromValue;

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
        for text in ["credential", "zzz", "USE"] {
            let refusal = read(text).unwrap_err();
            assert!(refusal.contains("no event"), "{text}: {refusal}");
        }
        assert!(read("").is_err());
    }
}
