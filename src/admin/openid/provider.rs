//! A sign-in at the provider, from its beginning to the person.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::time::Instant;

use aws_lc_rs::digest;
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use form_urlencoded::Serializer;
use http::HeaderValue;
use serde::Deserialize;
use serde_json::Value;
use tokio::sync::OnceCell;
use zeroize::Zeroizing;

use super::claims::{self, Expected};
use super::discovery::{Discovered, Discovery, Document};
use super::pending::{Pending, Waiting};
use crate::admin::problem::{AdminProblem, Trouble};
use crate::clock;
use crate::config::OpenId;
use crate::fetch::Fetcher;
use crate::identity::Unverified;
use crate::proxy::outbound::way::Way;
use crate::vault::GroupName;
use crate::vault::access::session::FRESH;

/// Longest secret of a client, in bytes.
const MAX_SECRET: u64 = 4096;

/// Which certificates are trusted beside the system's.
pub type Trust = Vec<PathBuf>;

/// The identity provider of the configuration.
pub struct Provider {
    config: OpenId,
    redirect: String,
    trust: Trust,
    way: Way,
    fetcher: OnceCell<Fetcher>,
    discovery: Discovery,
    waiting: Waiting,
}

/// A sign-in that has begun.
pub struct Started {
    /// Where the browser goes.
    pub url: String,
    /// What it keeps until it is back.
    pub browser: String,
}

/// Who signed in.
#[derive(Clone, Debug)]
pub struct Person {
    /// The issuer.
    pub issuer: String,
    /// The issuer's name for the person.
    pub subject: String,
    /// What [`OpenId::user_claim`] says.
    pub name: Option<String>,
    /// The groups here that the person's groups there are; `None` if groups are not mapped.
    pub groups: Option<BTreeSet<GroupName>>,
    /// When the person proved to be the person, unix seconds, as far as the provider says.
    pub proved: i64,
    /// The path to lead on to.
    pub next: String,
}

/// The query with which the browser comes back.
#[derive(Default, Deserialize)]
pub struct Answer {
    #[serde(default)]
    state: String,
    code: Option<String>,
    error: Option<String>,
    iss: Option<String>,
}

#[derive(Deserialize)]
struct Tokens {
    id_token: String,
}

impl Provider {
    /// The provider of a configuration, for a page at `origin`.
    pub fn new(config: OpenId, origin: &str, trust: Trust, way: Way) -> Self {
        Self {
            config,
            redirect: format!("{origin}/signin/openid/callback"),
            trust,
            way,
            fetcher: OnceCell::new(),
            discovery: Discovery::default(),
            waiting: Waiting::default(),
        }
    }

    /// The configuration.
    pub fn config(&self) -> &OpenId {
        &self.config
    }

    /// Begins a sign-in. A proof is one for which the person cannot rely on an earlier sign-in.
    pub async fn start(&self, next: &str, is_proof: bool) -> Result<Started, AdminProblem> {
        let discovered = self.discovered().await?;
        let [state, nonce, verifier, browser] = [random()?, random()?, random()?, random()?];
        let mut query = Serializer::new(String::new());
        query
            .append_pair("response_type", "code")
            .append_pair("client_id", &self.config.client_id)
            .append_pair("redirect_uri", &self.redirect)
            .append_pair("scope", &self.scope())
            .append_pair("state", &state)
            .append_pair("nonce", &nonce)
            .append_pair("code_challenge", &challenge(&verifier))
            .append_pair("code_challenge_method", "S256");
        if is_proof {
            query
                .append_pair("prompt", "login")
                .append_pair("max_age", "0");
        }
        let endpoint = &discovered.document.authorization_endpoint;
        let joint = if endpoint.contains('?') { '&' } else { '?' };
        let url = format!("{endpoint}{joint}{}", query.finish());
        let pending = Pending {
            browser: browser.clone(),
            nonce,
            verifier,
            next: next.to_owned(),
            is_proof,
            begun: Instant::now(),
        };
        self.waiting.add(state, pending);
        Ok(Started { url, browser })
    }

