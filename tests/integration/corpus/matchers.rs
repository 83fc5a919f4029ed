//! The matchers of the cases: each compares one aspect of the request that arrived at the upstream.

use std::fmt::Debug;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;

use crate::leak;
use crate::wire::{Framing, Request, values};

use super::case::b64;
use super::judge::Facts;

/// Checks one matcher of an expectation.
pub fn check(matcher: &str, wanted: &Value, facts: &Facts) -> Result<(), String> {
    match matcher {
        // Judged with the outcome.
        "outcome" | "code" | "codes" | "addresses" => return Ok(()),
        "status" => return status(wanted, facts),
        "targets" => {
            let targets: Vec<Value> = facts
                .requests
                .iter()
                .map(|r| r.target.as_str().into())
                .collect();
            return equal(&Value::from(targets), wanted);
        }
        "upstream_connection_has_exactly_one_request" => {
            return equal(
                &(facts.requests.len() == 1),
                &wanted.as_bool().expect("a flag"),
            );
        }
        _ => {}
    }
    let request = facts.requests.first().ok_or("nothing arrived upstream")?;
    match matcher {
        "target" => equal(&Value::from(request.target.as_str()), wanted),
        "path" => equal(&Value::from(request.path()), wanted),
        "path_segments_b64" => path_segments(request, wanted),
        "query" => pairs(request.query().as_bytes(), wanted),
        "headers_include" => headers_include(request, wanted),
        "headers_exclude" => headers_exclude(request, wanted),
        "headers_exclude_or_equal" => headers_exclude_or_equal(request, wanted),
        "headers_never_contain_secret_of" => headers_never_contain(request, wanted, facts),
        "cookie_pairs" => cookie_pairs(request, wanted),
        "basic_auth" => basic_auth(request, wanted),
        "body_b64" => equal(&lossy(&request.body), &lossy(&b64(text(wanted)))),
        "body_unchanged" => Err("only with the request's own body: not in the corpus yet".into()),
        "body_contains_b64" => {
            let there = memchr::memmem::find(&request.body, &b64(text(wanted))).is_some();
            there.then_some(()).ok_or_else(|| lossy(&request.body))
        }
        "body_json" => {
            let body: Value = serde_json::from_slice(&request.body)
                .map_err(|e| format!("{e}: {}", lossy(&request.body)))?;
            equal(&body, wanted)
        }
        "body_form" => pairs(&request.body, wanted),
        "body_xml_text" => xml_text(request, wanted),
        "content_length_correct" => match request.framing {
            // The reader reads exactly as many bytes as were announced. That no byte is left over
            // is checked for every case.
            Framing::Length(n) if n == request.body.len() as u64 => Ok(()),
            // The length of a streamed body is not known in advance.
            Framing::Chunked if facts.mode.is_streamed() => Ok(()),
            ref framing => Err(format!("{framing:?} with {} bytes", request.body.len())),
        },
        "single_content_length" => {
            let chunked = facts.mode.is_streamed() && request.framing == Framing::Chunked;
            let lengths = values(&request.headers, "content-length").len();
            equal(&lengths, &usize::from(!chunked))
        }
        _ => Err("an unknown matcher".to_owned()),
    }
}

fn equal<T: PartialEq + Debug + ?Sized>(found: &T, wanted: &T) -> Result<(), String> {
    if found == wanted {
        return Ok(());
    }
    let mut message = format!("{found:?} is not {wanted:?}");
    if message.len() > 600 {
        message.truncate(
            message
                .char_indices()
                .map(|(at, _)| at)
                .nth(500)
                .unwrap_or(0),
        );
        message.push('…');
    }
    Err(message)
}

fn text(value: &Value) -> &str {
    value.as_str().expect("text")
}

fn list(value: &Value) -> &[Value] {
    value.as_array().expect("a list")
}

/// Makes bytes readable, without losing any.
fn lossy(bytes: &[u8]) -> String {
    bytes.escape_ascii().to_string()
}

fn status(wanted: &Value, facts: &Facts) -> Result<(), String> {
    let found = facts.outcome.answers.first().map(|a| Value::from(a.status));
    match found {
        Some(found) if list(wanted).contains(&found) => Ok(()),
        found => Err(format!("{found:?} is not one of {wanted}")),
    }
}

fn percent_decode(text: &[u8], plus_is_space: bool) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut at = 0;
    while at < text.len() {
        let hex = text
            .get(at + 1..at + 3)
            .and_then(|h| std::str::from_utf8(h).ok());
        match (text[at], hex.and_then(|h| u8::from_str_radix(h, 16).ok())) {
            (b'%', Some(byte)) => {
                bytes.push(byte);
                at += 2;
            }
            (b'+', _) if plus_is_space => bytes.push(b' '),
            (byte, _) => bytes.push(byte),
        }
        at += 1;
    }
    bytes
}

fn path_segments(request: &Request, wanted: &Value) -> Result<(), String> {
    let path = request.path().strip_prefix('/').unwrap_or_default();
    let found: Vec<String> = path
        .split('/')
        .map(|s| lossy(&percent_decode(s.as_bytes(), false)))
        .collect();
    let wanted: Vec<String> = list(wanted).iter().map(|s| lossy(&b64(text(s)))).collect();
    equal(&found, &wanted)
}

