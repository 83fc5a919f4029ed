//! `egret explain`: what would become of a request, decided as the proxy decides and not sent.

use anyhow::Context as _;
use bytes::{Bytes, BytesMut};
use clap::Args;
use http::header::{self, HeaderName, HeaderValue};
use http::{HeaderMap, Method, Request};

use super::context::Context;
use super::exit::usage;
use super::output::{self, Format};
use crate::config::Config;
use crate::error::Refusal;
use crate::identity::{ActionSource, Caller};
use crate::policy::destination::{Destination, Scheme};
use crate::policy::grant;
use crate::proxy::exchange::body::InboundBody;
use crate::proxy::exchange::explanation::explain;
use crate::proxy::exchange::plan::{Plan, PlannedUse};
use crate::proxy::inbound::destination::check_port;
use crate::proxy::inbound::head_check::normalise_request_line;
use crate::substitution::encoding::Encoding;
use crate::substitution::slug::Reference;
use crate::vault::{Keyring, Principal, Vault};
use crate::views;

/// Say what would become of a request: what is replaced where, or why it is refused
///
/// The request is decided on as the proxy decides, with the credentials and the configuration of
/// now. Nothing is sent, no value is printed, and nothing is written to the ledger.
///
/// Whether the destination's address may be reached is decided when a request is sent: the name is
/// not looked up here.
#[derive(Args)]
#[command(after_help = "\
Examples:
  egret explain GET https://api.github.com/user -H 'Authorization: Bearer <<github-pat>>'
  egret explain POST https://api.example.com/login -H 'Content-Type: application/json' \\
    --data '{\"password\": \"<<site.password>>\"}' --as bob")]
pub(super) struct Explain {
    /// The method
    #[arg(value_name = "METHOD")]
    method: Method,
    /// Where to: https://HOST/PATH or http://HOST/PATH; placeholders may be in it
    #[arg(value_name = "URL")]
    url: String,
    /// A header field; repeatable
    #[arg(short = 'H', long = "header", value_name = "NAME: VALUE")]
    headers: Vec<String>,
    /// The body; without a Content-Type it is a form, as with curl
    #[arg(short, long)]
    data: Option<String>,
    /// For which user
    #[arg(long = "as", value_name = "USER", default_value = "default")]
    user: Principal,
    /// For which action
    #[arg(long, default_value = "explain", value_parser = grant::parse_action)]
    action: String,
    #[command(flatten)]
    format: Format,
}

impl Explain {
    pub(super) async fn run(self, context: &Context) -> anyhow::Result<()> {
        let config = context.load()?.config;
        let asked = Asked {
            method: self.method,
            url: &self.url,
            headers: &self.headers,
            data: self.data,
        };
        let caller = caller(&self.user, &self.action);
        let keyring = Keyring::load(&config.keys, &config.data_dir).await?;
        let decided = asked.decide(&config, &keyring, caller).await?;
        let view = decided.view();
        output::data(self.format, &view, || text(&view))
    }
}

/// Who asks: a command, for a user and an action.
pub(super) fn caller(user: &Principal, action: &str) -> Caller {
    Caller {
        client: "explain".into(),
        principal: user.clone(),
        action: action.into(),
        action_source: ActionSource::Asserted,
        run: None,
        slugs: None,
        bundle: None,
        is_probe: false,
        expires: None,
    }
}

/// A request that is asked about.
pub(super) struct Asked<'a> {
    pub(super) method: Method,
    pub(super) url: &'a str,
    /// `NAME: VALUE`
    pub(super) headers: &'a [String],
    pub(super) data: Option<String>,
}

/// What was decided about a request.
pub(super) struct Decided {
    destination: Destination,
    plan: Result<Plan, Refusal>,
}

impl Asked<'_> {
    /// Decides with the credentials of now.
    ///
    /// # Errors
    /// When it is no request, or the store cannot be opened.
    pub(super) async fn decide(
        self,
        config: &Config,
        keyring: &Keyring,
        caller: Caller,
    ) -> anyhow::Result<Decided> {
        let (destination, request) = self.request()?;
        let vault = Vault::open(&config.data_dir, &config.store.url, keyring).await?;
        vault.set_floor(config.policy.clone());
        let plan = match check_port(&config.proxy.connect_ports, &destination) {
            Ok(()) => explain(config, &vault, caller, &destination, request).await,
            Err(refusal) => Err(refusal),
        };
        vault.store().close().await;
        Ok(Decided { destination, plan })
    }

    /// The request as it would arrive, and where it goes.
    fn request(self) -> anyhow::Result<(Destination, Request<InboundBody>)> {
        let (destination, target) = split(self.url)?;
        let mut headers = self.fields()?;
        let host = HeaderValue::from_str(&destination.authority())?;
        headers.entry(header::HOST).or_insert(host);
        let body = self.data.map(Bytes::from);
        if let Some(body) = &body {
            let form = HeaderValue::from_static("application/x-www-form-urlencoded");
            headers.entry(header::CONTENT_TYPE).or_insert(form);
            headers.insert(header::CONTENT_LENGTH, body.len().into());
        }
        let body = body.map_or_else(|| InboundBody::ended(None), InboundBody::given);
        let mut request = Request::new(body);
        *request.method_mut() = self.method;
        // The parser's message would repeat the URL.
        *request.uri_mut() = target.parse().map_err(|_| bad_url())?;
        *request.headers_mut() = headers;
        Ok((destination, request))
    }

    fn fields(&self) -> anyhow::Result<HeaderMap> {
        let bad = || usage("a header field is `NAME: VALUE` on one line");
        let mut headers = HeaderMap::new();
        for field in self.headers {
            let (name, value) = field.split_once(':').ok_or_else(bad)?;
            let name: HeaderName = name.parse().map_err(|_| bad())?;
            let value = HeaderValue::from_bytes(value.trim().as_bytes()).map_err(|_| bad())?;
            headers.append(name, value);
        }
        Ok(headers)
    }
}

