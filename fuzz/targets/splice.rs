//! Values put into bodies: streamed like held, and what the receiver parses is what was meant, also
//! where it parses strings again. Input: kind, cuts, values, body.

#![no_main]

use egret_fuzz::inner::Meant;
use egret_fuzz::pieces;
use egret_fuzz::substituted::Values;
use egret_fuzz::substitution::body::BodyKind;
use libfuzzer_sys::fuzz_target;

const KINDS: [BodyKind; 8] = [
    BodyKind::Json,
    BodyKind::JsonLines,
    BodyKind::Form,
    BodyKind::Xml,
    BodyKind::Text,
    BodyKind::Wide,
    BodyKind::Opaque,
    BodyKind::Text,
];

fuzz_target!(|data: &[u8]| {
    let [kind, cuts, seed, body @ ..] = data else {
        return;
    };
    let kind = &KINDS[usize::from(kind.wrapping_sub(b'0')) % KINDS.len()];
    let mut values = Values::new(*seed);
    let held = values.held(kind, body);
    let streamed = values.streamed(kind, pieces(body, *cuts));
    assert_eq!(
        held.as_deref()
            .map(<[u8]>::escape_ascii)
            .map(|t| t.to_string()),
        streamed
            .as_deref()
            .map(<[u8]>::escape_ascii)
            .map(|t| t.to_string()),
    );
    let Some(out) = held else { return };
    let value = |name: &str| values.text(name);
    let meant = Meant::new(&value, body);
    match kind {
        BodyKind::Json => json(body, &out, &meant),
        BodyKind::JsonLines => lines(body, &out, &meant),
        BodyKind::Form => {
            let (before, after) = (pairs(body), pairs(&out));
            assert_eq!(before.len(), after.len(), "pairs came or went");
            for (before, after) in before.iter().zip(&after) {
                meant.check(&before.0, &after.0);
                meant.check(&before.1, &after.1);
            }
        }
        BodyKind::Text => {
            if let Ok(text) = std::str::from_utf8(body) {
                meant.check(
                    text,
                    std::str::from_utf8(&out).expect("text with text put in"),
                );
            }
        }
        BodyKind::Opaque => assert_eq!(out, body),
        _ => {}
    }
});

fn pairs(body: &[u8]) -> Vec<(String, String)> {
    form_urlencoded::parse(body).into_owned().collect()
}

/// Strings change as meant, and nothing else does.
fn json(body: &[u8], out: &[u8], meant: &Meant<'_>) {
    let unmarked = |bytes: &[u8]| {
        let text = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
        std::str::from_utf8(text).ok().map(str::to_owned)
    };
    if let (Some(before), Some(after)) = (unmarked(body), unmarked(out)) {
        meant.check_json(&before, &after);
    }
}

/// Each line is a text of its own.
fn lines(body: &[u8], out: &[u8], meant: &Meant<'_>) {
    let (before, after) = (body.split(|b| *b == b'\n'), out.split(|b| *b == b'\n'));
    assert_eq!(
        before.clone().count(),
        after.clone().count(),
        "lines came or went"
    );
    for (before, after) in before.zip(after) {
        json(before, after, meant);
    }
}
