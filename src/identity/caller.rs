//! Decides who is asking.

use std::sync::Arc;
use std::time::Duration;

use crate::error::{Code, Refusal};
use crate::substitution::slug::Slug;
use crate::vault::cache::Vault;
use crate::vault::model::Client;
use crate::vault::name::Principal;
use crate::vault::people::BundleId;
use crate::vault::token_id::LONGEST_SELF_SIGNED;

use super::action_token::ActionClaims;
use super::issuer::{IssuedClaims, Issuer};
use super::label::Label;
use super::presented::{Presented, Proof, ProofKeys};

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
    /// The only bundle that the client may use; `None` is no limit.
    pub bundle: Option<Arc<BundleId>>,
    /// Whether values that wait for their promotion are used.
    pub is_probe: bool,
    /// When all of this stops to be true, unix seconds.
    pub expires: Option<i64>,
}

/// Decides who is asking.
#[derive(Clone, Debug)]
pub struct Identity {
    vault: Arc<Vault>,
    require_auth: bool,
    anonymous: Principal,
    /// Longest time for which an action token or a JWT may still work.
    max_lifetime: Option<Duration>,
    /// Whose JWTs are accepted.
    issuers: Arc<[Arc<Issuer>]>,
    /// For whom clients sign JWTs of their own.
    audience: Arc<str>,
}

impl Identity {
    /// Without `require_auth`, a request without a token acts for `anonymous`. A request with a bad
    /// token is refused in both cases: its client meant to authenticate.
    pub fn new(vault: Arc<Vault>, require_auth: bool, anonymous: Principal) -> Self {
        Self {
            vault,
            require_auth,
            anonymous,
            max_lifetime: None,
            issuers: Arc::default(),
            audience: "egret".into(),
        }
    }

    /// Accepts what clients signed themselves for `audience`.
    pub fn named(self, audience: &str) -> Self {
        Self {
            audience: audience.into(),
            ..self
        }
    }

    /// Accepts JWTs of these issuers.
    pub fn trusting(self, issuers: Vec<Arc<Issuer>>) -> Self {
        Self {
            issuers: issuers.into(),
            ..self
        }
    }

    /// Whose JWTs are accepted.
    pub fn issuers(&self) -> &[Arc<Issuer>] {
        &self.issuers
    }

    /// Accepts no action token that works for longer than `max_lifetime` from the time of the
    /// request: one that was minted before the limit was set, or with another configuration.
    pub fn accepting(self, max_lifetime: Option<Duration>) -> Self {
        Self {
            max_lifetime,
            ..self
        }
    }

    /// Reads a `Proxy-Authorization` header; `None` without one. The token is hashed or verified
    /// here and not kept.
    pub fn present(&self, proxy_authorization: Option<&[u8]>) -> Option<Presented> {
        let keys = ProofKeys {
            actions: self.vault.token_key(),
            issuers: &self.issuers,
            audience: &self.audience,
            client: &|name| self.vault.known_client(name),
        };
        proxy_authorization.map(|value| Presented::parse(value, &keys))
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
        let mut caller = self.proven(proof, now)?;
        if caller.action_source == ActionSource::Signed {
            return Ok(caller);
        }
        let user = presented.and_then(|presented| presented.user.as_ref());
        match (action.map(Label::read), user) {
            (Some(action), _) => caller.action = action.known("The action (Egret-Action)")?,
            (None, Some(user)) => {
                caller.action = user.clone().known("The action (the proxy user name)")?;
            }
            (None, None) => {}
        }
        let run = run.map(|text| Label::read(text).known("Egret-Run"));
        caller.run = run.transpose()?;
        Ok(caller)
    }

    /// Whom the token shows. Where it names no action that is the client's name, and the client may
    /// state another.
    fn proven(&self, proof: &Proof, now: i64) -> Result<Caller, Refusal> {
        match proof {
            Proof::Action(claims) => self.signed(claims, now),
            Proof::Client(hash) => {
                let client = self.vault.client_by_token(hash, now);
                let client = client.ok_or_else(bad_token)?;
                Ok(Caller {
                    expires: client.expires,
                    bundle: client.bundle.clone(),
                    is_probe: client.is_probe,
                    ..unsigned(client.name.shared(), client.principal.clone())
                })
            }
            Proof::Issued(claims) => {
                self.check_issued(claims, now)?;
                Ok(issued(claims))
            }
            Proof::Configured(principal, client) => {
                if self.vault.is_disabled(principal) {
                    return Err(disabled());
                }
                Ok(unsigned((*client).into(), principal.clone()))
            }
            Proof::Absent if !self.require_auth => {
                if self.vault.is_disabled(&self.anonymous) {
                    return Err(disabled());
                }
                Ok(unsigned("anonymous".into(), self.anonymous.clone()))
            }
            Proof::Absent => Err(no_token()),
            Proof::Invalid => Err(bad_token()),
        }
    }

    /// Whether a JWT holds now. The configuration may have changed since it was presented.
    fn check_issued(&self, claims: &IssuedClaims, now: i64) -> Result<(), Refusal> {
        let is_trusted = self.issuers.iter().any(|issuer| issuer.made(claims));
        if !is_trusted || now >= claims.expires {
            return Err(bad_token());
        }
        let (client, id) = (&claims.client, claims.id.as_ref());
        if self.vault.is_issued_revoked(client, id, claims.issued) {
            return Err(bad_token());
        }
        if self.vault.is_disabled(&claims.principal) {
            return Err(disabled());
        }
        self.check_lifetime(claims.expires, now)
    }

