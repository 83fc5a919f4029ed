//! `egret mcp`: an MCP server on standard input and output, which tells an assistant what it may use.
//!
//! Three tools, none of which sends a request or returns a value, and of which one asks the owner for a
//! credential that is not there. Messages are
//! JSON-RPC 2.0, one a line (Model Context Protocol, "stdio"). A library for all of the protocol
//! would be larger than the commands of this program together.

use std::io::{self, BufRead as _, Read as _, Write as _};

use clap::Args;
use http::Method;
use serde::Deserialize;
use serde_json::{Value, json};

use super::context::Context;
use super::credential::target::parse_slug;
use super::explain::{self, Asked};
use super::{output, when};
use crate::config::Config;
use crate::policy::grant;
use crate::proxy::exchange::discovery::discover;
use crate::vault::key_request::{AskedFor, KEPT, KeyRequest, readable_reason};
use crate::vault::{Found, Keyring, Principal, Vault};

/// Tell an assistant over MCP which credentials it may use
///
/// Serves the protocol on standard input and output, with three tools: which credentials there are, what
/// would become of a request, and to ask the owner for a credential that is not there. The assistant
/// learns slugs, hosts and limits, and no value. Nothing is sent.
#[derive(Args)]
#[command(after_help = "\
Examples:
  claude mcp add egret -- egret mcp --principal default

In another assistant's MCP configuration:
  {\"mcpServers\": {\"egret\": {\"command\": \"egret\", \"args\": [\"mcp\"]}}}")]
pub(super) struct Mcp {
    /// Whose credentials it may see
    #[arg(long, value_name = "PRINCIPAL", default_value = "default")]
    principal: Principal,
    /// For which action requests are explained
    #[arg(long, default_value = "mcp", value_parser = grant::parse_action)]
    action: String,
}

/// Longest message that is read.
const LONGEST: u64 = 1024 * 1024;
/// The version of the protocol that is offered to a client of an unknown one, and those that are
/// the same in what is used here.
const PROTOCOL: &str = "2025-06-18";
const PROTOCOLS: [&str; 4] = [PROTOCOL, "2025-11-25", "2025-03-26", "2024-11-05"];

const PARSE_ERROR: i64 = -32700;
const INVALID_REQUEST: i64 = -32600;
const NO_SUCH_METHOD: i64 = -32601;
const INVALID_PARAMETERS: i64 = -32602;

/// A failure as JSON-RPC has it.
struct Failure(i64, String);

#[derive(Deserialize)]
struct ExplainArguments {
    method: String,
    url: String,
    #[serde(default)]
    headers: Vec<String>,
    data: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RequestArguments {
    slug: String,
    host: String,
    #[serde(rename = "in")]
    place: Option<String>,
    #[serde(default)]
    reason: String,
}

/// As whom it asks.
const CLIENT: &str = "mcp";

impl Mcp {
    pub(super) async fn run(self, context: &Context) -> anyhow::Result<()> {
        let config = context.load()?.config;
        let keyring = Keyring::load(&config.keys, &config.data_dir).await?;
        let mut input = io::stdin().lock();
        loop {
            let mut line = Vec::new();
            let read = (&mut input).take(LONGEST).read_until(b'\n', &mut line)?;
            if read == 0 {
                return Ok(());
            }
            if let Some(answer) = self.answer(&line, &config, &keyring).await {
                let mut output = io::stdout().lock();
                writeln!(output, "{answer}")?;
                output.flush()?;
            }
        }
    }

