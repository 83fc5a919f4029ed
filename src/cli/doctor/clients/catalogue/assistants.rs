//! Assistants, with a placeholder as the key of their model, and MCP servers that they start.
//!
//! The model of an assistant that is to start an MCP server is at a host of its own: what the assistant asks
//! says nothing about the server. The server is curl without the variable that only curl reads: it trusts
//! what OpenSSL, Python and Go trust.

use crate::cli::doctor::clients::client::{Client, NOTHING};
use crate::cli::doctor::clients::outcome::Outcome;

const QUESTION: &str = "Say nothing.";

/// What corrects an MCP server that its assistant gives too little.
const WRAPPED: &[(Outcome, &str)] = &[
    (Outcome::GoesRoundTheProxy, WRAP),
    (Outcome::DoesNotTrustTheCa, WRAP),
];
const WRAP: &str =
    "have the assistant start it with `egret run`, as `egret env --format NAME -- COMMAND` prints";

/// The MCP servers, as Claude Code and Gemini CLI read them.
macro_rules! servers {
    () => {
        "\"mcpServers\":{\"doctor\":{\"command\":\"env\",\"args\":[\"-u\",\"CURL_CA_BUNDLE\",\"curl\",\"-sS\",\
         \"--max-time\",\"20\",\"-o\",\"/dev/null\",\"-H\",\"Authorization: Bearer {placeholder}\",\"{url}\"]}}"
    };
}
/// Without this choice Gemini CLI takes another base URL for a gateway that signs in by itself.
macro_rules! with_key {
    () => {
        "\"security\":{\"auth\":{\"selectedType\":\"gemini-api-key\"}}"
    };
}

const CLAUDE_SERVERS: &str = concat!("{", servers!(), "}\n");
const GEMINI: &str = concat!("{", with_key!(), "}\n");
const GEMINI_SERVERS: &str = concat!("{", with_key!(), ",", servers!(), "}\n");

const CLAUDE_WITHOUT: &[&str] = &[
    "ANTHROPIC_AUTH_TOKEN",
    "ANTHROPIC_CUSTOM_HEADERS",
    "CLAUDE_CODE_OAUTH_TOKEN",
    "CLAUDE_CODE_USE_BEDROCK",
    "CLAUDE_CODE_USE_VERTEX",
];
const GEMINI_WITHOUT: &[&str] = &[
    "GOOGLE_API_KEY",
    "GOOGLE_GENAI_USE_GCA",
    "GOOGLE_GENAI_USE_VERTEXAI",
    "GOOGLE_VERTEX_BASE_URL",
];

pub(super) const ALL: &[Client] = &[
    Client {
        name: "Claude Code",
        program: "claude",
        arguments: &["-p", QUESTION, "--strict-mcp-config"],
        variables: &[
            ("ANTHROPIC_BASE_URL", "{url}"),
            ("ANTHROPIC_API_KEY", "{placeholder}"),
            ("CLAUDE_CONFIG_DIR", "{work}"),
            ("CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC", "1"),
        ],
        without: CLAUDE_WITHOUT,
        ..NOTHING
    },
    Client {
        name: "MCP server of Claude Code",
        program: "claude",
        with: Some("curl"),
        arguments: &[
            "-p",
            QUESTION,
            "--strict-mcp-config",
            "--mcp-config",
            "servers.json",
        ],
        variables: &[
            ("ANTHROPIC_BASE_URL", "https://{model}"),
            ("ANTHROPIC_API_KEY", "none"),
            ("CLAUDE_CONFIG_DIR", "{work}"),
            ("CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC", "1"),
        ],
        without: CLAUDE_WITHOUT,
        file: Some(("servers.json", CLAUDE_SERVERS)),
        remedies: WRAPPED,
        ..NOTHING
    },
    Client {
        name: "Codex",
        program: "codex",
        arguments: &[
            "exec",
            "--skip-git-repo-check",
            "-c",
            "model_provider=\"doctor\"",
            "-c",
            "model_providers.doctor={name=\"doctor\",base_url=\"{url}\",env_key=\"CODEX_API_KEY\",wire_api=\"responses\",request_max_retries=0,stream_max_retries=0}",
            QUESTION,
        ],
        variables: &[("CODEX_API_KEY", "{placeholder}"), ("CODEX_HOME", "{work}")],
        ..NOTHING
    },
    Client {
        name: "MCP server of Codex",
        program: "codex",
        with: Some("curl"),
        arguments: &[
            "exec",
            "--skip-git-repo-check",
            "-c",
            "model_provider=\"doctor\"",
            "-c",
            "model_providers.doctor={name=\"doctor\",base_url=\"https://{model}\",env_key=\"CODEX_API_KEY\",wire_api=\"responses\",request_max_retries=0,stream_max_retries=0}",
            "-c",
            "mcp_servers.doctor.command=\"env\"",
            "-c",
            "mcp_servers.doctor.args=[\"-u\",\"CURL_CA_BUNDLE\",\"curl\",\"-sS\",\"--max-time\",\"20\",\"-o\",\"/dev/null\",\"-H\",\"Authorization: Bearer {placeholder}\",\"{url}\"]",
            "-c",
            "mcp_servers.doctor.required=true",
            QUESTION,
        ],
        variables: &[("CODEX_API_KEY", "none"), ("CODEX_HOME", "{work}")],
        remedies: WRAPPED,
        ..NOTHING
    },
    Client {
        name: "Gemini CLI",
        program: "gemini",
        arguments: &["--skip-trust", "-m", "gemini-2.5-flash", "-p", QUESTION],
        variables: &[
            ("GOOGLE_GEMINI_BASE_URL", "{url}"),
            ("GEMINI_API_KEY", "{placeholder}"),
            ("HOME", "{work}"),
        ],
        without: GEMINI_WITHOUT,
        file: Some((".gemini/settings.json", GEMINI)),
        ..NOTHING
    },
    Client {
        name: "MCP server of Gemini CLI",
        program: "gemini",
        with: Some("curl"),
        arguments: &["--skip-trust", "-m", "gemini-2.5-flash", "-p", QUESTION],
        variables: &[
            ("GOOGLE_GEMINI_BASE_URL", "https://{model}"),
            ("GEMINI_API_KEY", "none"),
            ("HOME", "{work}"),
        ],
        without: GEMINI_WITHOUT,
        file: Some((".gemini/settings.json", GEMINI_SERVERS)),
        remedies: WRAPPED,
        ..NOTHING
    },
];