    fn check_lifetime(&self, expires: i64, now: i64) -> Result<(), Refusal> {
        let remaining = u64::try_from(expires.saturating_sub(now)).unwrap_or(0);
        if self
            .max_lifetime
            .is_some_and(|max| remaining > max.as_secs())
        {
            return Err(too_long());
        }
        Ok(())
    }

    fn signed(&self, claims: &ActionClaims, now: i64) -> Result<Caller, Refusal> {
        self.check_lifetime(claims.expires, now)?;
        let remaining = claims.expires.saturating_sub(now);
        if claims.is_self_signed && remaining > LONGEST_SELF_SIGNED {
            return Err(too_long());
        }
        let client = self.vault.client(&claims.client, now);
        let same = |client: &Arc<Client>| {
            let is_revoked = claims.id.as_ref().is_some_and(|id| client.revoked(id));
            client.enrolment == claims.enrolment
                && client.principal == claims.principal
                && !is_revoked
                && common_bundle(client, claims).is_ok()
        };
        match client.filter(same) {
            Some(client) if now < claims.expires => Ok(Caller {
                client: client.name.shared(),
                principal: client.principal.clone(),
                action: claims.action.clone(),
                action_source: ActionSource::Signed,
                run: claims.run.clone(),
                slugs: claims.slugs.clone(),
                bundle: common_bundle(&client, claims).unwrap_or_default(),
                is_probe: client.is_probe,
                expires: Some(
                    client
                        .expires
                        .map_or(claims.expires, |at| at.min(claims.expires)),
                ),
            }),
            _ => Err(ended_token()),
        }
    }
}

/// The bundle to which client and token both are bound; an error where they are bound to two.
fn common_bundle(client: &Client, claims: &ActionClaims) -> Result<Option<Arc<BundleId>>, ()> {
    match (&client.bundle, &claims.bundle) {
        (Some(own), Some(other)) if own != other => Err(()),
        (Some(bundle), _) | (None, Some(bundle)) => Ok(Some(Arc::clone(bundle))),
        (None, None) => Ok(None),
    }
}

/// A caller whose token says no more than who that is.
fn unsigned(client: Arc<str>, principal: Principal) -> Caller {
    Caller {
        action: Arc::clone(&client),
        client,
        principal,
        action_source: ActionSource::Asserted,
        run: None,
        slugs: None,
        bundle: None,
        is_probe: false,
        expires: None,
    }
}

/// The caller of a JWT. One that names its action has no run: one that the client states would look
/// as signed as the action.
fn issued(claims: &IssuedClaims) -> Caller {
    let mut caller = unsigned(Arc::clone(&claims.client), claims.principal.clone());
    caller.expires = Some(claims.expires);
    caller.bundle = claims.bundle.clone();
    if let Some(action) = &claims.action {
        caller.action = Arc::clone(action);
        caller.action_source = ActionSource::Signed;
    }
    caller
}

fn too_long() -> Refusal {
    Refusal::new(
        Code::ProxyAuthRequired,
        "The token works for longer than proxy.max_token_lifetime allows. `egret token mint --ttl` \
         makes one that works for a shorter time.",
    )
}

fn no_token() -> Refusal {
    Refusal::new(
        Code::ProxyAuthRequired,
        "Send a client token as the proxy password: HTTPS_PROXY=http://ACTION:TOKEN@HOST:PORT. \
         `egret client add NAME` makes one; `egret run -- COMMAND` sets everything up by itself. A \
         program that gets this answer although HTTPS_PROXY has both leaves them out: start it with \
         `egret run`, whose proxy address needs none.",
    )
}

fn disabled() -> Refusal {
    Refusal::new(
        Code::ProxyAuthRequired,
        "The user for whom requests without a token act is disabled. Send a client token as the \
         proxy password.",
    )
}

/// An action token is signed, so whoever shows one had it from here: nothing can be probed with it.
fn ended_token() -> Refusal {
    Refusal::new(
        Code::ProxyAuthRequired,
        "The action token has expired or was revoked, or its client was removed. A program under \
         `egret run` or `egret env`: \
         start the program again with `egret run`, or set its variables again with `egret env`.",
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
    use crate::identity::ActionRequest;
    use crate::identity::{ClientToken, MAX_LABEL, mint_action_token};
    use crate::vault::client_proof::ClientProof;
    use crate::vault::fixture::{Fixture, NOW, actor, keyring, principal, slug};
    use crate::vault::token_id::TokenId;
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
            let client = self
                .command
                .add_client(
                    &actor(),
                    &name,
                    &alice,
                    ClientProof::Token(token.hash()),
                    expires,
                )
                .await;
            self.identity.vault.refresh().await.unwrap();
            (client.unwrap(), token)
        }

        async fn remove_client(&self) {
            let name = ClientName::parse("laptop").unwrap();
            self.command.remove_client(&actor(), &name).await.unwrap();
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
        mint_action_token(&keyring().token_key(), &claims(client, slugs, expires)).to_string()
    }

    fn claims(client: &Client, slugs: Option<Vec<Slug>>, expires: i64) -> ActionClaims {
        let request = ActionRequest {
            action: "report",
            run: Some("r1"),
            slugs: slugs.as_deref(),
            bundle: None,
            expires,
        };
        let id = TokenId::generate(expires).unwrap();
        ActionClaims::new(client, id, request).unwrap()
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
        let claims = claims(&client, None, NOW + 60);
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
