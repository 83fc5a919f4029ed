//! Decides who is asking.

use std::sync::Arc;

use crate::error::{Code, Refusal};
use crate::substitution::slug::Slug;
use crate::vault::cache::Vault;
use crate::vault::model::Client;
use crate::vault::name::Principal;

use super::action_token::ActionClaims;
use super::label::Label;
use super::presented::{Presented, Proof};

/// Where the name of an action comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ActionSource {
    /// The client's word.
    Asserted,
    /// A signed action token.
    Signed,
}

impl ActionSource {
    /// The name used in the ledger.
    pub fn as_str(self) -> &'static str {
        match self {
            ActionSource::Asserted => "asserted",
            ActionSource::Signed => "signed",
        }
    }
}

/// Who is asking, and for what.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Caller {
    /// Name of the client.
    pub client: Arc<str>,
    /// Whose credentials may be used.
    pub principal: Principal,
    /// What the request is for.
    pub action: Arc<str>,
    /// Whether the action is the client's word or a signed one.
    pub action_source: ActionSource,
    /// Which execution of the action.
    pub run: Option<Arc<str>>,
    /// The only slugs an action token may use; `None` is no limit.
    pub slugs: Option<Arc<[Slug]>>,
    /// When all of this stops to be true, unix seconds.
    pub expires: Option<i64>,
}

/// Decides who is asking.
#[derive(Clone, Debug)]
pub struct Identity {
    vault: Arc<Vault>,
    require_auth: bool,
    anonymous: Principal,
}

impl Identity {
    /// Without `require_auth`, a request without a token acts for `anonymous`. A request with a bad
    /// token is refused in both cases: its client meant to authenticate.
    pub fn new(vault: Arc<Vault>, require_auth: bool, anonymous: Principal) -> Self {
        Self {
            vault,
            require_auth,
            anonymous,
        }
    }

    /// Reads a `Proxy-Authorization` header; `None` without one. The token is hashed or verified
    /// here and not kept.
    pub fn present(&self, proxy_authorization: Option<&[u8]>) -> Option<Presented> {
        proxy_authorization.map(|value| Presented::parse(value, self.vault.token_key()))
    }

    /// Who is asking at `now` (unix seconds). `action` and `run` are the `Egret-Action` and
    /// `Egret-Run` headers of this request.
    ///
    /// The action is the first of these: that of an action token, `Egret-Action`, the user name,
    /// the client's name. With an action token the run is that of the token, too: otherwise the
    /// ledger would show a run that the client chose as `signed`.
    pub fn caller(
        &self,
        presented: Option<&Presented>,
        action: Option<&[u8]>,
        run: Option<&[u8]>,
        now: i64,
    ) -> Result<Caller, Refusal> {
        let proof = presented.map_or(&Proof::Absent, |presented| &presented.proof);
        let (client, principal, expires) = match proof {
            Proof::Action(claims) => return self.signed(claims, now),
            Proof::Client(hash) => {
                let client = self
                    .vault
                    .client_by_token(hash, now)
                    .ok_or_else(bad_token)?;
                (
                    client.name.shared(),
                    client.principal.clone(),
                    client.expires,
                )
            }
            Proof::Absent if !self.require_auth => {
                ("anonymous".into(), self.anonymous.clone(), None)
            }
            Proof::Absent => return Err(no_token()),
            Proof::Invalid => return Err(bad_token()),
        };
        let user = presented.and_then(|presented| presented.user.as_ref());
        let action = match (action.map(Label::read), user) {
            (Some(action), _) => action.known("The action (Egret-Action)")?,
            (None, Some(user)) => user.clone().known("The action (the proxy user name)")?,
            (None, None) => Arc::clone(&client),
        };
        let run = run.map(|text| Label::read(text).known("Egret-Run"));
        let run = run.transpose()?;
        let action_source = ActionSource::Asserted;
        Ok(Caller {
            client,
            principal,
            action,
            action_source,
            run,
            slugs: None,
            expires,
        })
    }

    fn signed(&self, claims: &ActionClaims, now: i64) -> Result<Caller, Refusal> {
        let client = self.vault.client(&claims.client, now);
        let same = |client: &Arc<Client>| {
            client.enrolment == claims.enrolment && client.principal == claims.principal
        };
        match client.filter(same) {
            Some(client) if now < claims.expires => Ok(Caller {
                client: client.name.shared(),
                principal: client.principal.clone(),
                action: claims.action.clone(),
                action_source: ActionSource::Signed,
                run: claims.run.clone(),
                slugs: claims.slugs.clone(),
                expires: Some(
                    client
                        .expires
                        .map_or(claims.expires, |at| at.min(claims.expires)),
                ),
            }),
            _ => Err(bad_token()),
        }
    }
}

