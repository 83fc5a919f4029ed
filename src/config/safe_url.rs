//! URLs of what is trusted.

use crate::policy::destination::{Destination, Scheme};

/// Whether nobody on the way can change what is fetched from there: https, or http on this machine.
pub(super) fn is_safe_url(text: &str) -> bool {
    let Some((scheme, rest)) = text.split_once("://") else {
        return false;
    };
    let scheme = match scheme {
        "https" => Scheme::Https,
        "http" => Scheme::Http,
        _ => return false,
    };
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    let Ok(destination) = Destination::from_authority(scheme, authority) else {
        return false;
    };
    let host = destination.host;
    let is_local = host.to_string() == "localhost"
        || host.as_ip().is_some_and(|address| address.is_loopback());
    scheme == Scheme::Https || is_local
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_http_is_for_this_machine() {
        for good in [
            "https://a.example",
            "https://a.example:8443/x?y",
            "http://localhost/x",
            "http://[::1]:1",
        ] {
            assert!(is_safe_url(good), "{good}");
        }
        for bad in [
            "http://a.example",
            "https://",
            "a",
            "file:///x",
            "https://u@a",
        ] {
            assert!(!is_safe_url(bad), "{bad}");
        }
    }
}
