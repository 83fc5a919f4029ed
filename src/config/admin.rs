//! Reads `[admin]`.

use std::time::Duration;

use super::admin_url::AdminUrl;
use super::model::Admin;
use super::raw::Value;
use super::resolve::Resolver;
use super::units::FromValue;
use crate::policy::destination::Host;

impl Admin {
    /// Where people open the page, as far as the configuration says: a port that is picked by the system
    /// is not known here.
    pub fn page_url(&self) -> Option<AdminUrl> {
        let port = self.listen.port();
        let local = || (port != 0).then(|| AdminUrl::local(port));
        self.url.clone().or_else(local)
    }
}

impl Resolver<'_> {
    pub(super) fn admin(&mut self) -> Admin {
        Admin {
            listen: self.read("admin.listen"),
            url: self.parse("admin.url", parse_url),
            names: self.list("admin.names", parse_name),
            trusted_proxies: self.list("admin.trusted_proxies", FromValue::from_value),
            session_lifetime: self.session_time("admin.session_lifetime"),
            session_idle: self.session_time("admin.session_idle"),
        }
    }

    fn session_time(&mut self, name: &'static str) -> Duration {
        let time: Duration = self.read(name);
        if time < Duration::from_secs(60) {
            self.complain(name, "must be at least a minute");
        }
        time
    }
}

fn parse_url(value: &Value) -> Result<Option<AdminUrl>, String> {
    let text = String::from_value(value)?;
    if text == "auto" {
        return Ok(None);
    }
    AdminUrl::parse(&text).map(Some).ok_or_else(|| {
        format!(
            "{text:?}: expected a scheme, a name and a port, such as \"https://egret.example.com\" \
             or \"http://localhost:7071\", or \"auto\""
        )
    })
}

fn parse_name(value: &Value) -> Result<Host, String> {
    let text = String::from_value(value)?;
    Host::parse(&text).map_err(|error| format!("{text:?}: {error}"))
}
