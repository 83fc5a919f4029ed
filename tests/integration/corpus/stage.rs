//! Worlds for cases: the upstreams, names and credentials that a case requires.

use crate::pki::Flaw;
use crate::upstream::Stub;
use crate::world::World;

use super::Mode;
use super::case::{Case, Credential, Forms, Via};

/// Names that resolve to the good upstream.
const GOOD: &[&str] = &[
    "api.example.test",
    "example.test",
    "a.example.test",
    "a.b.example.test",
];
/// A name that resolves to an upstream which must never receive a byte.
const EVIL: &str = "evil.example.test";

/// A world, its upstreams and its stored credentials.
pub struct Set {
    pub world: World,
    pub https: Stub,
    pub http: Stub,
    pub evil: Stub,
    pub mode: Mode,
    /// The credentials stored at the moment.
    stored: Vec<Credential>,
    /// Every credential ever stored.
    ever: Vec<Credential>,
    setting: Setting,
}

/// The set-up that a case requires.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Setting {
    /// Names resolve to upstreams that work.
    Usual,
    /// The same, and the upstreams prefer HTTP/2.
    Http2,
    /// The upstream's certificate is not valid.
    BadCertificate(Flaw),
    /// A name resolves to a public address and then to a loopback address.
    Rebinding,
}

/// The worlds of a group, one for each setting.
pub struct Stage {
    mode: Mode,
    sets: Vec<Set>,
}

fn setting(case: &Case) -> Setting {
    match (case.upstream.as_deref(), &case.dns) {
        (None, None) if case.via == Via::ConnectTlsH2 => Setting::Http2,
        (None, None) => Setting::Usual,
        (Some("self-signed"), None) => Setting::BadCertificate(Flaw::SelfSigned),
        (Some("bad-certificate"), None) => Setting::BadCertificate(Flaw::WrongName),
        (None, Some(dns)) => {
            let answers: Vec<&str> = dns["api.example.test"].iter().map(String::as_str).collect();
            assert_eq!(
                answers,
                ["203.0.113.7", "then", "127.0.0.1"],
                "an unknown DNS set-up"
            );
            Setting::Rebinding
        }
        other => panic!("{}: an unknown set-up {other:?}", case.name),
    }
}

impl Stage {
    /// A stage without worlds.
    pub fn new(mode: Mode) -> Self {
        let sets = Vec::new();
        Self { mode, sets }
    }

    /// The world in which a case plays, with exactly the case's credentials in it.
    pub async fn world_for(&mut self, case: &Case) -> &mut Set {
        let setting = setting(case);
        let at = match self.sets.iter().position(|set| set.setting == setting) {
            Some(at) => at,
            None => {
                self.sets.push(Set::new(setting, self.mode).await);
                self.sets.len() - 1
            }
        };
        let set = &mut self.sets[at];
        set.store(case).await;
        set
    }

    /// Files of the data directories, and logs, that hold a value that was ever stored.
    pub fn leaks(&self, forms: &Forms) -> Vec<String> {
        let mut found = Vec::new();
        for set in &self.sets {
            for credential in &set.ever {
                let forms = forms.of(credential);
                found.extend(crate::leak::in_tree(&set.world.data, &forms));
                if let Some(form) = crate::leak::find(&set.world.log_bytes(), &forms) {
                    found.push(format!("the log as {form} ({})", credential.slug));
                }
            }
        }
        found
    }
}

impl Set {
    async fn new(setting: Setting, mode: Mode) -> Self {
        let builder = match mode.is_streamed() {
            true => World::builder()
                .set("body.buffer", "1B")
                .set("body.spool", "0B"),
            false => World::builder(),
        };
        let flaw = match setting {
            Setting::BadCertificate(flaw) => flaw,
            _ => Flaw::None,
        };
        let https = match setting {
            Setting::Http2 => Stub::tls_alpn(builder.pki(), GOOD, &["h2", "http/1.1"]).await,
            _ => Stub::tls_with(builder.pki(), GOOD, flaw).await,
        };
        let evil = Stub::tls(builder.pki(), &[EVIL]).await;
        let http = Stub::plain().await;
        let mut builder = builder;
        if setting == Setting::Rebinding {
            // Both addresses at once: whichever the proxy uses, it must have checked that one.
            builder = builder
                .route(
                    "api.example.test:443",
                    "203.0.113.7:443".parse().expect("an address"),
                )
                .route("api.example.test:443", https.addr)
                .set("upstream.allow_private", toml::Value::Array(Vec::new()))
                .set("upstream.connect_timeout", "1s");
        } else {
            for name in GOOD {
                builder = builder
                    .route(&format!("{name}:443"), https.addr)
                    .route(&format!("{name}:80"), http.addr);
            }
        }
        let world = builder
            .route(&format!("{EVIL}:443"), evil.addr)
            .route(&format!("{EVIL}:80"), evil.addr)
            .start()
            .await;
        Self {
            world,
            https,
            http,
            evil,
            mode,
            stored: Vec::new(),
            ever: Vec::new(),
            setting,
        }
    }

    /// Stores exactly the credentials of the case.
    async fn store(&mut self, case: &Case) {
        let wanted: Vec<Credential> = case.stored().cloned().collect();
        for old in std::mem::take(&mut self.stored) {
            if wanted.contains(&old) {
                self.stored.push(old);
            } else {
                self.world
                    .run(&["credential", "delete", &old.slug])
                    .await
                    .ok();
            }
        }
        for new in wanted {
            if !self.stored.contains(&new) {
                save(&self.world, &new).await;
                if !self.ever.contains(&new) {
                    self.ever.push(new.clone());
                }
                self.stored.push(new);
            }
        }
    }
}

/// Saves a credential of the corpus by the command that a user would type.
async fn save(world: &World, credential: &Credential) {
    let mut args: Vec<String> = Vec::new();
    let mut flag = |name: &str, value: &str| args.extend([name.to_owned(), value.to_owned()]);
    for host in hosts(credential) {
        flag("--host", &host);
    }
    for location in &credential.locations {
        if location == "header" && !credential.header_names.is_empty() {
            continue;
        }
        flag("--in", location);
        if location == "header" {
            // In the cases `header` includes the Cookie header; for the command it does not.
            flag("--in", "header:cookie");
        }
    }
    for name in &credential.header_names {
        flag("--in", &format!("header:{}", name.to_ascii_lowercase()));
    }
    for method in &credential.methods {
        flag("--method", method);
    }
    for prefix in &credential.path_prefixes {
        flag("--path", prefix);
    }
    for action in credential.actions.iter().filter(|a| *a != "*") {
        flag("--action", action);
    }
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    world
        .save(&credential.slug, credential.value(), &args)
        .await;
    match credential.state.as_str() {
        "active" => {}
        "revoked" => {
            world
                .run(&["credential", "revoke", &credential.slug])
                .await
                .ok();
        }
        other => panic!("an unknown state {other}"),
    }
}

/// Host patterns for every combination of scheme, host and port.
fn hosts(credential: &Credential) -> Vec<String> {
    let mut patterns = Vec::new();
    for host in &credential.allowed_hosts {
        for scheme in &credential.schemes {
            for port in &credential.allowed_ports {
                patterns.push(match (scheme.as_str(), port) {
                    ("https", 443) => host.clone(),
                    ("http", 80) => format!("http://{host}"),
                    _ => format!("{scheme}://{host}:{port}"),
                });
            }
        }
    }
    patterns
}
