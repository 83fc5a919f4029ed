//! MCP configurations of assistants in which `egret run` starts the server.
//!
//! Assistants give their MCP servers a filtered environment: the proxy's address or the CA would be
//! lost on the way. A server that `egret run` starts gets both from there.

use clap::ValueEnum;
use serde_json::json;

/// An assistant, or another program that starts MCP servers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum Assistant {
    /// A configuration with `mcpServers`, as Claude Desktop, Cursor and others read it
    Mcp,
    /// Claude Code: .mcp.json
    Claude,
    /// Codex: ~/.codex/config.toml
    Codex,
    /// Gemini CLI: .gemini/settings.json
    Gemini,
    /// Visual Studio Code: .vscode/mcp.json
    Vscode,
}

/// A server that an assistant is to start.
pub(super) struct Server<'a> {
    /// Its name there, and what the ledger calls its requests.
    pub(super) name: &'a str,
    /// Where Egret keeps its data, if that was named.
    pub(super) places: &'a [String],
    /// Whether it is isolated.
    pub(super) is_isolated: bool,
    /// The program and its arguments.
    pub(super) command: &'a [String],
}

impl Server<'_> {
    /// The arguments of `egret`.
    fn arguments(&self) -> Vec<&str> {
        let mut arguments = vec!["run"];
        arguments.extend(self.places.iter().map(String::as_str));
        arguments.extend(["--action", self.name]);
        if self.is_isolated {
            arguments.push("--isolate");
        }
        arguments.push("--");
        arguments.extend(self.command.iter().map(String::as_str));
        arguments
    }

    /// What to put into the assistant's file.
    pub(super) fn configuration(&self, assistant: Assistant) -> String {
        let (name, arguments) = (self.name, self.arguments());
        let plain = json!({"command": "egret", "args": arguments});
        let typed = json!({"type": "stdio", "command": "egret", "args": arguments});
        let whole = match assistant {
            Assistant::Mcp | Assistant::Gemini => json!({"mcpServers": {name: plain}}),
            Assistant::Claude => json!({"mcpServers": {name: typed}}),
            Assistant::Vscode => json!({"servers": {name: typed}}),
            Assistant::Codex => return toml_table(name, &arguments),
        };
        format!("{whole:#}\n")
    }
}

fn toml_table(name: &str, arguments: &[&str]) -> String {
    let quoted = |text: &str| toml::Value::from(text).to_string();
    let arguments: Vec<String> = arguments.iter().map(|text| quoted(text)).collect();
    format!(
        "[mcp_servers.{}]\ncommand = \"egret\"\nargs = [{}]\n",
        quoted(name),
        arguments.join(", ")
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_assistant_gets_a_file_that_its_parser_reads() {
        let command = ["npx".to_owned(), "a \"b\" 'c'".to_owned()];
        let server = Server {
            name: "git hub",
            places: &["--data-dir".to_owned(), "/my data".to_owned()],
            is_isolated: true,
            command: &command,
        };
        let expected = [
            "run",
            "--data-dir",
            "/my data",
            "--action",
            "git hub",
            "--isolate",
            "--",
            "npx",
            "a \"b\" 'c'",
        ];
        for (assistant, key) in [
            (Assistant::Mcp, "mcpServers"),
            (Assistant::Claude, "mcpServers"),
            (Assistant::Gemini, "mcpServers"),
            (Assistant::Vscode, "servers"),
        ] {
            let text = server.configuration(assistant);
            let read: serde_json::Value = serde_json::from_str(&text).unwrap();
            assert_eq!(read[key]["git hub"]["command"], "egret");
            assert_eq!(read[key]["git hub"]["args"], json!(expected));
        }
        let read: toml::Table = server.configuration(Assistant::Codex).parse().unwrap();
        let server = &read["mcp_servers"]["git hub"];
        assert_eq!(server["args"], toml::Value::from(expected.to_vec()));
    }
}
