//! The search over values and texts that were made to be slow, beside ordinary ones.
//!
//! ```text
//! cargo bench --bench micro -- worst_case
//! ```

use std::sync::Arc;
use std::time::{Duration, Instant};

use egret::scrub::{Needles, Replacement, Scrubber, scrub_bytes};
use egret::secret::SecretBytes;

use super::noise;

/// The length of a text, in bytes, as it comes from a connection, and at once.
const SIZE: usize = 256 * 1024;
const PIECE: usize = 16 * 1024;
/// The length of a value, in bytes.
const LONG: usize = 4096;
/// How much slower than the slowest ordinary text of its kind the worst may be.
const MOST: f64 = 10.0;

/// A text and the values that are searched in it.
struct Case {
    name: &'static str,
    values: Vec<Vec<u8>>,
    /// What the text repeats.
    unit: Vec<u8>,
}

fn case(name: &'static str, values: &[Vec<u8>], unit: impl Into<Vec<u8>>) -> Case {
    Case {
        name,
        values: values.to_vec(),
        unit: unit.into(),
    }
}

fn repeated(unit: &str, length: usize) -> Vec<u8> {
    unit.bytes().cycle().take(length).collect()
}

fn token() -> Vec<u8> {
    noise(
        40,
        b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789",
    )
}

