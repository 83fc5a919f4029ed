//! Compares what happened with what a case expects. A matcher that is not known is a failure.

use std::time::Duration;

use memchr::memmem;
use serde_json::{Map, Value};

use crate::http2::frames;
use crate::http2::upstream::Reply;
use crate::leak::{self, Form};
use crate::upstream::{Step, Stub};
use crate::wire::{Framing, Headers, Request, Response};

use super::Mode;
use super::case::{AnswerOverHttp2, Case, Forms, b64};
use super::matchers;
use super::play::{Outcome, play};
use super::script::Script;
use super::stage::Set;

/// Everything known after a case was played.
pub struct Facts {
    pub mode: Mode,
    pub outcome: Outcome,
    /// What the upstreams received.
    pub requests: Vec<std::sync::Arc<Request>>,
    /// Every application byte at the upstreams.
    upstream_bytes: Vec<u8>,
    /// Bytes at the upstreams that were not part of a request.
    leftover: usize,
    evil_bytes: usize,
    upstream_connections: usize,
    ledger: Vec<Value>,
    ledger_bytes: Vec<u8>,
    log: Vec<u8>,
    /// Slug and forms of every stored credential.
    pub secrets: Vec<(String, Vec<Form>)>,
}

impl Facts {
    /// The first thing the proxy answered.
    fn answer(&self) -> Option<&Response> {
        self.outcome
            .answers
            .first()
            .or(self.outcome.connect.as_ref())
    }

    /// Whether the request was refused after a part of it had been sent: it never became complete,
    /// which is what the reference promises for a body that is not held.
    fn cut_off(&self) -> bool {
        self.mode.is_streamed()
            && self.requests.is_empty()
            && self.answer().is_some_and(|a| a.egret_error().is_some())
    }

    /// Forms of a slug's value.
    pub fn forms(&self, slug: &str) -> &[Form] {
        let (_, forms) = self
            .secrets
            .iter()
            .find(|(s, _)| s == slug)
            .unwrap_or_else(|| panic!("the case stores no {slug}"));
        forms
    }
}

/// Plays a case, and returns what is wrong with the result.
pub async fn play_and_judge(set: &Set, case: &Case, script: &Script, forms: &Forms) -> Vec<String> {
    prepare(&set.https, case);
    prepare(&set.http, case);
    let ledger_from = set.world.ledger_bytes().len();
    let log_from = set.world.log_bytes().len();
    let (https, http, evil) = (set.https.mark(), set.http.mark(), set.evil.mark());
    let connections = set.https.connections().len() + set.http.connections().len();

    let outcome = play(set, case, script).await;
    settle(set, case, ledger_from).await;

    let ledger_bytes = set.world.ledger_bytes()[ledger_from..].to_vec();
    let mut requests = set.https.take();
    requests.extend(set.http.take());
    let facts = Facts {
        mode: set.mode,
        requests,
        upstream_bytes: [set.https.bytes_since(&https), set.http.bytes_since(&http)].concat(),
        leftover: set.https.leftover_since(&https) + set.http.leftover_since(&http),
        evil_bytes: set.evil.bytes_since(&evil).len(),
        upstream_connections: set.https.connections().len() + set.http.connections().len()
            - connections,
        ledger: crate::world::parse_ledger(&ledger_bytes),
        ledger_bytes,
        log: set.world.log_bytes()[log_from..].to_vec(),
        secrets: case
            .stored()
            .map(|c| (c.slug.clone(), forms.of(c)))
            .collect(),
        outcome,
    };
    let mut problems = judge_expectation(case, &facts);
    problems.extend(judge_client(case, &facts));
    problems.extend(judge_leaks(case, &facts));
    problems.extend(judge_ledger(case, &facts));
    problems.extend(judge_always(case, &facts));
    problems.extend(not_understood(case));
    if case.fault.is_some() {
        problems.extend(super::tamper::tamper(&set.world, case).await);
    }
    problems
}

