//! The search for placeholders and stand-ins over texts that were made to be slow, beside ordinary ones.
//!
//! ```text
//! cargo bench --bench micro -- worst_case
//! ```

use std::sync::Arc;

use bytes::Bytes;
use egret::substitution::body::{self, BodyKind};
use egret::substitution::slug::Slug;
use egret::substitution::stand_in::{StandIn, StandInSearch, StandIns};
use egret::substitution::stream::{BodyStream, StreamStep};

use super::worst_case::{best, compare, slowest};

/// The length of a text, in bytes, and of the pieces in which it comes.
const SIZE: usize = 256 * 1024;
const PIECE: usize = 4 * 1024;

type Case = (&'static str, BodyKind, &'static str);

fn ordinary() -> Vec<Case> {
    let json = r#"{"id":12345,"name":"a \"quoted\" name","tags":["x","y"],"html":"\u003cb\u003e"}"#;
    vec![
        ("JSON", BodyKind::JsonLines, json),
        ("a form", BodyKind::Form, "name=a%20b+c&html=%3Cb%3E&"),
        ("XML", BodyKind::Xml, "<a b=\"c\">d &amp; e &lt;f&gt;</a>"),
        (
            "text",
            BodyKind::Text,
            "if a < b && b << 2 > c { return }\n",
        ),
    ]
}

fn adversarial() -> Vec<Case> {
    vec![
        ("brackets", BodyKind::Text, "<"),
        ("placeholders that do not end", BodyKind::Text, "<<a"),
        (
            "placeholders with too long a name",
            BodyKind::Text,
            "<<aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
        ),
        ("literal placeholders", BodyKind::Text, "<<!a>>"),
        ("brackets in percent-encoding", BodyKind::Form, "%3C"),
        ("the same, twice", BodyKind::Form, "%253C"),
        ("parameters without a name", BodyKind::Form, "&=&"),
        ("brackets in XML", BodyKind::Xml, "&lt;"),
        ("the same, twice", BodyKind::Xml, "&amp;lt;"),
        (
            "a reference that does not end",
            BodyKind::Xml,
            "&#0000000000000000000000000000060",
        ),
        (
            "brackets in JSON",
            BodyKind::JsonLines,
            r#""\u003c\u003c" "#,
        ),
        (
            "JSON in JSON",
            BodyKind::JsonLines,
            r#""{\"a\":\"{\\\"b\\\":\\\"<<" "#,
        ),
        ("backslashes", BodyKind::JsonLines, r#""\\\\\\\\\\\\\\\\" "#),
        ("arrays in arrays", BodyKind::JsonLines, "[[[[[[[[]]]]]]]]"),
        ("marks of stand-ins", BodyKind::Text, "EGRET"),
        ("nearly a stand-in", BodyKind::Text, "ghp_EGRETaaaaaaaaB"),
        ("nearly another one", BodyKind::Text, "e9e7e9e7e9e7e9e7"),
    ]
}

/// A hundred stand-ins that agree in what they are looked up by.
fn stand_ins() -> Arc<StandInSearch> {
    let owner: Arc<str> = "ann".into();
    let stand_in = |n: usize| {
        Some(StandIn {
            text: format!("ghp_EGRETaaaaaaaa{n:023}").into(),
            owner: Arc::clone(&owner),
            slug: Slug::parse("pat").ok()?,
            is_revoked: false,
        })
    };
    let known = StandIns::new((0..100).filter_map(stand_in).collect());
    Arc::new(StandInSearch::new(Arc::new(known), Some(owner)))
}

/// A held body, and one that streams. Neither has to be well formed to its end.
fn search(kind: &BodyKind, text: &Bytes, stand_ins: &Arc<StandInSearch>, streams: bool) -> usize {
    if !streams {
        let _ = std::hint::black_box(body::find_with(kind, text, Some(stand_ins)));
        return text.len();
    }
    let mut stream = BodyStream::new(kind).with(Some(Arc::clone(stand_ins)));
    let mut out = Vec::new();
    for at in (0..text.len()).step_by(PIECE) {
        let piece = text.slice(at..text.len().min(at + PIECE));
        if stream.push(piece).is_err() {
            return at.max(1);
        }
        out.clear();
        while let Ok(StreamStep::Flush) = stream.step(&mut out) {}
    }
    text.len()
}

/// Prints the throughput of every case, and how much slower the adversarial ones are.
pub fn report() {
    let stand_ins = stand_ins();
    for streams in [false, true] {
        let rates = |cases: Vec<Case>| {
            let stand_ins = Arc::clone(&stand_ins);
            cases.into_iter().map(move |(name, kind, unit)| {
                let text: Bytes = unit.bytes().cycle().take(SIZE).collect::<Vec<u8>>().into();
                (name, best(|| search(&kind, &text, &stand_ins, streams)))
            })
        };
        let how = if streams { "streamed" } else { "held" };
        let ordinary = slowest(&format!("ordinary requests, {how}"), rates(ordinary()));
        let adversarial = slowest(
            &format!("adversarial requests, {how}"),
            rates(adversarial()),
        );
        compare(ordinary, adversarial);
    }
}
