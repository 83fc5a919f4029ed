//! The keys about the parent proxy.

use super::parent_proxy::{Exception, ParentProxy, parse_credential, parse_url};
use super::resolve::Resolver;
use super::units::FromValue as _;
use crate::vault::Principal;

const PROXY: &str = "upstream.proxy";
const CREDENTIAL: &str = "upstream.proxy_credential";
const EXCEPTIONS: &str = "upstream.no_proxy";

impl Resolver<'_> {
    /// The parent proxy, if one is set. `principal` owns the credential where no other is named.
    pub(super) fn parent_proxy(&mut self, principal: &Principal) -> Option<ParentProxy> {
        let text: String = self.read(PROXY);
        let credential: String = self.read(CREDENTIAL);
        let exceptions = self.list(EXCEPTIONS, |value| {
            let text = String::from_value(value)?;
            Exception::parse(&text).ok_or_else(|| {
                format!(
                    "{text:?}: expected a name, such as \"intranet.example.com\" or \
                     \"*.example.com\", or a network, such as \"10.0.0.0/8\""
                )
            })
        });
        if text == "none" {
            for (key, is_set) in [
                (CREDENTIAL, credential != "none"),
                (EXCEPTIONS, !exceptions.is_empty()),
            ] {
                if is_set {
                    self.complain(
                        key,
                        "set upstream.proxy as well: it says which proxy is meant",
                    );
                }
            }
            return None;
        }
        let (protocol, place) = match parse_url(&text) {
            Ok(parsed) => parsed,
            Err(message) => {
                self.complain(PROXY, message);
                return None;
            }
        };
        let credential = match parse_credential(&credential, principal) {
            Ok(credential) => credential,
            Err(message) => {
                self.complain(CREDENTIAL, &message);
                None
            }
        };
        Some(ParentProxy {
            protocol,
            place,
            credential,
            exceptions,
        })
    }
}