    /// Ends a sign-in: exchanges the code, and checks the token.
    pub async fn finish(&self, answer: &Answer, browser: &str) -> Result<Person, AdminProblem> {
        let pending = self.waiting.take(&answer.state, browser).ok_or_else(|| {
            failed("This sign-in was not begun in this browser, or it took too long. Begin again.")
        })?;
        let discovered = self.discovered().await?;
        self.check_sender(answer, &discovered.document)?;
        let code = match (&answer.code, &answer.error) {
            (Some(code), None) => code,
            _ => return Err(failed("The identity provider did not sign you in.")),
        };
        let token = self.exchange(&discovered.document, code, &pending).await?;
        let claims = self.verified(token.as_bytes(), discovered).await?;
        let now = clock::unix_seconds();
        let fresh = i64::try_from(FRESH.as_secs()).unwrap_or_default();
        let expected = Expected {
            client_id: &self.config.client_id,
            nonce: &pending.nonce,
            since: pending.is_proof.then_some(now - fresh),
            now,
        };
        let checked = claims::check(&claims, &expected).map_err(|error| {
            tracing::warn!(%error, "an ID token is refused");
            failed(format!(
                "The identity provider's answer is refused: {error}."
            ))
        })?;
        let text = |name: &str| claims.get(name)?.as_str().map(str::to_owned);
        Ok(Person {
            issuer: self.config.issuer.clone(),
            subject: checked.subject,
            name: text(&self.config.user_claim),
            groups: self.groups(&claims),
            proved: checked.authenticated.unwrap_or(0),
            next: pending.next,
        })
    }

    /// Another provider may have answered (mix-up, RFC 9207).
    fn check_sender(&self, answer: &Answer, document: &Document) -> Result<(), AdminProblem> {
        let is_needed = document.authorization_response_iss_parameter_supported;
        let is_sender = match &answer.iss {
            Some(issuer) => *issuer == self.config.issuer,
            None => !is_needed,
        };
        if is_sender {
            return Ok(());
        }
        Err(failed("The answer is of another identity provider."))
    }

    async fn exchange(
        &self,
        document: &Document,
        code: &str,
        pending: &Pending,
    ) -> Result<Zeroizing<String>, AdminProblem> {
        let (secret, fetcher) = (self.secret().await?, self.fetcher().await?);
        let methods = &document.token_endpoint_auth_methods_supported;
        let has = |name: &str| methods.iter().any(|method| method == name);
        // Basic is what a provider supports that says nothing (RFC 8414 section 2).
        let is_basic = has("client_secret_basic") || !has("client_secret_post");
        let authorization = match &secret {
            Some(secret) if is_basic => basic(&self.config.client_id, secret),
            _ => None,
        };
        // Whoever says it in the field does not say it in the form (RFC 6749 section 2.3).
        let mut client = Vec::new();
        if authorization.is_none() {
            client.push(("client_id", self.config.client_id.as_str()));
            client.extend(
                secret
                    .as_ref()
                    .map(|secret| ("client_secret", secret.as_str())),
            );
        }
        let form = self.token_form(code, pending, &client);
        let answered = fetcher.post(&document.token_endpoint, authorization, form);
        let body = answered.await.map_err(|error| unavailable(&error))?;
        let tokens: Option<Tokens> = serde_json::from_slice(&body).ok();
        let tokens = tokens.ok_or_else(|| failed("The identity provider gave no ID token."))?;
        Ok(Zeroizing::new(tokens.id_token))
    }

    /// The request for the token (RFC 6749 section 4.1.3).
    fn token_form(&self, code: &str, pending: &Pending, client: &[(&str, &str)]) -> String {
        let mut form = Serializer::new(String::new());
        form.append_pair("grant_type", "authorization_code")
            .append_pair("code", code)
            .append_pair("redirect_uri", &self.redirect)
            .append_pair("code_verifier", &pending.verifier)
            .extend_pairs(client);
        form.finish()
    }

    /// The claims of a token. If its key is unknown, the provider may have new ones.
    async fn verified(&self, token: &[u8], known: Discovered) -> Result<Value, AdminProblem> {
        let (issuer, audience) = (&self.config.issuer, &self.config.client_id);
        let mut verified = known.keys.verify(token, issuer, audience);
        if verified.as_ref().err() == Some(&Unverified::UnknownKey) {
            let fetcher = self.fetcher().await?;
            let renewed = self.discovery.renew(fetcher, issuer, &known).await;
            let renewed = renewed.map_err(|error| unavailable(&error))?;
            verified = renewed.keys.verify(token, issuer, audience);
        }
        verified.map_err(|error| {
            tracing::warn!(%error, "an ID token is refused");
            failed(format!(
                "The identity provider's token is refused: {error}."
            ))
        })
    }

