//! How a program reaches the proxy, and the URL that says so.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};

use zeroize::Zeroizing;

/// How the proxy is reached.
pub struct ProxyAccess {
    /// The name or the address to connect to.
    pub(super) host: String,
    /// The port.
    pub(super) port: u16,
    /// What is shown there; nothing, where the listener vouches for its clients.
    pub login: Option<Login>,
}

/// What a client shows to the proxy. Not `Debug`: it holds a token.
pub struct Login {
    /// The user name: what the requests are for.
    pub action: String,
    /// The client token. Of unreserved characters, since axios and httplib2 do not decode.
    pub token: Zeroizing<String>,
}

/// The address to connect to for one that is listened on: a wildcard address cannot be dialled.
pub fn reachable(address: SocketAddr) -> SocketAddr {
    match address {
        SocketAddr::V4(v4) if v4.ip().is_unspecified() => (Ipv4Addr::LOCALHOST, v4.port()).into(),
        SocketAddr::V6(v6) if v6.ip().is_unspecified() => (Ipv6Addr::LOCALHOST, v6.port()).into(),
        other => other,
    }
}

impl ProxyAccess {
    /// At an address that is listened on.
    pub fn at(address: SocketAddr, login: Option<Login>) -> Self {
        let address = reachable(address);
        Self {
            host: address.ip().to_string(),
            port: address.port(),
            login,
        }
    }

    /// At a name, as the client knows it.
    pub fn named(host: String, port: u16, login: Option<Login>) -> Self {
        Self { host, port, login }
    }

    /// Name and port, as a URL has them.
    pub fn authority(&self) -> String {
        let Self { host, port, .. } = self;
        if host.contains(':') {
            format!("[{host}]:{port}")
        } else {
            format!("{host}:{port}")
        }
    }

    /// `http://ACTION:TOKEN@HOST:PORT`, or without user name and password.
    pub fn url(&self) -> String {
        let address = self.authority();
        let Some(login) = &self.login else {
            return format!("http://{address}");
        };
        // A colon would end the user name once the client has decoded it. The proxy decodes it
        // again, so colons and percent signs are encoded twice.
        let action = login.action.replace('%', "%25").replace(':', "%3A");
        let action = percent_encode(action.as_bytes());
        format!("http://{action}:{}@{address}", login.token.as_str())
    }
}

/// RFC 3986 section 2: everything but unreserved characters.
pub fn percent_encode(text: &[u8]) -> String {
    let mut encoded = String::with_capacity(text.len());
    for &byte in text {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            encoded.push(char::from(byte));
        } else {
            encoded.push_str(&format!("%{byte:02X}"));
        }
    }
    encoded
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_action_with_a_colon_survives_two_decodings() {
        let login = Login {
            action: "a:b%".to_owned(),
            token: Zeroizing::new("egc_abc".to_owned()),
        };
        let url = ProxyAccess::at(([127, 0, 0, 1], 7070).into(), Some(login)).url();
        assert!(url.starts_with("http://a%253Ab%2525:egc_"), "{url}");
        for (address, url) in [
            ("[::]:7070", "http://[::1]:7070"),
            ("0.0.0.0:7070", "http://127.0.0.1:7070"),
        ] {
            let address = address.parse().expect("an address");
            assert_eq!(ProxyAccess::at(address, None).url(), url);
        }
    }
}