fn no_token() -> Refusal {
    Refusal::new(
        Code::ProxyAuthRequired,
        "Send a client token as the proxy password: HTTPS_PROXY=http://ACTION:TOKEN@HOST:PORT. \
         `egret client add NAME` makes one; `egret run -- COMMAND` sets everything up by itself.",
    )
}

/// One answer for unknown, removed and expired tokens, so that no one can probe for them.
fn bad_token() -> Refusal {
    Refusal::new(
        Code::ProxyAuthRequired,
        "The token is not known here, or no longer. `egret client list` shows the clients, \
         `egret client add NAME` makes a new token.",
    )
}

#[cfg(test)]
mod tests {
    use base64::Engine;
    use base64::engine::general_purpose::STANDARD;

    use super::*;
    use crate::identity::{ClientToken, MAX_LABEL, mint_action_token};
    use crate::vault::fixture::{Fixture, NOW, actor, keyring, principal, slug};
    use crate::vault::{ClientName, Registrar};

    struct World {
        identity: Identity,
        command: Registrar,
        /// Removes the data directory when the test ends.
        _fixture: Fixture,
    }

    impl World {
        async fn new(require_auth: bool) -> Self {
            let fixture = Fixture::new();
            let vault = Arc::new(fixture.vault().await);
            let command = fixture.registrar().await;
            let identity = Identity::new(vault, require_auth, principal("local"));
            Self {
                identity,
                command,
                _fixture: fixture,
            }
        }

        async fn add_client(&self, expires: Option<i64>) -> (Client, ClientToken) {
            let token = ClientToken::generate().unwrap();
            let (name, alice) = (ClientName::parse("laptop").unwrap(), principal("alice"));
            let store = self.command.store();
            let client = store
                .add_client(&actor(), &name, &alice, &token.hash(), expires)
                .await;
            self.identity.vault.refresh().await.unwrap();
            (client.unwrap(), token)
        }

        async fn remove_client(&self) {
            let name = ClientName::parse("laptop").unwrap();
            self.command
                .store()
                .remove_client(&actor(), &name)
                .await
                .unwrap();
            self.identity.vault.refresh().await.unwrap();
        }

        fn basic(&self, user: &str, token: &str) -> Option<Presented> {
            let value = format!("Basic {}", STANDARD.encode(format!("{user}:{token}")));
            self.identity.present(Some(value.as_bytes()))
        }

        fn call(&self, presented: &Option<Presented>) -> Result<Caller, Code> {
            self.identity
                .caller(presented.as_ref(), None, None, NOW)
                .map_err(|r| r.code)
        }
    }

    fn mint(client: &Client, slugs: Option<Vec<Slug>>, expires: i64) -> String {
        let claims = ActionClaims::new(client, "report", Some("r1"), slugs, expires).unwrap();
        mint_action_token(&keyring().token_key(), &claims).to_string()
    }

    #[tokio::test]
    async fn the_action_is_the_header_or_the_user_name_or_the_clients_name() {
        let world = World::new(true).await;
        let (_, token) = world.add_client(None).await;
        let with_user = world.basic("report", token.expose());
        let without = world.basic("", token.expose());
        let call = |presented: &Option<Presented>, action: Option<&[u8]>, run: Option<&[u8]>| {
            world
                .identity
                .caller(presented.as_ref(), action, run, NOW)
                .unwrap()
        };
        let caller = call(&with_user, Some(b"other"), Some(b"run-1"));
        assert_eq!(
            (&*caller.action, caller.run.as_deref()),
            ("other", Some("run-1"))
        );
        assert_eq!(caller.action_source, ActionSource::Asserted);
        assert_eq!(
            (&*caller.client, caller.principal),
            ("laptop", principal("alice"))
        );
        assert_eq!(&*call(&with_user, None, None).action, "report");
        assert_eq!(&*call(&without, None, None).action, "laptop");
    }

    #[tokio::test]
    async fn without_a_valid_token_a_request_is_refused() {
        let world = World::new(true).await;
        world.add_client(None).await;
        let other = ClientToken::generate().unwrap();
        let refused = [
            None,
            world.basic("report", ""),
            world.basic("report", other.expose()),
        ];
        for presented in refused {
            assert_eq!(
                world.call(&presented),
                Err(Code::ProxyAuthRequired),
                "{presented:?}"
            );
        }
    }

