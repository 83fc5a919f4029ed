//! What to do with a credential that was just saved.

use askama::Template;
use axum::extract::{Path, RawQuery, State};
use axum::response::Response;

use super::facts::Asked;
use super::remarks;
use crate::admin::AdminContext;
use crate::page::failure::Failure;
use crate::page::fields::{Fields, Wrong};
use crate::page::layout::{self, Layout, Section};
use crate::page::person::Person;
use crate::policy::location::{BodyField, LocationRule};
use crate::vault::rights::Right;
use crate::vault::{Credential, Kind};

#[derive(Template)]
#[template(path = "start.html")]
pub(super) struct StartPage<'a> {
    layout: Layout,
    path: String,
    slug: String,
    is_new: bool,
    placeholders: Vec<String>,
    remarks: Vec<String>,
    examples: Vec<Example>,
    /// Where *Test it* sends its request; empty where nobody can.
    url: String,
    /// What came of it.
    said: String,
    wrong: &'a Wrong,
}

struct Example {
    id: &'static str,
    label: &'static str,
    code: String,
}

pub(super) async fn show(
    State(context): State<AdminContext>,
    person: Person,
    Path((owner, slug)): Path<(String, String)>,
    RawQuery(query): RawQuery,
) -> Result<Response, Failure> {
    let fields = Fields::parse(query.unwrap_or_default().as_bytes());
    let asked = Asked::of(&context, &person, &owner, &slug).await?;
    let wrong = Wrong::default();
    let url = request(&asked.credential).url;
    let url = Some(url).filter(|url| url.starts_with("https://") && asked.may(Right::Own));
    let mut page = page(
        &person,
        &asked,
        &url.unwrap_or_default(),
        String::new(),
        &wrong,
    );
    page.is_new = fields.is_ticked("saved");
    page.remarks = remarks::meaning(fields.text("remarks"));
    Ok(layout::page(&page))
}

/// The page, with what came of a test.
pub(super) fn page<'a>(
    person: &Person,
    asked: &Asked,
    url: &str,
    said: String,
    wrong: &'a Wrong,
) -> StartPage<'a> {
    let credential = &asked.credential;
    let slug = credential.slug.to_string();
    StartPage {
        layout: Layout::new(format!("Use {slug}"), Section::Credentials, person),
        path: asked.path(),
        slug,
        is_new: false,
        placeholders: placeholders(credential),
        remarks: Vec::new(),
        examples: examples(credential),
        url: url.to_owned(),
        said,
        wrong,
    }
}

/// The header field that carries the placeholder, if one does.
pub(super) fn field(credential: &Credential) -> Option<String> {
    let (name, value) = request(credential).header?;
    Some(format!("{name}: {value}"))
}

fn placeholders(credential: &Credential) -> Vec<String> {
    let slug = &credential.slug;
    let references = credential.references();
    references
        .map(|field| match field {
            Some(field) => format!("<<{slug}.{field}>>"),
            None => format!("<<{slug}>>"),
        })
        .collect()
}

/// A request that carries the placeholder where the limits allow it.
struct Request {
    url: String,
    /// Name and value of a header.
    header: Option<(String, String)>,
}

fn request(credential: &Credential) -> Request {
    let slug = &credential.slug;
    let host = credential.grant.hosts.first().map(ToString::to_string);
    let host = host.unwrap_or_default().replace("*.", "www.");
    let base = match host.contains("://") {
        true => format!("{host}/"),
        false => format!("https://{host}/"),
    };
    let plain = match credential.kind {
        Kind::Login => format!("<<{slug}.password>>"),
        Kind::Secret | Kind::Fields => placeholders(credential).remove(0),
    };
    let in_header = |name: &str, value: String| Request {
        url: base.clone(),
        header: Some((name.to_owned(), value)),
    };
    match credential.grant.locations.first() {
        Some(LocationRule::Query(name)) => {
            let name = name.as_deref().unwrap_or("key");
            Request {
                url: format!("{base}?{name}={plain}"),
                header: None,
            }
        }
        Some(LocationRule::Path) => Request {
            url: format!("{base}{plain}"),
            header: None,
        },
        Some(LocationRule::Header(Some(name))) if name != "authorization" => in_header(name, plain),
        Some(LocationRule::Body(
            BodyField::Whole | BodyField::Field(_) | BodyField::Pointer(_),
        )) => Request {
            url: base,
            header: None,
        },
        _ if credential.kind == Kind::Login => in_header(
            "Authorization",
            format!("Basic <<{slug}.username>>:{plain}"),
        ),
        _ => in_header("Authorization", format!("Bearer {plain}")),
    }
}

fn examples(credential: &Credential) -> Vec<Example> {
    let Request { url, header } = request(credential);
    let (curl, python, node) = match &header {
        Some((name, value)) => (
            format!("curl -H '{name}: {value}' '{url}'"),
            format!("requests.get(\"{url}\",\n    headers={{\"{name}\": \"{value}\"}})"),
            format!("await fetch(\"{url}\", {{\n  headers: {{ \"{name}\": \"{value}\" }},\n}});"),
        ),
        None => (
            format!("curl '{url}'"),
            format!("requests.get(\"{url}\")"),
            format!("await fetch(\"{url}\");"),
        ),
    };
    let variable = credential
        .slug
        .as_str()
        .to_ascii_uppercase()
        .replace('-', "_");
    let placeholder = placeholders(credential).remove(0);
    let mcp = serde_json::json!({"mcpServers": {credential.slug.as_str(): {
        "command": "egret",
        "args": ["run", "--", "npx", "-y", "YOUR-MCP-SERVER"],
        "env": {variable: placeholder},
    }}});
    let mcp = serde_json::to_string_pretty(&mcp).unwrap_or_default();
    vec![
        Example {
            id: "curl",
            label: "curl",
            code: format!("egret run --action try-it -- {curl}"),
        },
        Example {
            id: "python",
            label: "Python",
            code: format!(
                "# egret run --action try-it -- python3 app.py\nimport requests\n{python}"
            ),
        },
        Example {
            id: "node",
            label: "Node",
            code: format!("// egret run --action try-it -- node app.mjs\n{node}"),
        },
        Example {
            id: "mcp",
            label: "MCP server",
            code: mcp,
        },
    ]
}
