//! The promises of the scrubber.

mod base64_runs;
mod encoders;
mod encodings;
mod names;
mod places;
mod printed;
mod properties;
mod reference;
mod release;

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use proptest::test_runner::Config as ProptestConfig;

use self::encoders::hex;
use super::*;
use crate::secret::SecretBytes;

/// How many inputs a property is tried with: a hundred times as many in the long form, because what one in ten
/// thousand inputs shows is a fault like any other.
fn cases(usual: u32) -> ProptestConfig {
    let is_long = std::env::var_os("EGRET_TEST_LONG").is_some();
    ProptestConfig::with_cases(if is_long { usual * 100 } else { usual })
}

/// Names are `a`, `b`, …: too short to be part of anything.
fn named(values: &[Vec<u8>]) -> Vec<(String, Arc<SecretBytes>)> {
    let name = |index: usize| char::from(b'a' + index as u8).to_string();
    let secret = |value: &Vec<u8>| Arc::new(SecretBytes::new(value.clone()));
    values
        .iter()
        .enumerate()
        .map(|(index, value)| (name(index), secret(value)))
        .collect()
}

fn needles(values: &[Vec<u8>]) -> Arc<Needles> {
    Arc::new(Needles::new(named(values)))
}

fn one(value: &[u8]) -> Arc<Needles> {
    needles(&[value.to_vec()])
}

fn scrub_with(
    needles: &Arc<Needles>,
    replacement: Replacement,
    chunks: &[&[u8]],
) -> (Vec<u8>, Vec<Hit>) {
    let mut scrubber = Scrubber::new(Arc::clone(needles), replacement);
    let (mut out, mut hits) = (Vec::new(), Vec::new());
    for chunk in chunks {
        scrubber.push(chunk, &mut out, &mut hits);
    }
    scrubber.finish(&mut out, &mut hits);
    assert_eq!(scrubber.held(), 0);
    (out, hits)
}

fn scrub(needles: &Arc<Needles>, text: &[u8]) -> (Vec<u8>, Vec<Hit>) {
    scrub_with(needles, Replacement::Placeholder, &[text])
}

fn scrubbed(needles: &Arc<Needles>, text: impl AsRef<[u8]>) -> String {
    String::from_utf8_lossy(&scrub(needles, text.as_ref()).0).into_owned()
}

fn contains(text: &[u8], needle: &[u8]) -> bool {
    memchr::memmem::find(text, needle).is_some()
}