    #[tokio::test]
    async fn a_removed_client_and_its_action_tokens_are_out_at_once_and_for_good() {
        let world = World::new(true).await;
        let (client, token) = world.add_client(None).await;
        let as_client = world.basic("", token.expose());
        let as_action = world.basic("", &mint(&client, None, NOW + 60));
        assert!(world.call(&as_client).is_ok() && world.call(&as_action).is_ok());
        world.remove_client().await;
        assert_eq!(world.call(&as_client), Err(Code::ProxyAuthRequired));
        assert_eq!(world.call(&as_action), Err(Code::ProxyAuthRequired));
        world.add_client(None).await;
        assert_eq!(world.call(&as_client), Err(Code::ProxyAuthRequired));
        assert_eq!(
            world.call(&as_action),
            Err(Code::ProxyAuthRequired),
            "same name, other client"
        );
    }

    #[tokio::test]
    async fn tokens_expire() {
        let world = World::new(true).await;
        let (client, token) = world.add_client(Some(NOW + 1)).await;
        let as_client = world.basic("", token.expose());
        let long = world.basic("", &mint(&client, None, NOW + 1000));
        let short = world.basic("", &mint(&client, None, NOW));
        assert!(world.call(&as_client).is_ok() && world.call(&long).is_ok());
        assert_eq!(world.call(&short), Err(Code::ProxyAuthRequired));
        for presented in [&as_client, &long] {
            let late = world
                .identity
                .caller(presented.as_ref(), None, None, NOW + 1);
            assert_eq!(late.unwrap_err().code, Code::ProxyAuthRequired);
        }
    }

    #[tokio::test]
    async fn an_action_token_overrides_the_headers() {
        let world = World::new(true).await;
        let (client, _) = world.add_client(None).await;
        let slugs = vec![slug("github-pat")];
        let token = mint(&client, Some(slugs.clone()), NOW + 60);
        let presented = world.basic("other", &token);
        let caller = world
            .identity
            .caller(presented.as_ref(), Some(b"third"), Some(b"r2"), NOW)
            .unwrap();
        assert_eq!(
            (&*caller.action, caller.run.as_deref()),
            ("report", Some("r1"))
        );
        assert_eq!(caller.action_source, ActionSource::Signed);
        assert_eq!(caller.slugs.as_deref(), Some(&*slugs));
    }

    #[tokio::test]
    async fn a_token_signed_elsewhere_is_refused() {
        let world = World::new(true).await;
        let (client, _) = world.add_client(None).await;
        let claims = ActionClaims::new(&client, "report", None, None, NOW + 60).unwrap();
        let other = crate::vault::Keyring::ephemeral().unwrap().token_key();
        let forged = world.basic("", &mint_action_token(&other, &claims));
        assert_eq!(world.call(&forged), Err(Code::ProxyAuthRequired));
    }

    #[tokio::test]
    async fn without_authentication_a_bad_token_is_still_bad() {
        let world = World::new(false).await;
        let caller = world.call(&None).unwrap();
        assert_eq!(
            (&*caller.client, caller.principal),
            ("anonymous", principal("local"))
        );
        assert_eq!(&*caller.action, "anonymous");
        assert_eq!(
            &*world.call(&world.basic("report", "")).unwrap().action,
            "report"
        );
        let stale = ClientToken::generate().unwrap();
        assert_eq!(
            world.call(&world.basic("", stale.expose())),
            Err(Code::ProxyAuthRequired)
        );
    }

    #[tokio::test]
    async fn an_unprintable_action_or_run_is_refused() {
        let world = World::new(true).await;
        let (_, token) = world.add_client(None).await;
        let bad_user = world.basic("a\u{7}b", token.expose());
        assert_eq!(world.call(&bad_user), Err(Code::RequestMalformed));
        let good = world.basic("", token.expose());
        let long = [b'x'; MAX_LABEL + 1];
        for (action, run) in [
            (Some(&b""[..]), None),
            (Some(&long[..]), None),
            (None, Some(&b"\xff"[..])),
            (Some(token.expose().as_bytes()), None),
        ] {
            let refusal = world
                .identity
                .caller(good.as_ref(), action, run, NOW)
                .unwrap_err();
            assert_eq!(refusal.code, Code::RequestMalformed);
        }
    }
}