/// `name=value` pairs joined by `&`, as a form parser reads them.
fn pairs(bytes: &[u8], wanted: &Value) -> Result<(), String> {
    let decode = |part: &[u8]| lossy(&percent_decode(part, true));
    let found: Vec<(String, String)> = bytes
        .split(|b| *b == b'&')
        .map(|pair| {
            let mut parts = pair.splitn(2, |b| *b == b'=');
            let name = decode(parts.next().unwrap_or_default());
            (name, decode(parts.next().unwrap_or_default()))
        })
        .collect();
    let wanted: Vec<(String, String)> = list(wanted)
        .iter()
        .map(|pair| (text(&pair[0]).to_owned(), lossy(&b64(text(&pair[1])))))
        .collect();
    equal(&found, &wanted)
}

fn header_texts(request: &Request, name: &str) -> Vec<String> {
    values(&request.headers, name)
        .into_iter()
        .map(lossy)
        .collect()
}

fn headers_include(request: &Request, wanted: &Value) -> Result<(), String> {
    for header in list(wanted) {
        let (name, value) = (text(&header[0]), lossy(&b64(text(&header[1]))));
        let found = header_texts(request, name);
        if !found.contains(&value) {
            return Err(format!("{name} is {found:?}, not {value:?}"));
        }
    }
    Ok(())
}

fn headers_exclude(request: &Request, wanted: &Value) -> Result<(), String> {
    for name in list(wanted) {
        let found = header_texts(request, text(name));
        if !found.is_empty() {
            return Err(format!("{name} is there: {found:?}"));
        }
    }
    Ok(())
}

fn headers_exclude_or_equal(request: &Request, wanted: &Value) -> Result<(), String> {
    for header in list(wanted) {
        let (name, value) = (text(&header[0]), lossy(&b64(text(&header[1]))));
        let found = header_texts(request, name);
        if !(found.is_empty() || found == [value.clone()]) {
            return Err(format!("{name} is {found:?}, not {value:?}"));
        }
    }
    Ok(())
}

fn headers_never_contain(request: &Request, wanted: &Value, facts: &Facts) -> Result<(), String> {
    for slug in list(wanted) {
        let forms = facts.forms(text(slug));
        for (name, value) in &request.headers {
            if let Some(form) = leak::find(value, forms) {
                return Err(format!("{name} holds the value of {slug} as {form}"));
            }
        }
    }
    Ok(())
}

fn cookie_pairs(request: &Request, wanted: &Value) -> Result<(), String> {
    let cookies = values(&request.headers, "cookie").join(&b"; "[..]);
    let cookies = String::from_utf8_lossy(&cookies).into_owned();
    let found: Vec<(&str, &str)> = cookies
        .split("; ")
        .filter_map(|c| c.split_once('='))
        .collect();
    let wanted: Vec<(String, String)> = list(wanted)
        .iter()
        .map(|p| {
            (
                text(&p[0]).to_owned(),
                String::from_utf8_lossy(&b64(text(&p[1]))).into_owned(),
            )
        })
        .collect();
    let wanted: Vec<(&str, &str)> = wanted
        .iter()
        .map(|(n, v)| (n.as_str(), v.as_str()))
        .collect();
    equal(&found, &wanted)
}

fn basic_auth(request: &Request, wanted: &Value) -> Result<(), String> {
    let header = request.header("authorization").ok_or("no Authorization")?;
    let credentials = header.strip_prefix("Basic ").ok_or("not Basic")?;
    let decoded = STANDARD.decode(credentials).map_err(|e| e.to_string())?;
    let colon = decoded.iter().position(|b| *b == b':').ok_or("no colon")?;
    equal(
        &lossy(&decoded[..colon]),
        &lossy(&b64(text(&wanted["user_b64"]))),
    )?;
    equal(
        &lossy(&decoded[colon + 1..]),
        &lossy(&b64(text(&wanted["pass_b64"]))),
    )
}

fn xml_text(request: &Request, wanted: &Value) -> Result<(), String> {
    use quick_xml::events::Event;
    let document = std::str::from_utf8(&request.body).map_err(|e| e.to_string())?;
    for (element, value) in wanted.as_object().expect("elements") {
        let mut reader = quick_xml::Reader::from_str(document);
        let (mut inside, mut found) = (false, String::new());
        loop {
            match reader.read_event().map_err(|e| e.to_string())? {
                Event::Start(tag) if tag.name().as_ref() == element.as_str() => inside = true,
                Event::End(tag) if tag.name().as_ref() == element.as_str() => inside = false,
                Event::Text(text) if inside => found.push_str(&text),
                Event::GeneralRef(entity) if inside => found.push_str(&entity_text(&entity)?),
                Event::Eof => break,
                _ => {}
            }
        }
        equal(&lossy(found.as_bytes()), &lossy(&b64(text(value))))?;
    }
    Ok(())
}

fn entity_text(entity: &quick_xml::events::BytesRef<'_>) -> Result<String, String> {
    if let Some(c) = entity.resolve_char_ref().map_err(|e| e.to_string())? {
        return Ok(c.to_string());
    }
    let name: &str = entity;
    quick_xml::escape::resolve_predefined_entity(name)
        .map(str::to_owned)
        .ok_or_else(|| format!("an unknown entity {name}"))
}