    /// The answer to a message; none to a notification.
    async fn answer(&self, line: &[u8], config: &Config, keyring: &Keyring) -> Option<Value> {
        if line.trim_ascii().is_empty() {
            return None;
        }
        let failed = |id: Value, Failure(code, message)| json!({"jsonrpc": "2.0", "id": id, "error": {"code": code, "message": message}});
        let Ok(message) = serde_json::from_slice::<Value>(line) else {
            let failure = Failure(
                PARSE_ERROR,
                "the message is not JSON on one line".to_owned(),
            );
            return Some(failed(Value::Null, failure));
        };
        let Some(method) = message.get("method").and_then(Value::as_str) else {
            let failure = Failure(INVALID_REQUEST, "the message names no method".to_owned());
            return message.get("id").map(|id| failed(id.clone(), failure));
        };
        let id = message.get("id")?.clone();
        let parameters = message.get("params").unwrap_or(&Value::Null);
        Some(
            match self.dispatch(method, parameters, config, keyring).await {
                Ok(result) => json!({"jsonrpc": "2.0", "id": id, "result": result}),
                Err(failure) => failed(id, failure),
            },
        )
    }

    async fn dispatch(
        &self,
        method: &str,
        parameters: &Value,
        config: &Config,
        keyring: &Keyring,
    ) -> Result<Value, Failure> {
        match method {
            "initialize" => Ok(initialised(parameters)),
            "ping" => Ok(json!({})),
            "tools/list" => Ok(tools()),
            "tools/call" => {
                let name = parameters.get("name").and_then(Value::as_str);
                let arguments = parameters.get("arguments").cloned();
                let called = match name {
                    Some("list_credentials") => self.list(config, keyring).await,
                    Some("explain_request") => {
                        let arguments = serde_json::from_value(arguments.unwrap_or_default());
                        // The parser's message would repeat what may be a value.
                        let arguments = arguments.map_err(|_| {
                            let text = "explain_request takes method, url, headers and data";
                            Failure(INVALID_PARAMETERS, text.to_owned())
                        })?;
                        self.explain(arguments, config, keyring).await
                    }
                    Some("request_credential") => {
                        let arguments = serde_json::from_value(arguments.unwrap_or_default());
                        let arguments = arguments.map_err(|_| {
                            let text = "request_credential takes slug, host, in and reason";
                            Failure(INVALID_PARAMETERS, text.to_owned())
                        })?;
                        self.request(arguments, config, keyring).await
                    }
                    _ => {
                        let text = "there is no such tool".to_owned();
                        return Err(Failure(INVALID_PARAMETERS, text));
                    }
                };
                Ok(content(called))
            }
            _ => Err(Failure(
                NO_SUCH_METHOD,
                "there is no such method".to_owned(),
            )),
        }
    }

    async fn list(&self, config: &Config, keyring: &Keyring) -> anyhow::Result<String> {
        let vault = Vault::open(&config.data_dir, &config.store.url, keyring).await?;
        let caller = explain::caller(&self.principal, &self.action);
        let found = discover(&vault, &caller, when::now());
        vault.store().close().await;
        Ok(json!({ "credentials": found }).to_string())
    }

    async fn explain(
        &self,
        arguments: ExplainArguments,
        config: &Config,
        keyring: &Keyring,
    ) -> anyhow::Result<String> {
        let method = arguments.method.parse::<Method>();
        let method = method.map_err(|_| anyhow::anyhow!("method is no HTTP method"))?;
        let asked = Asked {
            method,
            url: &arguments.url,
            headers: &arguments.headers,
            data: arguments.data,
        };
        let caller = explain::caller(&self.principal, &self.action);
        let decided = asked.decide(config, keyring, caller).await?;
        Ok(explain::text(&decided.view()))
    }

