//! The variables. Which client reads which was found by running each client.

use std::ffi::{OsStr, OsString};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use zeroize::Zeroizing;

use super::inherited::Inherited;
use super::java;
use super::trust::TrustFiles;
use crate::app::reachable;
use crate::config::Config;

/// The proxy's URL. Ruby wants `HTTP_PROXY` for https too, wget and grpcio read lower case only,
/// aiohttp's WebSockets read `WSS_PROXY`.
const PROXY: &[&str] = &[
    "HTTP_PROXY",
    "http_proxy",
    "HTTPS_PROXY",
    "https_proxy",
    "ALL_PROXY",
    "all_proxy",
    "WS_PROXY",
    "ws_proxy",
    "WSS_PROXY",
    "wss_proxy",
];

/// The hosts that are reached without the proxy.
const DIRECT: &[&str] = &["NO_PROXY", "no_proxy"];

/// Variables of single clients that would override the general ones and lead past the proxy.
const BYPASSING: &[&str] = &[
    "npm_config_proxy",
    "npm_config_https_proxy",
    "npm_config_noproxy",
    "PIP_PROXY",
    "CARGO_HTTP_PROXY",
];

/// How the proxy is reached. Not `Debug`: it holds a token.
pub(in crate::cli) struct ProxyAccess {
    /// Where it listens.
    pub(in crate::cli) address: SocketAddr,
    /// The user name: what the requests are for.
    pub(in crate::cli) action: String,
    /// The client token. Of unreserved characters, since axios and httplib2 do not decode.
    pub(in crate::cli) token: Zeroizing<String>,
}

impl ProxyAccess {
    /// `http://ACTION:TOKEN@HOST:PORT`
    fn url(&self) -> String {
        // A colon would end the user name once the client has decoded it. The proxy decodes it
        // again, so colons and percent signs are encoded twice.
        let action = percent_encode(&self.action.replace('%', "%25").replace(':', "%3A"));
        let token = self.token.as_str();
        format!("http://{action}:{token}@{}", reachable(self.address))
    }
}

/// The hosts that a program reaches without the proxy: this machine, which the proxy would refuse
/// to connect to, unless `upstream.allow_private` says that it is to be reached through it; and
/// what the user adds.
pub(in crate::cli) fn direct(config: &Config, added: &[String]) -> Vec<String> {
    let local: [(&str, IpAddr); 3] = [
        ("localhost", Ipv4Addr::LOCALHOST.into()),
        ("127.0.0.1", Ipv4Addr::LOCALHOST.into()),
        ("::1", Ipv6Addr::LOCALHOST.into()),
    ];
    let proxied = |ip: &IpAddr| {
        config
            .upstream
            .allow_private
            .iter()
            .any(|range| range.contains(ip))
    };
    local
        .into_iter()
        .filter(|(_, ip)| !proxied(ip))
        .map(|(name, _)| name.to_owned())
        .chain(added.iter().cloned())
        .collect()
}

/// RFC 3986 section 2: everything but unreserved characters.
fn percent_encode(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            encoded.push(char::from(byte));
        } else {
            encoded.push_str(&format!("%{byte:02X}"));
        }
    }
    encoded
}

/// Changes to an environment.
pub(in crate::cli) struct Changes {
    /// Variables to set, in a stable order.
    pub(in crate::cli) set: Vec<(String, OsString)>,
    /// Inherited variables to remove.
    pub(in crate::cli) remove: Vec<String>,
}

/// What has to change in `inherited` for a program to use the proxy and trust it.
///
/// `direct` are the hosts that are reached without it. An inherited `NO_PROXY` is not kept: it was
/// written for another proxy, and a host in it would receive placeholders instead of values.
pub(in crate::cli) fn changes(
    access: &ProxyAccess,
    trust: &TrustFiles,
    direct: &[String],
    inherited: &Inherited,
) -> Changes {
    let mut set: Vec<(String, OsString)> = Vec::new();
    let mut put = |names: &[&str], value: &OsStr| {
        set.extend(
            names
                .iter()
                .map(|name| ((*name).to_owned(), value.to_owned())),
        );
    };
    put(PROXY, access.url().as_ref());
    put(DIRECT, direct.join(",").as_ref());
    // Node's own fetch reads the variables above only with this one.
    put(&["NODE_USE_ENV_PROXY"], "1".as_ref());
    for (name, path) in trust.variables() {
        put(&[name], path.as_os_str());
    }
    put(
        &[java::VARIABLE],
        &java::options(
            inherited.get(java::VARIABLE).map(OsString::as_os_str),
            reachable(access.address),
            direct,
            &trust.java,
        ),
    );
    set.extend(git(inherited));
    let remove = BYPASSING
        .iter()
        .filter(|name| inherited.contains_key(**name));
    Changes {
        set,
        remove: remove.map(|name| (*name).to_owned()).collect(),
    }
}

