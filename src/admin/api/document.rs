//! The OpenAPI document: what each endpoint says of itself, and what holds for all.

use serde_json::{Map, Value, json};
use utoipa::openapi::{InfoBuilder, OpenApi, OpenApiBuilder};

use crate::admin::problem::{MEDIA_TYPE, Trouble};

/// The document before the endpoints are in it.
pub(super) fn empty() -> OpenApi {
    let info = InfoBuilder::new()
        .title("Egret")
        .version("v1")
        .description(Some(DESCRIPTION));
    OpenApiBuilder::new().info(info).build()
}

const DESCRIPTION: &str = "Everything that a command can do. Values go in and never come out: no \
     answer holds a value or anything derived from one. Times are in UTC (RFC 3339). A list has pages: \
     `after` takes the `next` of the page before. A change needs the `ETag` of what it changes in \
     `If-Match`, and something new `If-None-Match: *`. Errors are problem documents (RFC 9457) with a \
     `code`, and an entry in `errors` for each member that is wrong. What the caller may not know of \
     is answered with 404, like what is not there.";

/// Answers that every endpoint may give.
const EVERYWHERE: &[Trouble] = &[
    Trouble::Malformed,
    Trouble::Unauthenticated,
    Trouble::Forbidden,
    Trouble::NotFound,
    Trouble::UnknownName,
    Trouble::Invalid,
    Trouble::TooMany,
    Trouble::StoreUnavailable,
    Trouble::TimedOut,
];

/// What answers to requests that succeed are.
const SUCCESSES: [(&str, &str); 3] = [
    ("200", "What was asked for"),
    ("201", "What was made"),
    ("204", "It is gone"),
];

/// Answers that a change may give, too.
const OF_CHANGES: &[Trouble] = &[
    Trouble::Conflict,
    Trouble::PreconditionFailed,
    Trouble::TooLarge,
    Trouble::UnsupportedType,
    Trouble::PreconditionRequired,
];

/// The whole document: with errors, security and the fields that changes need.
pub(super) fn complete(document: &OpenApi) -> String {
    // A document of texts can be written.
    let mut document = serde_json::to_value(document).unwrap_or_default();
    let paths = document["paths"].as_object_mut();
    for (_, item) in paths.into_iter().flatten() {
        for (method, operation) in item.as_object_mut().into_iter().flatten() {
            complete_operation(method, operation);
        }
    }
    let schemas = document["components"]["schemas"].as_object_mut();
    for (name, schema) in schemas.into_iter().flatten() {
        // Members that are unknown are refused.
        if name.ends_with("Input") {
            schema["additionalProperties"] = json!(false);
        }
    }
    let components = document["components"].as_object_mut();
    if let Some(components) = components {
        components.insert("securitySchemes".to_owned(), security_schemes());
        components.insert("responses".to_owned(), responses());
        components["schemas"]["Problem"] = problem();
    }
    document["security"] = json!([{ "api_token": [] }, { "session": [] }]);
    serde_json::to_string_pretty(&document).unwrap_or_default() + "\n"
}

fn complete_operation(method: &str, operation: &mut Value) {
    let is_change = method != "get";
    let is_new = operation["responses"].get("201").is_some();
    let mut parameters = match operation["parameters"].take() {
        Value::Array(parameters) => parameters,
        _ => Vec::new(),
    };
    if is_new && method == "put" {
        let what = "`*`: it must not be there yet.";
        parameters.push(header("If-None-Match", what, "^\\*$"));
    } else if is_change && !is_new && !is_unconditional(&operation["operationId"]) {
        let what = "The `ETag` of what is changed, or `*` for whatever is there.";
        parameters.push(header("If-Match", what, "^(\\*|\"r[0-9]+\")$"));
    }
    operation["parameters"] = parameters.into();
    let troubles = EVERYWHERE.iter();
    let changes = OF_CHANGES.iter().filter(|_| is_change);
    let statuses = troubles
        .chain(changes)
        .map(|trouble| trouble.status().as_u16().to_string());
    // Beside those that an endpoint says itself.
    let own = operation["responses"].as_object();
    let own = own.into_iter().flatten().map(|(status, _)| status.clone());
    let own: Vec<String> = own.filter(|status| status.as_str() >= "400").collect();
    for status in statuses.chain(own) {
        let reference = json!({ "$ref": format!("#/components/responses/{status}") });
        operation["responses"][status] = reference;
    }
    for (status, description) in SUCCESSES {
        let Some(response) = operation["responses"].get_mut(status) else {
            continue;
        };
        // Generators refuse an answer without one.
        response["description"] = description.into();
        if response["content"].is_object() {
            response["headers"] = json!({ "ETag": {
                "description": "For `If-Match`, where one thing is shown.",
                "schema": { "type": "string" },
            } });
        }
    }
}

/// Whether a change needs no entity tag: what it changes is there or not, or is answered once.
fn is_unconditional(operation: &Value) -> bool {
    let known = [
        "delete_api_token",
        "answer_approval",
        "remove_approval",
        "decline_key_request",
        "remove_rule",
        "plan_declared",
        "apply_declared",
        "probe_version",
        "check_ledger",
    ];
    known.iter().any(|name| operation == name)
}

fn header(name: &str, description: &str, pattern: &str) -> Value {
    json!({
        "name": name,
        "in": "header",
        "required": true,
        "description": description,
        "schema": { "type": "string", "pattern": pattern },
    })
}

fn security_schemes() -> Value {
    json!({
        "api_token": {
            "type": "http",
            "scheme": "bearer",
            "description": "A personal API token (egp_…).",
        },
        "client_token": {
            "type": "http",
            "scheme": "bearer",
            "description": "The token of a client (egc_…).",
        },
        "session": {
            "type": "apiKey",
            "in": "cookie",
            "name": "egret_session",
            "description": "The cookie of somebody who signed in on the page; its name has the port.",
        },
    })
}

/// The problem documents by their status.
fn responses() -> Value {
    let mut by_status: Map<String, Value> = Map::new();
    for trouble in EVERYWHERE.iter().chain(OF_CHANGES) {
        let status = trouble.status().as_u16().to_string();
        by_status.insert(
            status,
            json!({
                "description": trouble.title(),
                "content": { MEDIA_TYPE: { "schema": { "$ref": "#/components/schemas/Problem" } } },
            }),
        );
    }
    by_status.into()
}

fn problem() -> Value {
    let text = json!({ "type": "string" });
    let codes: Vec<_> = Trouble::ALL
        .iter()
        .map(|trouble| trouble.as_str())
        .collect();
    json!({
        "type": "object",
        "description": "What is wrong with a request (RFC 9457). Never a word of what was sent.",
        "required": ["type", "title", "status", "code", "request_id"],
        "properties": {
            "type": text,
            "title": text,
            "status": { "type": "integer" },
            "code": { "type": "string", "enum": codes },
            "detail": text,
            "request_id": text,
            "errors": {
                "type": "array",
                "items": {
                    "type": "object",
                    "required": ["field", "detail"],
                    "properties": { "field": text, "detail": text },
                },
            },
        },
    })
}