fn prepare(stub: &Stub, case: &Case) {
    stub.take();
    if let Some(answer) = case.upstream_response.as_ref().and_then(|a| a.h2.clone()) {
        return prepare_http2(stub, &answer);
    }
    let Some(answer) = case.answer() else { return };
    let head = memmem::find(&answer, b"\r\n\r\n").map_or(&answer[..], |at| &answer[..at]);
    let head = String::from_utf8_lossy(head).to_ascii_lowercase();
    let delimited = head.contains("\r\ncontent-length:") || head.contains("\r\ntransfer-encoding:");
    let mut steps = vec![Step::Send(answer)];
    if !delimited {
        steps.push(Step::Close);
    }
    stub.steps(steps);
}

fn prepare_http2(stub: &Stub, answer: &AnswerOverHttp2) {
    let fields = |list: &[(String, String)]| -> Headers {
        list.iter()
            .map(|(n, v)| (n.clone(), v.clone().into_bytes()))
            .collect()
    };
    let response = Response {
        status: answer.status,
        version: "HTTP/2".to_owned(),
        headers: fields(&answer.headers),
        framing: Framing::None,
        body: b64(&answer.body_b64),
    };
    let reply = Reply::Answer(response, fields(&answer.trailers));
    stub.serve_http2(move |_, _| std::future::ready(vec![reply.clone()]));
}