/// git sends credentials to a proxy only after a 407, and Basic credentials only when that method is
/// named. The setting is appended to those that the environment already has.
fn git(inherited: &Inherited) -> Vec<(String, OsString)> {
    const KEY: &str = "http.proxyAuthMethod";
    const VALUE: &str = "basic";
    let text = |name: &str| inherited.get(name).and_then(|value| value.to_str());
    let count: usize = text("GIT_CONFIG_COUNT")
        .and_then(|count| count.trim().parse().ok())
        .unwrap_or(0);
    let present = (0..count).any(|index| {
        text(&format!("GIT_CONFIG_KEY_{index}")) == Some(KEY)
            && text(&format!("GIT_CONFIG_VALUE_{index}")) == Some(VALUE)
    });
    if present {
        return Vec::new();
    }
    vec![
        (format!("GIT_CONFIG_KEY_{count}"), KEY.into()),
        (format!("GIT_CONFIG_VALUE_{count}"), VALUE.into()),
        (
            "GIT_CONFIG_COUNT".to_owned(),
            (count + 1).to_string().into(),
        ),
    ]
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    fn access() -> ProxyAccess {
        ProxyAccess {
            address: ([0, 0, 0, 0], 7070).into(),
            action: "weekly report/ü".to_owned(),
            token: Zeroizing::new("egc_abc-_~.".to_owned()),
        }
    }

    fn trust() -> TrustFiles {
        TrustFiles {
            alone: "/d/ca.pem".into(),
            bundle: "/d/ca-bundle.pem".into(),
            java: "/d/ca-bundle.jks".into(),
        }
    }

    fn inherit(variables: &[(&str, &str)]) -> Inherited {
        variables
            .iter()
            .map(|(name, value)| ((*name).to_owned(), OsString::from(value)))
            .collect()
    }

    fn set(changes: &Changes) -> BTreeMap<&str, &str> {
        changes
            .set
            .iter()
            .map(|(name, value)| (name.as_str(), value.to_str().expect("text")))
            .collect()
    }

    #[test]
    fn the_proxy_url_names_the_action_and_a_place_to_connect_to() {
        let changes = changes(&access(), &trust(), &[], &Inherited::new());
        let url = "http://weekly%20report%2F%C3%BC:egc_abc-_~.@127.0.0.1:7070";
        let set = set(&changes);
        for name in [
            "HTTP_PROXY",
            "http_proxy",
            "https_proxy",
            "ALL_PROXY",
            "WSS_PROXY",
        ] {
            assert_eq!(set.get(name), Some(&url), "{name}");
        }
        assert_eq!(set["NODE_USE_ENV_PROXY"], "1");
    }

    #[test]
    fn an_action_with_a_colon_survives_two_decodings() {
        let mut access = access();
        access.action = "a:b%".to_owned();
        assert!(
            access.url().starts_with("http://a%253Ab%2525:egc_"),
            "{}",
            access.url()
        );
    }

    #[test]
    fn variables_that_add_get_the_authority_alone_and_those_that_replace_get_all() {
        let changes = changes(&access(), &trust(), &[], &Inherited::new());
        let set = set(&changes);
        for name in ["NODE_EXTRA_CA_CERTS", "DENO_CERT"] {
            assert_eq!(set[name], "/d/ca.pem", "{name}");
        }
        for name in [
            "SSL_CERT_FILE",
            "CURL_CA_BUNDLE",
            "REQUESTS_CA_BUNDLE",
            "PIP_CERT",
        ] {
            assert_eq!(set[name], "/d/ca-bundle.pem", "{name}");
        }
    }

    #[test]
    fn no_variable_is_set_twice() {
        let changes = changes(&access(), &trust(), &[], &Inherited::new());
        assert_eq!(set(&changes).len(), changes.set.len());
    }

    #[test]
    fn an_inherited_exception_does_not_lead_past_the_proxy() {
        let inherited = inherit(&[("NO_PROXY", "api.github.com"), ("npm_config_proxy", "x")]);
        let direct = ["localhost".to_owned(), "::1".to_owned()];
        let changes = changes(&access(), &trust(), &direct, &inherited);
        assert_eq!(set(&changes)["NO_PROXY"], "localhost,::1");
        assert_eq!(set(&changes)["no_proxy"], "localhost,::1");
        assert_eq!(changes.remove, ["npm_config_proxy"]);
    }

    #[test]
    fn gits_setting_is_appended_once() {
        let first = inherit(&[
            ("GIT_CONFIG_COUNT", "1"),
            ("GIT_CONFIG_KEY_0", "user.name"),
            ("GIT_CONFIG_VALUE_0", "Alice"),
        ]);
        let changes = git(&first);
        assert_eq!(
            changes,
            [
                ("GIT_CONFIG_KEY_1".to_owned(), "http.proxyAuthMethod".into()),
                ("GIT_CONFIG_VALUE_1".to_owned(), "basic".into()),
                ("GIT_CONFIG_COUNT".to_owned(), "2".into()),
            ]
        );
        let second: Inherited = first.into_iter().chain(changes).collect();
        assert_eq!(git(&second), []);
    }
}
