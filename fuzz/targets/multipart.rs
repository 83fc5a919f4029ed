//! Multipart bodies: streamed like held, and no value adds, ends or moves a part.
//! Input: cuts, values, body with the boundary `B`.

#![no_main]

use egret_fuzz::substituted::Values;
use egret_fuzz::substitution::body::BodyKind;
use egret_fuzz::{oracle, pieces};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let [cuts, seed, body @ ..] = data else {
        return;
    };
    let kind = BodyKind::Multipart {
        boundary: b"B".to_vec(),
    };
    let mut values = Values::new(*seed);
    let held = values.held(&kind, body);
    let streamed = values.streamed(&kind, pieces(body, *cuts));
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
    let (before, after) = (parts(body), parts(&out));
    assert_eq!(before.len(), after.len(), "parts came or went");
    for (before, after) in before.iter().zip(&after) {
        let (head, content) = split(before);
        let (head_after, content_after) = split(after);
        // Placeholders in it are replaced, and nothing else changes.
        let meant = oracle::replaced_in(head, &|name| values.text(name));
        assert_eq!(head_after, meant, "a part's head changed");
        if is_binary(head) {
            assert_eq!(content, content_after, "a binary part changed");
        }
    }
});

/// What stands between the delimiter lines of RFC 2046.
fn parts(body: &[u8]) -> Vec<&[u8]> {
    let mut parts = Vec::new();
    let (mut from, mut at) = (0, 0);
    while at < body.len() {
        let line = &body[at..];
        let end = line
            .iter()
            .position(|b| *b == b'\n')
            .map_or(line.len(), |n| n + 1);
        if let Some(rest) = line[..end].strip_prefix(b"--B") {
            let closes = rest.starts_with(b"--");
            if closes || rest.is_empty() || b"\r\n \t".contains(&rest[0]) {
                parts.push(&body[from..at]);
                from = at + end;
                if closes {
                    return parts.split_off(1);
                }
            }
        }
        at += end;
    }
    parts.push(&body[from..]);
    parts.split_off(1)
}

fn split(part: &[u8]) -> (&[u8], &[u8]) {
    let (mut at, mut head) = (0, 0);
    for line in part.split_inclusive(|b| *b == b'\n') {
        at += line.len();
        if matches!(line, b"\r\n" | b"\n") {
            head = at;
            break;
        }
    }
    part.split_at(head)
}

fn is_binary(head: &[u8]) -> bool {
    head == b"Content-Type: image/png\r\n\r\n"
}
