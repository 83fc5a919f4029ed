//! The variables, for the clients of `certs/clients.toml`.

use std::ffi::OsString;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::clients::{self, Content, Variable};
use super::inherited::Inherited;
use super::proxy_access::ProxyAccess;
use super::trust::TrustFiles;
use super::{java, php, settings};
use crate::config::Config;

/// The hosts that a program reaches without the proxy: this machine, which the proxy would refuse
/// to connect to, unless `upstream.allow_private` says that it is to be reached through it; and
/// what the user adds.
pub fn direct(config: &Config, added: &[String]) -> Vec<String> {
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

/// Changes to an environment.
pub struct Changes {
    /// Variables to set, in a stable order.
    pub set: Vec<(String, OsString)>,
    /// Inherited variables to remove.
    pub remove: Vec<String>,
}

/// What has to change in `inherited` for a program to use the proxy and trust it.
///
/// `direct` are the hosts that are reached without it. An inherited `NO_PROXY` is not kept: it was
/// written for another proxy, and a host in it would receive placeholders instead of values.
pub fn changes(
    access: &ProxyAccess,
    trust: &TrustFiles,
    direct: &[String],
    inherited: &Inherited,
) -> Changes {
    let value = |variable: &Variable| -> Option<OsString> {
        let existing = inherited.get(&variable.name).map(OsString::as_os_str);
        Some(match variable.is {
            Content::Proxy => access.url().into(),
            Content::Direct => direct.join(",").into(),
            Content::Authority => trust.alone.clone().into(),
            Content::Bundle => trust.bundle.clone().into(),
            Content::Java => java::options(existing, access, direct, &trust.java),
            Content::Php => php::scanned(existing, &trust.php),
            Content::Mercurial => settings::mercurial_path(inherited, &trust.mercurial),
            Content::Apt => trust.apt.clone().into(),
            Content::Wget => return settings::wget_file(inherited, &trust.wget),
            Content::On => "1".into(),
        })
    };
    let variables = clients::clients().variable.iter();
    let mut set: Vec<(String, OsString)> = variables
        .filter_map(|variable| Some((variable.name.clone(), value(variable)?)))
        .collect();
    if access.login.is_some() {
        set.extend(git(inherited));
    }
    let mut remove = Vec::new();
    for aside in &clients::clients().set_aside {
        let Some(existing) = inherited.get(&aside.name) else {
            continue;
        };
        let rest = aside.options.then(|| java::without_ours(existing));
        match rest {
            Some(rest) if !rest.is_empty() => set.push((aside.name.clone(), rest)),
            _ => remove.push(aside.name.clone()),
        }
    }
    Changes { set, remove }
}

/// The variables that name the certificates in a directory, without a proxy: for whoever reaches one
/// otherwise. Java and apt are led to the proxy by the same variable, and are left out.
pub fn trusting(trust: &TrustFiles) -> Vec<(&'static str, OsString)> {
    let named = |variable: &'static Variable| {
        let value: OsString = match variable.is {
            Content::Authority => trust.alone.clone().into(),
            Content::Bundle => trust.bundle.clone().into(),
            Content::Php => php::scanned(None, &trust.php),
            Content::Mercurial => settings::mercurial_path(&Inherited::new(), &trust.mercurial),
            Content::Wget => settings::wget_file(&Inherited::new(), &trust.wget)?,
            Content::Proxy | Content::Direct | Content::Java | Content::Apt | Content::On => {
                return None;
            }
        };
        Some((variable.name.as_str(), value))
    };
    clients::clients()
        .variable
        .iter()
        .filter_map(named)
        .collect()
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

    use zeroize::Zeroizing;

    use super::*;
    use crate::environment::proxy_access::Login;

    fn access() -> ProxyAccess {
        let login = Login {
            action: "weekly report/ü".to_owned(),
            token: Zeroizing::new("egc_abc-_~.".to_owned()),
        };
        ProxyAccess::at(([0, 0, 0, 0], 7070).into(), Some(login))
    }

    fn trust() -> TrustFiles {
        TrustFiles {
            alone: "/d/ca.pem".into(),
            bundle: "/d/ca-bundle.pem".into(),
            java: "/d/ca-bundle.jks".into(),
            php: "/d/php".into(),
            mercurial: "/d/ca-bundle.hgrc".into(),
            apt: "/d/ca-bundle.apt.conf".into(),
            wget: "/d/ca-bundle.wgetrc".into(),
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
    fn options_for_a_jvm_that_would_win_are_dropped_and_others_are_kept() {
        let inherited = inherit(&[
            (
                "MAVEN_OPTS",
                "-Xmx1g -Dhttps.proxyHost=corp -Dhttps.proxyUser=me",
            ),
            ("_JAVA_OPTIONS", "-Djavax.net.ssl.trustStore=/corp.jks"),
        ]);
        let changes = changes(&access(), &trust(), &[], &inherited);
        assert_eq!(set(&changes)["MAVEN_OPTS"], "-Xmx1g");
        assert_eq!(changes.remove, ["_JAVA_OPTIONS"]);
    }

    #[test]
    fn without_a_login_no_variable_holds_one() {
        let access = ProxyAccess {
            login: None,
            ..access()
        };
        let changes = changes(&access, &trust(), &[], &Inherited::new());
        let set = set(&changes);
        assert_eq!(set["HTTPS_PROXY"], "http://127.0.0.1:7070");
        let is_secret = |text: &str| text.contains("egc_") || text.contains('@');
        assert!(
            set.iter()
                .all(|(name, text)| !is_secret(text) && !name.starts_with("GIT_CONFIG"))
        );
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
