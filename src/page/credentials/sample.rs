//! A request that carries a credential's placeholder where its limits allow it: what examples show, and
//! what *Test it* proposes.

use crate::policy::location::{BodyField, LocationRule};
use crate::vault::{Credential, Kind, Principal};

/// A request with a placeholder.
pub(super) struct Sample {
    pub(super) method: String,
    pub(super) url: String,
    /// A header field, as `NAME: VALUE`; empty for none.
    pub(super) header: String,
    /// The media type of the body; empty for none.
    pub(super) media_type: &'static str,
    pub(super) body: String,
    pub(super) action: String,
}

/// The action of a sample, where the limits name none.
const ACTION: &str = "try-it";

const FORM: &str = "application/x-www-form-urlencoded";
const JSON: &str = "application/json";
const TEXT: &str = "text/plain";
/// The media types that a body can have.
pub(super) const MEDIA_TYPES: [&str; 3] = [JSON, FORM, TEXT];

/// What requests write where the value belongs: one placeholder, or one for each field.
pub(super) fn placeholders(credential: &Credential) -> Vec<String> {
    let slug = &credential.slug;
    let references = credential.references();
    references
        .map(|field| match field {
            Some(field) => format!("<<{slug}.{field}>>"),
            None => format!("<<{slug}>>"),
        })
        .collect()
}

/// The placeholder that stands for the secret part.
fn placeholder(credential: &Credential) -> String {
    match credential.kind {
        Kind::Login => format!("<<{}.password>>", credential.slug),
        Kind::Secret | Kind::Fields => placeholders(credential).remove(0),
    }
}

impl Sample {
    /// A request that the limits of the credential allow.
    pub(super) fn of(credential: &Credential) -> Self {
        let grant = &credential.grant;
        let host = grant.hosts.first().map(ToString::to_string);
        let host = host.unwrap_or_default().replace("*.", "www.");
        let base = if host.contains("://") {
            host
        } else {
            format!("https://{host}")
        };
        let path = grant.paths.first().map(ToString::to_string);
        let named = |names: &[String]| names.first().filter(|name| *name != "*").cloned();
        let sample = Self {
            method: named(&grant.methods).unwrap_or_default(),
            url: base + path.as_deref().unwrap_or("/"),
            header: String::new(),
            media_type: "",
            body: String::new(),
            action: named(&grant.actions).unwrap_or_else(|| ACTION.to_owned()),
        };
        sample.with_placeholder(credential).with_method()
    }

    fn with_placeholder(mut self, credential: &Credential) -> Self {
        let plain = placeholder(credential);
        match credential.grant.locations.first() {
            Some(LocationRule::Query(name)) => {
                let name = name.as_deref().unwrap_or("key");
                self.url = format!("{}?{name}={plain}", self.url);
            }
            Some(LocationRule::Path) => {
                let slash = if self.url.ends_with('/') { "" } else { "/" };
                self.url = format!("{}{slash}{plain}", self.url);
            }
            Some(LocationRule::Body(field)) => {
                (self.media_type, self.body) = body(field, &plain);
            }
            Some(LocationRule::Header(Some(name))) if name != "authorization" => {
                self.header = format!("{name}: {plain}");
            }
            _ if credential.kind == Kind::Login => {
                let user = format!("<<{}.username>>", credential.slug);
                self.header = format!("Authorization: Basic {user}:{plain}");
            }
            _ => self.header = format!("Authorization: Bearer {plain}"),
        }
        self
    }

    /// With the usual method, where the limits name none.
    fn with_method(mut self) -> Self {
        if self.method.is_empty() {
            let usual = if self.body.is_empty() { "GET" } else { "POST" };
            usual.clone_into(&mut self.method);
        }
        self
    }
}

/// A body with a placeholder at a place.
fn body(field: &BodyField, placeholder: &str) -> (&'static str, String) {
    match field {
        BodyField::Whole => (TEXT, placeholder.to_owned()),
        BodyField::Field(name) => (FORM, format!("{name}={placeholder}")),
        BodyField::Pointer(pointer) => {
            let names = pointer.split('/').skip(1);
            let unescaped = names.map(|name| name.replace("~1", "/").replace("~0", "~"));
            let value = serde_json::Value::from(placeholder);
            let nest = |inner: serde_json::Value, name: String| serde_json::json!({ name: inner });
            let json = unescaped.collect::<Vec<_>>().into_iter().rfold(value, nest);
            (JSON, json.to_string())
        }
    }
}

/// An example for one kind of program.
pub(super) struct Example {
    pub(super) id: &'static str,
    pub(super) label: &'static str,
    pub(super) code: String,
}

/// The same request for several programs of a user. Without the name, `egret run` is for `default`.
pub(super) fn examples(credential: &Credential, user: &Principal) -> Vec<Example> {
    let sample = Sample::of(credential);
    let action = shell(&sample.action);
    let run = format!("egret run --principal {user} --action {action} --");
    let example = |id, label, code| Example { id, label, code };
    vec![
        example("curl", "curl", format!("{run} {}", curl(&sample))),
        example(
            "python",
            "Python",
            format!(
                "# {run} python3 app.py\nimport requests\n{}",
                python(&sample)
            ),
        ),
        example(
            "node",
            "Node",
            format!("// {run} node app.mjs\n{}", node(&sample)),
        ),
        example("mcp", "MCP server", mcp_server(credential, user)),
    ]
}

