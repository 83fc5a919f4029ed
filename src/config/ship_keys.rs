//! The keys about where the ledger is sent to.

use http::Uri;

use super::resolve::Resolver;
use super::safe_url::is_safe_url;
use super::ship::{ShipForm, ShipTarget};
use super::units::choice;

const URL: &str = "ledger.ship_url";
const FORM: &str = "ledger.ship_form";
/// The scheme of syslog over TLS.
const SYSLOG: &str = "syslog+tls";

impl Resolver<'_> {
    pub(super) fn ship(&mut self) -> Option<ShipTarget> {
        let text: String = self.read(URL);
        let forms = [("jsonl", ShipForm::Jsonl), ("ocsf", ShipForm::Ocsf)];
        let form = self.parse(FORM, |value| choice(value, &forms));
        let token: String = self.read("ledger.ship_token");
        let token = (token != "none").then(|| self.data_dir.join(token));
        if text == "none" {
            return None;
        }
        let url: Option<Uri> = text.parse().ok();
        let is_syslog = |url: &Uri| url.scheme_str() == Some(SYSLOG);
        let is_whole = |url: &Uri| url.host().is_some_and(|host| !host.is_empty());
        let url = url.filter(|url| is_whole(url) && (is_syslog(url) || is_safe_url(&text)));
        let Some(url) = url else {
            // Not repeated: such addresses often have a token in them.
            let message = "expected https://HOST/PATH (http on loopback only), syslog+tls://HOST:PORT, \
                           or \"none\"";
            self.complain(URL, message);
            return None;
        };
        let form = if is_syslog(&url) {
            ShipForm::Syslog
        } else {
            form
        };
        Some(ShipTarget { url, form, token })
    }
}