/// Texts without escapes.
fn ordinary_plain() -> Vec<Case> {
    let json = br#"{"id":8812345,"name":"octo","url":"https://api.example.com/users/octo"},"#;
    let echo = [br#"{"you_sent":""#, &token()[..], br#""},"#].concat();
    vec![
        case("an answer without the value", &[token()], *json),
        case("an answer with the value", &[token()], echo),
        case("nothing but the value", &[token()], token()),
    ]
}

fn adversarial_plain() -> Vec<Case> {
    let run = repeated("a", LONG);
    let nearly = [&run[1..], b"b"].concat();
    let nested: Vec<Vec<u8>> = (8..200).map(|length| repeated("a", length)).collect();
    let ends: Vec<Vec<u8>> = (0..60)
        .map(|n| [&run[..n + 40], &[b'A' + n as u8]].concat())
        .collect();
    let fibonacci = fibonacci(LONG);
    let zeros = vec![0; LONG];
    let wide: Vec<u8> = repeated("a\0", 64);
    vec![
        case("a run", std::slice::from_ref(&run), "a"),
        case("a run that the value nearly is", &[nearly], "a"),
        case("a run of a period", &[repeated("abcdefg", LONG)], "abcdefg"),
        case("a run in values inside each other", &nested, "a"),
        case("a run with many ends", &ends, "a"),
        case(
            "a Fibonacci word",
            std::slice::from_ref(&fibonacci),
            fibonacci.clone(),
        ),
        case("a run in hex", std::slice::from_ref(&zeros), "0"),
        case("a run in a hex dump", std::slice::from_ref(&zeros), "00 "),
        case("a run in base64", std::slice::from_ref(&zeros), "A"),
        case(
            "a run in wrapped base64",
            &[zeros],
            ["A".repeat(76), "\r\n".into()].concat(),
        ),
        case("a run in UTF-16", std::slice::from_ref(&run), wide),
        case("a short value", &[b"aaaaaaa".to_vec()], "a"),
        case("half a window", &[repeated("aaaaaaab", LONG)], "aaaaaaac"),
    ]
}

/// Texts of nothing but escapes.
fn ordinary_escaped() -> Vec<Case> {
    let mixed = r"\u0041%41&#65;&amp;\n%25\u0020&lt;\/";
    let text = r#"{\"text\":\"He said \\\"no\\\".\\n\",\"a\":\"\\u2019\"},"#;
    let percent: String = token().iter().map(|byte| format!("%{byte:02x}")).collect();
    vec![
        case("escapes of all kinds", &[token()], mixed),
        case("JSON in JSON", &[token()], text),
        case("the value in percent-encoding", &[token()], percent),
    ]
}

fn adversarial_escaped() -> Vec<Case> {
    let run = repeated("a", LONG);
    let ambiguous: Vec<u8> = noise(LONG, b"01")
        .iter()
        .fold(Vec::new(), |mut value, bit| {
            value.extend_from_slice(if *bit == b'0' { b"%61" } else { b"a" });
            value
        });
    vec![
        case(
            "a run in percent-encoding",
            std::slice::from_ref(&run),
            "%61",
        ),
        case(
            "a run in percent-encoding, twice",
            std::slice::from_ref(&run),
            "%2561",
        ),
        case("a run in JSON", std::slice::from_ref(&run), "\\u0061"),
        case("a run in XML", std::slice::from_ref(&run), "&#97;"),
        case("a run, every eighth escaped", &[run], "aaaaaaa%61"),
        case("a run of backslashes", &[repeated("\\", LONG)], "\\"),
        case("a run of percent signs", &[repeated("%", LONG)], "%25"),
        case("a run of ampersands", &[repeated("&", LONG)], "&amp;"),
        case("a value of escapes of its own", &[ambiguous], "%61"),
        case(
            "a short value of percent signs",
            &[b"%%%%%%%".to_vec()],
            "%25",
        ),
    ]
}

/// A word without a period that overlaps itself as much as one can.
fn fibonacci(length: usize) -> Vec<u8> {
    let (mut before, mut word) = (b"a".to_vec(), b"ab".to_vec());
    while word.len() < length {
        (before, word) = (word.clone(), [&word[..], &before].concat());
    }
    word.truncate(length);
    word
}

/// Bytes in a second, of the best of several rounds: as a stream, and as one text.
fn rate(case: &Case) -> f64 {
    let secret = |value: &Vec<u8>| Arc::new(SecretBytes::new(value.clone()));
    let named = case.values.iter().enumerate();
    let named: Vec<_> = named
        .map(|(n, value)| (format!("value-{n}"), secret(value)))
        .collect();
    let needles = Arc::new(Needles::new(named.clone())).with_used(&named);
    let text: Vec<u8> = case.unit.iter().copied().cycle().take(SIZE).collect();
    let mut best = Duration::MAX;
    for round in 0..6 {
        let started = Instant::now();
        let mut hits = Vec::new();
        if round % 2 == 0 {
            let mut scrubber = Scrubber::new(Arc::clone(&needles), Replacement::Placeholder);
            let mut out = Vec::with_capacity(2 * PIECE);
            for piece in text.chunks(PIECE) {
                out.clear();
                scrubber.push(piece, &mut out, &mut hits);
            }
            scrubber.finish(&mut out, &mut hits);
        } else {
            std::hint::black_box(scrub_bytes(&needles, &text, &mut hits));
        }
        best = best.min(started.elapsed());
    }
    SIZE as f64 / best.as_secs_f64()
}

fn slowest(title: &str, cases: &[Case]) -> f64 {
    println!("{title}");
    let mut slowest = f64::INFINITY;
    for case in cases {
        let rate = rate(case);
        println!("    {:<40} {:>9.1} MB/s", case.name, rate / 1e6);
        slowest = slowest.min(rate);
    }
    slowest
}

/// Prints the throughput of every case, and how much slower the adversarial ones are.
pub fn report() {
    for (kind, ordinary, adversarial) in [
        ("plain", ordinary_plain(), adversarial_plain()),
        ("escaped", ordinary_escaped(), adversarial_escaped()),
    ] {
        let ordinary = slowest(&format!("ordinary {kind} text"), &ordinary);
        let adversarial = slowest(&format!("adversarial {kind} text"), &adversarial);
        let ratio = ordinary / adversarial;
        let verdict = if ratio <= MOST { "within" } else { "ABOVE" };
        println!("    ratio {ratio:.1}, {verdict} {MOST}\n");
    }
}