    /// Asks the owner for a credential that the principal does not have.
    async fn request(
        &self,
        arguments: RequestArguments,
        config: &Config,
        keyring: &Keyring,
    ) -> anyhow::Result<String> {
        let now = when::now();
        let place = arguments.place.as_deref().map(str::parse).transpose();
        let request = KeyRequest {
            owner: self.principal.clone(),
            client: CLIENT.to_owned(),
            slug: parse_slug(&arguments.slug)?,
            // The parsers' own words repeat what they were given, which may be a value.
            host: arguments
                .host
                .parse()
                .map_err(|_| anyhow::anyhow!("host is no host such as api.example.com"))?,
            place: place.map_err(|_| anyhow::anyhow!("in is no place such as header:x-api-key"))?,
            reason: readable_reason(&arguments.reason),
            asked: now,
            until: now.saturating_add(KEPT),
            is_declined: false,
            is_saved: false,
        };
        let vault = Vault::open(&config.data_dir, &config.store.url, keyring).await?;
        let has_one = !matches!(vault.find(&self.principal, &request.slug, now), Found::None);
        let asked = match has_one {
            true => None,
            false => Some(vault.ask_key(&request).await),
        };
        vault.store().close().await;
        Ok(match asked.transpose()? {
            None => "it is there already; list_credentials says where it may be used".to_owned(),
            Some(AskedFor::Open(number)) => format!(
                "the owner has been asked (request {number}); list_credentials shows the credential \
                 once it is saved"
            ),
            Some(AskedFor::Declined) => "the owner was asked, and said no".to_owned(),
            Some(AskedFor::TooMany) => {
                "the owner was not asked: several of these requests wait already".to_owned()
            }
        })
    }
}

fn initialised(parameters: &Value) -> Value {
    let asked = parameters.get("protocolVersion").and_then(Value::as_str);
    let version = asked
        .filter(|asked| PROTOCOLS.contains(asked))
        .unwrap_or(PROTOCOL);
    json!({
        "protocolVersion": version,
        "capabilities": {"tools": {}},
        "serverInfo": {"name": "egret", "version": env!("CARGO_PKG_VERSION")},
        "instructions": "Write a placeholder such as <<github-pat>> where a request needs a secret. \
            Egret puts the value in on the way out; you never see it.",
    })
}

fn tools() -> Value {
    json!({"tools": [
        {
            "name": "list_credentials",
            "description": "Lists the credentials that requests may use: the placeholder to write, \
                the hosts to which it may be sent, and where in a request. No values.",
            "inputSchema": {"type": "object", "properties": {}, "additionalProperties": false},
            "annotations": {"readOnlyHint": true, "openWorldHint": false},
        },
        {
            "name": "explain_request",
            "description": "Says what would become of an HTTP request: which placeholders are \
                replaced, or why it is refused and what would have to change. Sends nothing.",
            "inputSchema": {
                "type": "object",
                "properties": {
                    "method": {"type": "string", "description": "such as GET"},
                    "url": {"type": "string", "description": "https://HOST/PATH"},
                    "headers": {
                        "type": "array",
                        "items": {"type": "string"},
                        "description": "header fields, each NAME: VALUE",
                    },
                    "data": {"type": "string", "description": "the body"},
                },
                "required": ["method", "url"],
                "additionalProperties": false,
            },
            "annotations": {"readOnlyHint": true, "openWorldHint": false},
        },
        {
            "name": "request_credential",
            "description": "Asks the owner for a credential that is not there. The owner sees slug, \
                host, place and reason, and saves the value or declines. Never give a value.",
            "inputSchema": {
                "type": "object",
                "properties": {
                    "slug": {"type": "string", "description": "how requests will name it, such as jira"},
                    "host": {"type": "string", "description": "where it is needed, such as api.example.com"},
                    "in": {"type": "string", "description": "in which place, such as header:x-api-key"},
                    "reason": {"type": "string", "description": "what for"},
                },
                "required": ["slug", "host"],
                "additionalProperties": false,
            },
            "annotations": {"readOnlyHint": false, "destructiveHint": false, "openWorldHint": false},
        },
    ]})
}

/// What a tool returns. A failure is for the assistant to read, not for its client.
fn content(called: anyhow::Result<String>) -> Value {
    let (text, is_error) = match called {
        Ok(text) => (text, false),
        Err(error) => (output::printable(&format!("{error:#}")), true),
    };
    json!({"content": [{"type": "text", "text": text}], "isError": is_error})
}