#[test]
fn each_hit_becomes_the_placeholder_of_its_value() {
    let values = [b"ghp_Zk3vQ9xT7mB2".to_vec(), b"p@ss/w+rd=&%#".to_vec()];
    let both = needles(&values);
    assert_eq!(scrubbed(&both, "x=ghp_Zk3vQ9xT7mB2;"), "x=<<a>>;");
    assert_eq!(scrubbed(&both, "p%40ss%2Fw%2brd%3D%26%25%23"), "<<b>>");
    assert_eq!(
        scrubbed(&both, r#"{"k":"p@ss\/w+rd=\u0026%#"}"#),
        r#"{"k":"<<b>>"}"#
    );
    assert_eq!(scrubbed(&both, "p@ss/w+rd=&amp;%#"), "<<b>>");
    assert_eq!(
        scrubbed(&both, "Basic dTpnaHBfWmszdlE5eFQ3bUIy"),
        format!("Basic {}", STANDARD.encode("u:<<a>>"))
    );
    let (_, hits) = scrub(&both, b"--p%40ss/w+rd=&%#");
    let [hit] = hits[..] else { panic!("{hits:?}") };
    assert_eq!(
        (both.name(hit.reference), hit.form, hit.offset, hit.length),
        ("b", HitForm::Percent, 2, 15)
    );
}

#[test]
fn overlapping_hits_are_redacted_as_their_union_and_touching_ones_are_not_merged() {
    let values = [
        b"abcdefgh".to_vec(),
        b"efghijkl".to_vec(),
        b"abcdefgh-tail".to_vec(),
    ];
    let all = needles(&values);
    assert_eq!(scrubbed(&all, ".abcdefghijkl."), ".<<a>>.");
    assert_eq!(scrubbed(&all, ".abcdefgh-tail."), ".<<c>>.");
    assert_eq!(scrubbed(&all, ".abcdefgh-tai."), ".<<a>>-tai.");
    assert_eq!(scrubbed(&all, "abcdefghabcdefgh"), "<<a>><<a>>");
    let (out, hits) = scrub_with(&all, Replacement::SameLength, &[b".abcdefghijkl."]);
    assert_eq!(out, b".************.");
    let named: Vec<&str> = hits.iter().map(|hit| all.name(hit.reference)).collect();
    assert_eq!(named, ["a", "b"], "each value in a union is reported");
}

#[test]
fn a_value_that_overlaps_itself_is_one_hit() {
    let run = one(b"aaaaaaaa");
    assert_eq!(scrubbed(&run, "b aaaaaaaaaaaa b"), "b <<a>> b");
}

#[test]
fn a_replacement_never_completes_another_value() {
    let values = [
        b"abcdefgh".to_vec(),
        b"secret12<".to_vec(),
        b"12<<a>>34".to_vec(),
        b"x*******".to_vec(),
    ];
    let all = needles(&values);
    for text in ["secret12abcdefgh", "12abcdefgh34", "xabcdefgh"] {
        for replacement in [Replacement::Placeholder, Replacement::SameLength] {
            let (out, _) = scrub_with(&all, replacement, &[text.as_bytes()]);
            assert!(
                values.iter().all(|value| !contains(&out, value)),
                "{}",
                out.escape_ascii()
            );
        }
        let out = scrub_bytes(&all, text.as_bytes(), &mut Vec::new()).unwrap_or_default();
        assert!(
            values.iter().all(|value| !contains(&out, value)),
            "{}",
            out.escape_ascii()
        );
    }
}

#[test]
fn a_slug_that_spells_a_value_does_not_bring_it_back() {
    let value = Arc::new(SecretBytes::new(b"password".to_vec()));
    let needles = Arc::new(Needles::new([("password".to_owned(), value)]));
    assert_eq!(scrubbed(&needles, "my password is"), "my <<***>> is");
}

#[test]
fn events_leave_when_they_are_complete() {
    let values: Vec<Vec<u8>> = (0..20)
        .map(|index| format!("{index:x}ken-{}", index * 7919 + 1_000_000).into_bytes())
        .collect();
    let mut scrubber = Scrubber::new(needles(&values), Replacement::Placeholder);
    let (mut out, mut hits) = (Vec::new(), Vec::new());
    for event in [
        "data: 1ken-1007919 seen\n\n",
        "data: {\"a\": 1}\n\n",
        "id: 3\ndata: aGVsbG8\n\n",
    ] {
        scrubber.push(event.as_bytes(), &mut out, &mut hits);
        assert_eq!(scrubber.held(), 0, "{event}");
    }
    scrubber.push(b"data: 1ken-100", &mut out, &mut hits);
    assert_eq!(
        scrubber.held(),
        b"1ken-100".len(),
        "only what may begin a hit waits"
    );
    scrubber.push(b"x\n\n", &mut out, &mut hits);
    assert_eq!(scrubber.held(), 0);
    assert_eq!(hits.len(), 1);
}

#[test]
fn base64_broken_into_lines_is_found_whole() {
    let value = b"Zk3vQ9xT7mB2wLr8NcYd5HsJ6pFa1eUg40iX-Zk3vQ9xT7mB2wLr8NcYd5HsJ6pFa1eUg40iX";
    let needles = one(value);
    for before in 0..80 {
        let text = STANDARD.encode(
            [
                &vec![b'.'; before][..],
                value,
                &b"and so on, for another line and a half of plain text"[..],
            ]
            .concat(),
        );
        for (width, end) in [(76, "\r\n"), (64, "\n"), (60, "\\n")] {
            let lines: Vec<&str> = (0..text.len())
                .step_by(width)
                .map(|at| &text[at..text.len().min(at + width)])
                .collect();
            let text = lines.join(end);
            let chunks: Vec<&[u8]> = text.as_bytes().chunks(7).collect();
            let (_, hits) = scrub_with(&needles, Replacement::Placeholder, &chunks);
            assert_eq!(hits.len(), 1, "{before} bytes before, lines of {width}");
            assert_eq!(scrub(&needles, text.as_bytes()).1, hits);
        }
    }
}

#[test]
fn short_values_are_searched_for_the_request_that_used_them_and_raw_or_percent_encoded_only() {
    let short = [b"p w%9".to_vec()];
    let base = needles(&[short[0].clone(), b"long-enough-value".to_vec()]);
    assert_eq!(scrubbed(&base, "p w%9 long-enough-value"), "p w%9 <<b>>");
    let used = base.with_used(&[(
        "pin".to_owned(),
        Arc::new(SecretBytes::new(short[0].clone())),
    )]);
    assert_eq!(
        scrubbed(&used, "p w%9 p+w%259 p%20%77%25%39."),
        "<<pin>> <<pin>> <<pin>>."
    );
    let untouched = format!(
        "{} {} p\\u0020w%9",
        STANDARD.encode(&short[0]),
        String::from_utf8_lossy(&hex(&short[0], "", false))
    );
    assert_eq!(scrubbed(&used, &untouched), untouched);
    assert_eq!(scrubbed(&used, "long-enough-value"), "<<b>>");
}

#[test]
fn used_values_that_are_known_already_are_not_added_again() {
    let base = one(b"long-enough-value");
    let same = base.with_used(&named(&[b"long-enough-value".to_vec()]));
    assert!(Arc::ptr_eq(&base, &same));
    let pair = named(&[b"another-value".to_vec(), b"yet-another-value".to_vec()]);
    let both = Arc::new(Needles::new(pair.iter().cloned()));
    assert!(
        pair.chunks(1)
            .all(|value| Arc::ptr_eq(&both, &both.with_used(value)))
    );
    let rotated = base.with_used(&[(
        "old".to_owned(),
        Arc::new(SecretBytes::new(b"previous-value".to_vec())),
    )]);
    assert_eq!(
        scrubbed(&rotated, "previous-value, long-enough-value"),
        "<<old>>, <<a>>"
    );
}

#[test]
fn without_values_everything_passes() {
    let none = needles(&[]);
    assert!(none.is_empty());
    assert_eq!(scrubbed(&none, "%41 & \\u0041"), "%41 & \\u0041");
    assert_eq!(scrub_bytes(&none, b"text", &mut Vec::new()), None);
}

#[test]
fn debug_shows_nothing_of_the_values() {
    assert_eq!(
        format!("{:?}", one(b"hunter2-hunter2")),
        "Needles(redacted)"
    );
}