/// Waits for the ledger lines that a case expects; they may be written shortly after the answer.
async fn settle(set: &Set, case: &Case, from: usize) {
    let expected = case.ledger.as_ref().map_or(0, Vec::len);
    for _ in 0..100 {
        let lines = crate::world::parse_ledger(&set.world.ledger_bytes()[from..]);
        if lines.iter().filter(|l| is_decision(l)).count() >= expected {
            return;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

fn is_decision(line: &Value) -> bool {
    line["event"] == "use" || line["event"] == "denied"
}

fn judge_expectation(case: &Case, facts: &Facts) -> Vec<String> {
    let mut reasons = Vec::new();
    for alternative in &case.expect.any_of {
        match judge_alternative(case, alternative, facts) {
            problems if problems.is_empty() => return Vec::new(),
            problems => reasons.push(format!(
                "not {}: {}",
                alternative["outcome"],
                problems.join("; ")
            )),
        }
    }
    let answer = facts.answer().map_or("none".to_owned(), |a| {
        format!(
            "{} {:?} {}",
            a.status,
            a.egret_error(),
            first_bytes(&a.text())
        )
    });
    let targets: Vec<&str> = facts
        .requests
        .iter()
        .map(|r| r.target.as_str())
        .map(first_bytes)
        .collect();
    reasons.push(format!(
        "what happened: answer {answer}; upstream got {targets:?}; connection {:?}, {:?}, closed: {}",
        facts.outcome.broken, facts.outcome.stream_error, facts.outcome.closed
    ));
    reasons
}

fn first_bytes(text: &str) -> &str {
    let end = text
        .char_indices()
        .map(|(at, _)| at)
        .nth(300)
        .unwrap_or(text.len());
    &text[..end]
}

fn judge_alternative(case: &Case, alternative: &Map<String, Value>, facts: &Facts) -> Vec<String> {
    let mut problems = judge_outcome(case, alternative, facts);
    for (matcher, wanted) in alternative {
        if let Err(why) = matchers::check(matcher, wanted, facts) {
            problems.push(format!("{matcher}: {why}"));
        }
    }
    problems
}

fn judge_outcome(case: &Case, alternative: &Map<String, Value>, facts: &Facts) -> Vec<String> {
    let mut problems = Vec::new();
    let mut must = |is_so: bool, otherwise: String| {
        if !is_so {
            problems.push(otherwise);
        }
    };
    let seen = facts.requests.len();
    match alternative["outcome"].as_str().expect("outcome") {
        "forwarded" => {
            must(seen == 1, format!("{seen} requests upstream"));
            must(facts.answer().is_some(), "no answer".into());
            // For an answer that cannot be relayed, the proxy answers with an error after the
            // request was forwarded.
            let status = case.client.get("status");
            let may_fail = status.is_some_and(|s| s.is_null() || *s == 502);
            let error = facts.answer().and_then(Response::egret_error);
            must(
                may_fail || error.is_none(),
                format!("Egret-Error {error:?}"),
            );
        }
        "forwarded_sequence" => must(
            facts.outcome.answers.len() == case.responses.unwrap_or(1),
            format!("{} answers", facts.outcome.answers.len()),
        ),
        "forwarded_then_closed" => must(facts.outcome.closed, "the connection stayed open".into()),
        "rejected" => {
            must(seen == 0, format!("{seen} requests upstream"));
            must(
                facts.upstream_bytes.is_empty() || facts.cut_off(),
                format!("{} bytes upstream", facts.upstream_bytes.len()),
            );
            // HTTP/2 has error codes of its own for what is malformed (RFC 9113 section 8.1.1) or
            // excessive (section 10.5). The connection may end before they arrive.
            let outcome = &facts.outcome;
            let is_http2_error =
                matches!(
                    outcome.stream_error,
                    Some(frames::PROTOCOL_ERROR | frames::ENHANCE_YOUR_CALM)
                ) || outcome.is_http2 && outcome.closed && outcome.stream_error.is_none();
            if !is_http2_error && let Err(why) = refusal(&alternative["code"], facts) {
                must(false, why);
            }
        }
        "upstream_error" => {
            must(seen == 0, format!("{seen} requests upstream"));
            let error = facts.answer().and_then(Response::egret_error);
            must(error.is_some(), "no Egret-Error".into());
        }
        "connect_ok" => {
            let status = facts.outcome.connect.as_ref().map(|a| a.status);
            must(
                status == Some(200),
                format!("CONNECT was answered with {status:?}"),
            );
        }
        "closed" => {
            must(facts.answer().is_none(), "there was an answer".into());
            must(facts.outcome.closed, "the connection stayed open".into());
        }
        "stream_error" => {
            must(seen == 0, format!("{seen} requests upstream"));
            let code = facts.outcome.stream_error;
            let names = alternative["codes"].as_array().expect("codes");
            let is_named =
                code == Some(frames::PROTOCOL_ERROR) && names.contains(&"PROTOCOL_ERROR".into());
            must(is_named, format!("the stream ended with {code:?}"));
        }
        "connects_only_to" => must(
            facts.upstream_connections == 0,
            format!(
                "{} connections to the other address",
                facts.upstream_connections
            ),
        ),
        other => must(
            false,
            format!("an outcome that cannot come about here: {other}"),
        ),
    }
    problems
}

/// A refusal is problem+json with one of the codes. Bytes that are not HTTP may get a bare 400 or
/// 431 and a closed connection.
fn refusal(codes: &Value, facts: &Facts) -> Result<(), String> {
    let codes: Vec<&str> = codes
        .as_array()
        .expect("codes")
        .iter()
        .filter_map(Value::as_str)
        .collect();
    let answer = facts.answer().ok_or("no answer")?;
    let Some(code) = answer.egret_error() else {
        let about_bytes =
            codes.contains(&"request_malformed") || codes.contains(&"headers_too_large");
        let bare = matches!(answer.status, 400 | 431) && facts.outcome.closed;
        return match about_bytes && bare {
            true => Ok(()),
            false => Err(format!("{} without Egret-Error", answer.status)),
        };
    };
    if !codes.contains(&code.as_str()) {
        return Err(format!("code {code}, not one of {codes:?}"));
    }
    let media_type = answer.header("content-type");
    if media_type.as_deref() != Some("application/problem+json") {
        return Err(format!("content type {media_type:?}"));
    }
    let problem: Value =
        serde_json::from_slice(&answer.body).map_err(|e| format!("problem: {e}"))?;
    if problem["code"] != code.as_str() || problem["status"] != answer.status {
        return Err(format!("header and problem disagree: {code} and {problem}"));
    }
    Ok(())
}

fn judge_client(case: &Case, facts: &Facts) -> Vec<String> {
    let mut problems = Vec::new();
    let answer = facts.answer();
    for (matcher, wanted) in &case.client {
        let verdict = match matcher.as_str() {
            "status" if wanted.is_null() => Ok(()),
            "status" => {
                let status = answer.map(|a| a.status);
                same(status.map_or(Value::Null, Value::from) == *wanted, || {
                    format!("{status:?}")
                })
            }
            "body_must_contain_b64" => {
                let opened = opened_bodies(case, facts).into_iter().next();
                let body = answer.map(|a| opened.as_ref().unwrap_or(&a.body));
                let body = body.map_or(&[][..], |b| b);
                let parts = wanted.as_array().expect("parts").iter();
                let missing =
                    parts.filter(|p| memmem::find(body, &b64(p.as_str().expect("text"))).is_none());
                same(missing.count() == 0, || {
                    format!("{:?}", String::from_utf8_lossy(body))
                })
            }
            "framing_valid" => same(facts.outcome.broken.is_none(), || {
                format!("{:?}", facts.outcome.broken)
            }),
            "max_seconds" => same(
                facts.outcome.took.as_secs_f64() <= wanted.as_f64().expect("seconds"),
                || format!("{:?}", facts.outcome.took),
            ),
            _ => Err("an unknown matcher".to_owned()),
        };
        if let Err(why) = verdict {
            problems.push(format!("client {matcher}: {why}"));
        }
    }
    if let Some(limit) = case.client_latency_ms_max
        && facts.outcome.took > Duration::from_millis(limit)
    {
        problems.push(format!("the client waited {:?}", facts.outcome.took));
    }
    problems
}

fn same(is_so: bool, found: impl FnOnce() -> String) -> Result<(), String> {
    if is_so { Ok(()) } else { Err(found()) }
}

/// The answer's body decoded by its `Content-Encoding` (`decode: true`), or by every coding
/// whatever that field says (`decode: "try-all"`).
fn opened_bodies(case: &Case, facts: &Facts) -> Vec<Vec<u8>> {
    let Some(answer) = facts.answer() else {
        return Vec::new();
    };
    match &case.decode {
        None => Vec::new(),
        Some(Value::Bool(true)) => match answer.header("content-encoding").as_deref() {
            None | Some("identity") => vec![answer.body.clone()],
            Some("gzip") => coding::gzip(&answer.body).into_iter().collect(),
            Some("deflate") => coding::zlib(&answer.body)
                .or_else(|| coding::deflate(&answer.body))
                .into_iter()
                .collect(),
            Some(other) => panic!("{}: the player cannot open {other}", case.name),
        },
        Some(all) => {
            assert_eq!(all, "try-all", "{}", case.name);
            let ways = [coding::gzip, coding::zlib, coding::deflate];
            ways.iter().filter_map(|open| open(&answer.body)).collect()
        }
    }
}

/// Content codings, decoded by the libraries directly, without the program's code.
mod coding {
    use std::io::Read;

    fn all(mut from: impl Read) -> Option<Vec<u8>> {
        let mut opened = Vec::new();
        from.read_to_end(&mut opened).ok()?;
        Some(opened)
    }

    pub fn gzip(body: &[u8]) -> Option<Vec<u8>> {
        all(flate2::read::GzDecoder::new(body))
    }

    pub fn zlib(body: &[u8]) -> Option<Vec<u8>> {
        all(flate2::read::ZlibDecoder::new(body))
    }

    pub fn deflate(body: &[u8]) -> Option<Vec<u8>> {
        all(flate2::read::DeflateDecoder::new(body))
    }
}

fn judge_leaks(case: &Case, facts: &Facts) -> Vec<String> {
    let mut problems = Vec::new();
    let leak = &case.leak;
    let opened = opened_bodies(case, facts).concat();
    let places: [(&str, &[u8], Vec<&String>); 4] = [
        (
            "the client's body, opened",
            &opened,
            leak.never_in_client.iter().collect(),
        ),
        (
            "the client's bytes",
            &facts.outcome.bytes,
            leak.never_in_client.iter().chain(&case.leak_also).collect(),
        ),
        ("the log", &facts.log, leak.never_in_logs.iter().collect()),
        (
            "the ledger",
            &facts.ledger_bytes,
            leak.never_in_ledger.iter().collect(),
        ),
    ];
    for (place, bytes, slugs) in places {
        for slug in slugs {
            if let Some(form) = leak::find(bytes, facts.forms(slug)) {
                problems.push(format!("the value of {slug} is in {place} as {form}"));
            }
        }
    }
    for bytes in &leak.never_in_client_bytes_b64 {
        let bytes_of_client = [facts.outcome.bytes.as_slice(), &opened].concat();
        if memmem::find(&bytes_of_client, &b64(bytes)).is_some() {
            problems.push(format!(
                "the client got {:?}",
                String::from_utf8_lossy(&b64(bytes))
            ));
        }
    }
    problems
}

fn judge_ledger(case: &Case, facts: &Facts) -> Vec<String> {
    let Some(expected) = &case.ledger else {
        return Vec::new();
    };
    let mut problems = Vec::new();
    let lines_with = |event: &str| {
        let lines = facts.ledger.iter().filter(|l| l["event"] == event);
        lines
            .map(|l| (text(&l["slug"]), text(&l["action"])))
            .collect::<Vec<_>>()
    };
    let (mut used, mut denied) = (lines_with("use"), lines_with("denied"));
    for line in expected {
        let (lines, event) = match line.outcome.as_str() {
            "used" => (&mut used, "use"),
            "denied" => (&mut denied, "denied"),
            other => return vec![format!("ledger: an unknown outcome {other}")],
        };
        match lines
            .iter()
            .position(|l| *l == (line.slug.clone(), line.action.clone()))
        {
            Some(at) => drop(lines.remove(at)),
            None => problems.push(format!(
                "ledger: no {event} line for {} by {}",
                line.slug, line.action
            )),
        }
    }
    if !used.is_empty() && !facts.cut_off() {
        problems.push(format!(
            "ledger: use lines that were not expected: {used:?}"
        ));
    }
    if !problems.is_empty() {
        problems.push(format!(
            "ledger lines: {}",
            Value::from(facts.ledger.clone())
        ));
    }
    problems
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

/// What must hold for every case.
fn judge_always(case: &Case, facts: &Facts) -> Vec<String> {
    let mut problems = Vec::new();
    let some_arrived = !facts.upstream_bytes.is_empty() && !facts.cut_off();
    if case.upstream_application_bytes_must_be_zero && some_arrived {
        problems.push(format!(
            "{} application bytes upstream",
            facts.upstream_bytes.len()
        ));
    }
    if facts.evil_bytes > 0 {
        problems.push("something reached a host that the tunnel was not for".into());
    }
    if facts.leftover > 0 && !facts.cut_off() {
        problems.push(format!(
            "{} bytes upstream belong to no request",
            facts.leftover
        ));
    }
    for (slug, forms) in &facts.secrets {
        let arrived = leak::find(&facts.upstream_bytes, forms).is_some();
        let recorded = facts
            .ledger
            .iter()
            .any(|l| l["event"] == "use" && l["slug"] == slug.as_str());
        if arrived && !recorded {
            problems.push(format!(
                "the value of {slug} went upstream without a use line"
            ));
        }
    }
    problems
}

/// Parts of a case that this player does not support. A case that has one fails.
fn not_understood(case: &Case) -> Vec<String> {
    let answer = case.upstream_response.as_ref();
    let parts = [
        (
            "resp_writes",
            answer.is_some_and(|a| a.resp_writes.is_some()),
        ),
        ("resp_close", answer.is_some_and(|a| a.resp_close.is_some())),
    ];
    let unknown = parts.iter().filter(|(_, there)| *there);
    unknown
        .map(|(part, _)| format!("the player does not know {part}"))
        .collect()
}