fn bad_url() -> anyhow::Error {
    usage("the URL has to be https://HOST/PATH or http://HOST/PATH, without blanks")
}

/// The destination of a URL, and its target as the proxy would take it.
fn split(url: &str) -> anyhow::Result<(Destination, String)> {
    let (scheme, rest) = match url.split_once("://") {
        Some(("https", rest)) => (Scheme::Https, rest),
        Some(("http", rest)) => (Scheme::Http, rest),
        _ => return Err(bad_url()),
    };
    let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    let (authority, target) = rest.split_at(end);
    let destination = Destination::from_authority(scheme, authority).map_err(|_| bad_url())?;
    let target = target.split('#').next().unwrap_or_default();
    if target.chars().any(|c| c.is_control() || c == ' ') {
        return Err(bad_url());
    }
    let target = normalise_request_line(BytesMut::from(target.as_bytes()));
    let target = String::from_utf8(target.to_vec()).context("a target is ASCII")?;
    if target.starts_with('/') {
        Ok((destination, target))
    } else {
        Ok((destination, format!("/{target}")))
    }
}

impl Decided {
    /// For people and programs.
    pub(super) fn view(&self) -> views::ExplainedRequest<'_> {
        let mut view = views::ExplainedRequest {
            destination: self.destination.to_string(),
            refused: None,
            uses: Vec::new(),
            literal: Vec::new(),
        };
        match &self.plan {
            Ok(plan) => {
                view.uses = plan.uses.iter().map(explained).collect();
                view.literal = plan.ignored.iter().map(Reference::placeholder).collect();
            }
            Err(refusal) => {
                view.refused = Some(views::ExplainedRefusal {
                    code: refusal.code.as_str(),
                    status: refusal.code.status(),
                    detail: &refusal.detail,
                    slug: refusal.slug.as_deref(),
                    location: refusal.location.as_deref(),
                });
            }
        }
        view
    }
}

fn explained(used: &PlannedUse) -> views::ExplainedUse<'_> {
    views::ExplainedUse {
        placeholder: used.reference.placeholder(),
        location: used.location.to_string(),
        attached: used.attached,
        written: written(used.encoding),
        owner: used.credential.owner.as_str(),
        slug: used.credential.slug.as_str(),
        version: used.credential.version,
    }
}

/// How a value is written at a place, for people.
fn written(encoding: Encoding) -> &'static str {
    match encoding {
        Encoding::Raw | Encoding::Header | Encoding::Message => "as it is",
        Encoding::BasicUser => "in base64, as a user name or password",
        Encoding::BasicForm => "form-encoded, in base64",
        Encoding::Percent => "percent-encoded",
        Encoding::FormUrl => "form-encoded",
        Encoding::Json => "as a JSON string",
        Encoding::Xml => "as XML text",
        Encoding::Cdata => "as it is, in CDATA",
    }
}

/// What was decided, in sentences.
pub(super) fn text(view: &views::ExplainedRequest<'_>) -> String {
    let mut text = String::new();
    if let Some(refused) = &view.refused {
        text += &format!("Refused: {} {}", refused.status, refused.code);
        for about in [refused.slug, refused.location].into_iter().flatten() {
            text += &format!(", {}", output::printable(about));
        }
        text += &format!("\n{}\n", refused.detail);
    } else {
        text += &format!("Sent to {}.\n", view.destination);
        if view.uses.is_empty() {
            text += "No placeholder is replaced.\n";
        }
    }
    for used in view.uses.iter().filter(|used| used.attached) {
        text += &format!(
            "{} is attached by a rule of its owner.\n",
            output::printable(&used.location)
        );
    }
    for used in &view.uses {
        text += &format!(
            "{} in {} becomes the value of {} of {}, version {}, {}.\n",
            used.placeholder,
            output::printable(&used.location),
            used.slug,
            used.owner,
            used.version,
            used.written
        );
    }
    for literal in &view.literal {
        text += &format!("{literal} stays as it is: no credential has that name.\n");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_is_split_as_a_client_would() {
        let split = |url| split(url).map(|(to, target)| (to.to_string(), target));
        let (to, target) = split("https://api.example.com/a?k=<<pat>>#x").unwrap();
        assert_eq!(to, "https://api.example.com:443");
        assert_eq!(target, "/a?k=%3C%3Cpat%3E%3E");
        assert_eq!(split("http://h.example:81?a").unwrap().1, "/?a");
        for url in [
            "",
            "h.example",
            "ftp://h.example/",
            "https:///x",
            "https://h.example/a b",
        ] {
            assert!(split(url).is_err(), "{url}");
        }
    }
}
