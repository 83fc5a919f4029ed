//! The search over values and texts that were made to be slow, beside ordinary ones.
//!
//! ```text
//! cargo bench --bench micro -- worst_case
//! ```

use std::fs;
use std::sync::Arc;
use std::time::Instant;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
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

fn twice(text: &[u8]) -> Vec<u8> {
    STANDARD.encode(STANDARD.encode(text)).into()
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
        case(
            "base64 of other things",
            &[token()],
            twice(&noise(600, b"abcdefghijkl{}:\" ")),
        ),
        case("base64 of the value, twice", &[token()], twice(&token())),
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
    let period = repeated("abcdefg", LONG);
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
            "a run in base64 within base64",
            std::slice::from_ref(&zeros),
            "QUFB",
        ),
        case(
            "base64 that no run is in",
            std::slice::from_ref(&zeros),
            "QUFBQ",
        ),
        case(
            "a period in base64 within base64",
            std::slice::from_ref(&period),
            twice(&period),
        ),
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

/// A way in which a text is searched.
#[derive(Clone, Copy, Debug)]
enum Way {
    /// An answer as it comes from a connection.
    Stream,
    /// One that comes in small pieces with pauses between them.
    Trickle,
    /// The same of an answer whose length is pinned.
    Pinned,
    /// A header.
    Whole,
    /// The guard of requests.
    Guard,
}

const WAYS: [Way; 5] = [
    Way::Stream,
    Way::Trickle,
    Way::Pinned,
    Way::Whole,
    Way::Guard,
];
/// The length of a small piece, in bytes, and how much of a text comes in such.
const DROP: usize = 64;
const TRICKLE: usize = 32 * 1024;

impl Way {
    /// Searches `text` once. Returns how many bytes of it that were.
    fn search(self, needles: &Arc<Needles>, text: &[u8]) -> usize {
        let mut hits = Vec::new();
        let (text, piece, replacement) = match self {
            Self::Stream => (text, PIECE, Replacement::Placeholder),
            Self::Trickle => (&text[..TRICKLE], DROP, Replacement::Placeholder),
            Self::Pinned => (text, PIECE, Replacement::SameLength),
            Self::Whole => {
                std::hint::black_box(scrub_bytes(needles, text, &mut hits));
                return text.len();
            }
            Self::Guard => {
                std::hint::black_box(needles.find(text));
                return text.len();
            }
        };
        let mut scrubber = Scrubber::new(Arc::clone(needles), replacement);
        let mut out = Vec::with_capacity(2 * PIECE);
        for piece in text.chunks(piece) {
            out.clear();
            scrubber.push(piece, &mut out, &mut hits);
            if matches!(self, Self::Trickle) {
                scrubber.release(&mut out, &mut hits);
            }
        }
        scrubber.finish(&mut out, &mut hits);
        text.len()
    }
}

/// Bytes in a second, of the best of several rounds.
fn rate(case: &Case, way: Way) -> f64 {
    let secret = |value: &Vec<u8>| Arc::new(SecretBytes::new(value.clone()));
    let named = case.values.iter().enumerate();
    let named: Vec<_> = named
        .map(|(n, value)| (format!("value-{n}"), secret(value)))
        .collect();
    let needles = Arc::new(Needles::new(named.clone())).with_used(&named);
    let text: Vec<u8> = case.unit.iter().copied().cycle().take(SIZE).collect();
    best(|| way.search(&needles, &text))
}

/// The CPU time of a round, in seconds: several ticks of the clock that it is read from.
const ROUND: f64 = 0.04;

/// Bytes in a second of CPU time, of the best of several rounds of what returns how many bytes it has
/// searched.
pub fn best(search: impl Fn() -> usize) -> f64 {
    let started = Instant::now();
    let round = |_| {
        let before = cpu_time(started);
        let mut searched = 0;
        loop {
            searched += search();
            let taken = cpu_time(started) - before;
            if taken >= ROUND {
                return searched as f64 / taken;
            }
        }
    };
    (0..3).map(round).fold(0.0, f64::max)
}

/// Seconds that this thread was on a processor: others that use the machine do not count. Where the system
/// does not tell, those since `started`.
fn cpu_time(started: Instant) -> f64 {
    let text = fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    let nanoseconds = text.split(' ').next().and_then(|text| text.parse().ok());
    nanoseconds.map_or(started.elapsed().as_secs_f64(), |time: f64| time / 1e9)
}

/// The slowest of these rates, each of which is printed.
pub fn slowest(title: &str, rates: impl Iterator<Item = (&'static str, f64)>) -> f64 {
    println!("{title}");
    let print = |(name, rate): (&str, f64)| {
        println!("    {name:<40} {:>9.1} MB/s", rate / 1e6);
        rate
    };
    rates.map(print).fold(f64::INFINITY, f64::min)
}

/// Prints how much slower the adversarial texts are.
pub fn compare(ordinary: f64, adversarial: f64) {
    let ratio = ordinary / adversarial;
    let verdict = if ratio <= MOST { "within" } else { "ABOVE" };
    println!("    ratio {ratio:.1}, {verdict} {MOST}\n");
}

/// Prints the throughput of every case on every way, and how much slower the adversarial ones are. Each
/// way is held against itself: a slow one must not hide behind a fast one.
pub fn report() {
    for (kind, ordinary, adversarial) in [
        ("plain", ordinary_plain(), adversarial_plain()),
        ("escaped", ordinary_escaped(), adversarial_escaped()),
    ] {
        for way in WAYS {
            let [ordinary, adversarial] = [("ordinary", &ordinary), ("adversarial", &adversarial)]
                .map(|(which, cases)| {
                    let rates = cases.iter().map(|case| (case.name, rate(case, way)));
                    slowest(&format!("{which} {kind} text, {way:?}"), rates)
                });
            compare(ordinary, adversarial);
        }
    }
}
