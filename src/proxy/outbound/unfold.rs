//! Folded lines in the head of an answer (RFC 9112 section 5.2: obs-fold).
//!
//! An intermediary replaces each fold by a space. A value that a fold cuts in the middle would then
//! reach the client in two parts, of which neither is found. So a fold inside a value is taken out.

use crate::scrub::Needles;

/// With up to so many folds in a field each of them may be a space of the value or cut it. With more,
/// all of them are of one kind, so that the work stays linear.
const EACH: usize = 4;

/// Finds the end of a head as it arrives. The heads of interim answers before it belong to it.
#[derive(Default)]
pub struct Heads {
    /// All before this was looked at: it is the start of a line.
    line: usize,
    /// Where the head begins that is being read.
    start: usize,
}

impl Heads {
    /// Where the last head ends, if it is all here.
    pub fn end(&mut self, text: &[u8]) -> Option<usize> {
        while let Some(length) = memchr::memchr(b'\n', &text[self.line..]) {
            let line = &text[self.line..self.line + length];
            self.line += length + 1;
            if line.is_empty() || line == b"\r" {
                if !Self::is_interim(&text[self.start..]) {
                    return Some(self.line);
                }
                self.start = self.line;
            }
        }
        None
    }

    /// Whether a head is that of an interim answer (RFC 9110 section 15.2): 1xx, but for 101, after
    /// which no other comes.
    pub fn is_interim(head: &[u8]) -> bool {
        let status = head.split(|byte| *byte == b' ').nth(1);
        let status = status.and_then(<[u8]>::first_chunk::<3>);
        status.is_some_and(|status| status[0] == b'1' && status != b"101")
    }
}

/// Heads without folds.
pub fn unfold(heads: &[u8], needles: &Needles) -> Vec<u8> {
    let mut out = Vec::with_capacity(heads.len());
    let mut lines = heads.split_inclusive(|byte| *byte == b'\n').peekable();
    while let Some(line) = lines.next() {
        // What is folded to another line than a field's is not repaired: nobody knows what it means.
        let is_field = !is_fold(&line) && !line.starts_with(b"HTTP/");
        let colon = line.iter().position(|byte| *byte == b':');
        let Some(colon) = colon.filter(|_| is_field && lines.peek().is_some_and(is_fold)) else {
            out.extend_from_slice(line);
            continue;
        };
        let (name, first) = line.split_at(colon + 1);
        let mut parts = vec![first.trim_ascii()];
        while let Some(line) = lines.next_if(is_fold) {
            parts.push(line.trim_ascii());
        }
        out.extend_from_slice(name);
        out.push(b' ');
        out.extend_from_slice(&joined(&parts, needles));
        out.extend_from_slice(b"\r\n");
    }
    out
}

fn is_fold(line: &&[u8]) -> bool {
    matches!(line.first(), Some(b' ' | b'\t'))
}

/// A folded value in one line.
fn joined(parts: &[&[u8]], needles: &Needles) -> Vec<u8> {
    let folds = parts.len() - 1;
    let (spaced, _) = join(parts, &vec![false; folds]);
    if needles.is_empty() {
        return spaced;
    }
    let mut best = (needles.find(&spaced).len(), spaced);
    let ways = if folds <= EACH { 1 << folds } else { 2 };
    for way in 1..ways {
        let is_cut = |fold| folds > EACH || way >> fold & 1 == 1;
        let mut cuts: Vec<bool> = (0..folds).map(is_cut).collect();
        let (text, places) = join(parts, &cuts);
        let hits = needles.find(&text);
        if hits.len() <= best.0 {
            continue;
        }
        for (cut, place) in cuts.iter_mut().zip(places) {
            let cuts_it =
                |start: u64, length: usize| start < place && place < start + length as u64;
            *cut &= hits.iter().any(|hit| cuts_it(hit.offset, hit.length));
        }
        best = (hits.len(), join(parts, &cuts).0);
    }
    best.1
}

/// The parts with nothing between them where `cuts` says so, and a space elsewhere; and where each fold
/// was.
fn join(parts: &[&[u8]], cuts: &[bool]) -> (Vec<u8>, Vec<u64>) {
    let (mut text, mut places) = (parts[0].to_vec(), Vec::new());
    for (part, is_cut) in parts[1..].iter().zip(cuts) {
        places.push(text.len() as u64);
        if !is_cut {
            text.push(b' ');
        }
        text.extend_from_slice(part);
    }
    (text, places)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::secret::SecretBytes;

    fn needles() -> Needles {
        let named = |name: &str, value: &str| {
            let value = SecretBytes::new(value.as_bytes().to_vec());
            (name.to_owned(), Arc::new(value))
        };
        Needles::new([named("a", "correct-horse"), named("b", "two words of it")])
    }

    fn unfolded(head: &str) -> String {
        String::from_utf8(unfold(head.as_bytes(), &needles())).expect("text")
    }

    #[test]
    fn a_fold_is_a_space_unless_it_cuts_a_value() {
        for (folded, expected) in [
            ("X: a\r\n b", "X: a b"),
            ("X:\r\n\t bar", "X:  bar"),
            ("X: a \r\n \t b\r\n c", "X: a b c"),
            ("X: corr\r\n ect-horse", "X: correct-horse"),
            (
                "X: is corr\n\tect-\n horse it?\n no",
                "X: is correct-horse it? no",
            ),
            ("X: two\r\n words of it", "X: two words of it"),
            ("X: two wo\r\n rds\r\n of it", "X: two words of it"),
            (
                "X: a\r\n a\r\n a\r\n a\r\n corr\r\n ect-horse\r\n a",
                "X: a a a a correct-horse a",
            ),
            ("X: Y29y\r\n cmVjdC1ob3JzZQ==", "X: Y29ycmVjdC1ob3JzZQ=="),
        ] {
            let head = |field: &str| format!("HTTP/1.1 200 OK\r\nA: b\r\n{field}\r\nC: d\r\n\r\n");
            let plain = head(expected);
            assert_eq!(unfolded(&head(folded)), plain, "{folded:?}");
            assert_eq!(unfolded(&plain), plain);
        }
    }

    #[test]
    fn what_is_folded_to_no_field_stays() {
        for head in [
            "HTTP/1.1 200 OK\r\n X: y\r\n\r\n",
            "HTTP/1.1 200 OK\r\nno field\r\n y\r\n\r\n",
            " HTTP/1.1 200 OK\r\n\r\n",
        ] {
            assert_eq!(unfolded(head), head);
        }
    }

    #[test]
    fn the_end_of_a_head_is_found_however_it_comes() {
        let interim = "HTTP/1.1 103 Early Hints\r\nLink: a\r\n\r\n";
        let last = "HTTP/1.1 200 OK\nX: y\r\n\n";
        let switching = "HTTP/1.1 101 Switching Protocols\r\n\r\n";
        for (head, length) in [
            (last.to_owned(), last.len()),
            (
                format!("{interim}{interim}{last}"),
                2 * interim.len() + last.len(),
            ),
            (
                format!("{interim}{switching}"),
                interim.len() + switching.len(),
            ),
        ] {
            let text = format!("{head}body\r\n\r\nbody");
            let mut heads = Heads::default();
            for end in 0..length {
                assert_eq!(heads.end(&text.as_bytes()[..end]), None, "{head} {end}");
            }
            assert_eq!(heads.end(text.as_bytes()), Some(length));
            assert_eq!(Heads::default().end(text.as_bytes()), Some(length));
        }
    }
}