    fn groups(&self, claims: &Value) -> Option<BTreeSet<GroupName>> {
        let name = self.config.groups_claim.as_ref()?;
        let theirs = claims::texts(claims, name);
        let mapped = self.config.groups.iter();
        let mapped = mapped.filter(|mapping| theirs.contains(&mapping.theirs));
        Some(mapped.map(|mapping| mapping.ours.clone()).collect())
    }

    fn scope(&self) -> String {
        let mut scope = "openid".to_owned();
        for more in &self.config.scopes {
            scope.push(' ');
            scope.push_str(more);
        }
        scope
    }

    async fn discovered(&self) -> Result<Discovered, AdminProblem> {
        let fetcher = self.fetcher().await?;
        let discovered = self.discovery.get(fetcher, &self.config.issuer).await;
        discovered.map_err(|error| unavailable(&error))
    }

    /// The system's roots are read once, when somebody signs in for the first time.
    async fn fetcher(&self) -> Result<&Fetcher, AdminProblem> {
        let make = || async {
            let made = Fetcher::trusting(self.trust.clone(), self.way.clone()).await;
            made.map_err(|error| unavailable(&error))
        };
        self.fetcher.get_or_try_init(make).await
    }

    /// The secret of this client. It is read for each use, because it may have been exchanged.
    async fn secret(&self) -> Result<Option<Zeroizing<String>>, AdminProblem> {
        let Some(path) = self.config.client_secret.clone() else {
            return Ok(None);
        };
        let read = move || {
            use std::io::Read as _;
            let mut secret = Zeroizing::new(String::new());
            let file = std::fs::File::open(path)?;
            file.take(MAX_SECRET).read_to_string(&mut secret)?;
            Ok::<_, std::io::Error>(Zeroizing::new(secret.trim().to_owned()))
        };
        let read = tokio::task::spawn_blocking(read).await;
        match read {
            Ok(Ok(secret)) => Ok(Some(secret)),
            _ => {
                tracing::error!("openid.client_secret_file cannot be read");
                Err(AdminProblem::because(
                    Trouble::ProviderUnavailable,
                    "The secret for the identity provider cannot be read.",
                ))
            }
        }
    }
}

fn failed(detail: impl Into<std::borrow::Cow<'static, str>>) -> AdminProblem {
    AdminProblem::because(Trouble::SignInFailed, detail)
}

fn unavailable(error: &dyn std::error::Error) -> AdminProblem {
    tracing::warn!(%error, "the identity provider cannot be used");
    AdminProblem::because(
        Trouble::ProviderUnavailable,
        format!("The identity provider cannot be used: {error}. A local account can sign in."),
    )
}

/// 256 random bits as text.
fn random() -> Result<String, AdminProblem> {
    let mut bytes = [0; 32];
    aws_lc_rs::rand::fill(&mut bytes).map_err(|_| AdminProblem::new(Trouble::Internal))?;
    Ok(URL_SAFE_NO_PAD.encode(bytes))
}

/// The challenge of a verifier (RFC 7636 section 4.2).
fn challenge(verifier: &str) -> String {
    URL_SAFE_NO_PAD.encode(digest::digest(&digest::SHA256, verifier.as_bytes()))
}

/// Name and secret are form-encoded before (RFC 6749 section 2.3.1).
fn basic(name: &str, secret: &str) -> Option<HeaderValue> {
    let encoded =
        |text: &str| -> String { form_urlencoded::byte_serialize(text.as_bytes()).collect() };
    let pair = Zeroizing::new(format!("{}:{}", encoded(name), encoded(secret)));
    let text = Zeroizing::new(format!("Basic {}", STANDARD.encode(pair.as_bytes())));
    let mut field = HeaderValue::from_str(&text).ok()?;
    field.set_sensitive(true);
    Some(field)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_challenge_is_that_of_the_rfc() {
        // RFC 7636, appendix B.
        let verifier = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk";
        assert_eq!(
            challenge(verifier),
            "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM"
        );
    }

    #[test]
    fn name_and_secret_are_encoded_before_they_are_joined() {
        let field = basic("egret", "a:b c%").unwrap();
        let text = field.to_str().unwrap().strip_prefix("Basic ").unwrap();
        assert_eq!(STANDARD.decode(text).unwrap(), b"egret:a%3Ab+c%25");
    }
}