/// A word for a shell.
fn shell(text: &str) -> String {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._/:@".contains(&byte);
    if text.bytes().all(is_plain) && !text.is_empty() {
        text.to_owned()
    } else {
        format!("'{}'", text.replace('\'', r"'\''"))
    }
}

/// The header fields of a sample: its own, and the media type of its body.
fn fields(sample: &Sample) -> Vec<(&str, &str)> {
    let media_type = Some(("Content-Type", sample.media_type));
    let own = sample.header.split_once(": ");
    let media_type = media_type.filter(|(_, media_type)| !media_type.is_empty());
    own.into_iter().chain(media_type).collect()
}

fn curl(sample: &Sample) -> String {
    let mut command = "curl".to_owned();
    let usual = if sample.body.is_empty() {
        "GET"
    } else {
        "POST"
    };
    if sample.method == "HEAD" {
        command.push_str(" --head");
    } else if sample.method != usual {
        command.push_str(&format!(" -X {}", shell(&sample.method)));
    }
    for (name, value) in fields(sample) {
        command.push_str(&format!(" -H {}", shell(&format!("{name}: {value}"))));
    }
    if !sample.body.is_empty() {
        command.push_str(&format!(" -d {}", shell(&sample.body)));
    }
    format!("{command} '{}'", sample.url)
}

/// A text as Python, JavaScript and JSON write it.
fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

fn python(sample: &Sample) -> String {
    let mut arguments = vec![quoted(&sample.method), quoted(&sample.url)];
    let fields = fields(sample);
    if !fields.is_empty() {
        let fields: Vec<_> = fields
            .iter()
            .map(|(name, value)| format!("{}: {}", quoted(name), quoted(value)))
            .collect();
        arguments.push(format!("headers={{{}}}", fields.join(", ")));
    }
    if !sample.body.is_empty() {
        arguments.push(format!("data={}", quoted(&sample.body)));
    }
    format!("requests.request({})", arguments.join(",\n    "))
}

fn node(sample: &Sample) -> String {
    let mut lines = Vec::new();
    if sample.method != "GET" {
        lines.push(format!("  method: {},\n", quoted(&sample.method)));
    }
    let fields = fields(sample);
    if !fields.is_empty() {
        let fields: Vec<_> = fields
            .iter()
            .map(|(name, value)| format!("{}: {}", quoted(name), quoted(value)))
            .collect();
        lines.push(format!("  headers: {{ {} }},\n", fields.join(", ")));
    }
    if !sample.body.is_empty() {
        lines.push(format!("  body: {},\n", quoted(&sample.body)));
    }
    let url = quoted(&sample.url);
    if lines.is_empty() {
        format!("await fetch({url});")
    } else {
        format!("await fetch({url}, {{\n{}}});", lines.concat())
    }
}

fn mcp_server(credential: &Credential, user: &Principal) -> String {
    let slug = credential.slug.as_str();
    let variable = slug.to_ascii_uppercase().replace('-', "_");
    let placeholder = placeholder(credential);
    // Slugs, users and placeholders have no character that JSON or a shell reads otherwise.
    format!(
        r#"{{
  "mcpServers": {{
    "{slug}": {{
      "command": "egret",
      "args": ["run", "--principal", "{user}", "--", "npx", "-y", "YOUR-MCP-SERVER"],
      "env": {{ "{variable}": "{placeholder}" }}
    }}
  }}
}}"#
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(header: &str, media_type: &'static str, body: &str) -> Sample {
        Sample {
            method: if body.is_empty() { "GET" } else { "POST" }.to_owned(),
            url: "https://a.example/v1".to_owned(),
            header: header.to_owned(),
            media_type,
            body: body.to_owned(),
            action: "weekly report".to_owned(),
        }
    }

    #[test]
    fn a_body_has_the_placeholder_at_its_place() {
        let at = |field: BodyField| body(&field, "<<k>>");
        assert_eq!(at(BodyField::Whole), (TEXT, "<<k>>".to_owned()));
        assert_eq!(
            at(BodyField::Field("client_secret".to_owned())),
            (FORM, "client_secret=<<k>>".to_owned())
        );
        assert_eq!(
            at(BodyField::Pointer("/auth/a~1b".to_owned())),
            (JSON, r#"{"auth":{"a/b":"<<k>>"}}"#.to_owned())
        );
    }

    #[test]
    fn programs_get_the_same_request() {
        let get = sample("X-Key: <<k>>", "", "");
        assert_eq!(curl(&get), "curl -H 'X-Key: <<k>>' 'https://a.example/v1'");
        let post = sample("", JSON, r#"{"it's":"<<k>>"}"#);
        assert_eq!(
            curl(&post),
            r#"curl -H 'Content-Type: application/json' -d '{"it'\''s":"<<k>>"}' 'https://a.example/v1'"#
        );
        assert!(python(&post).contains(r#"data="{\"it's\":\"<<k>>\"}""#));
        assert!(node(&post).contains("method: \"POST\""));
        assert_eq!(
            node(&sample("", "", "")),
            "await fetch(\"https://a.example/v1\");"
        );
        assert_eq!(shell("weekly report"), "'weekly report'");
    }
}
