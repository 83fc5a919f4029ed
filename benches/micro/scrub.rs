//! Taking values out of what comes back: by number of values, and by kind of text.

use std::sync::Arc;

use divan::counter::BytesCount;
use divan::{Bencher, black_box};
use egret::scrub::{Needles, Replacement, Scrubber, scrub_bytes};
use egret::secret::SecretBytes;

use super::{noise, values};

const SIZE: usize = 256 * 1024;
/// What one read from a connection brings.
const PIECE: usize = 16 * 1024;
const COUNTS: [usize; 4] = [1, 16, 256, 4_096];

fn named(count: usize) -> Vec<(String, Arc<SecretBytes>)> {
    let values = values(count).into_iter().enumerate();
    values
        .map(|(n, value)| (format!("token-{n}"), Arc::new(SecretBytes::new(value))))
        .collect()
}

fn scrub(bencher: Bencher, count: usize, text: Vec<u8>) {
    let needles = Arc::new(Needles::new(named(count)));
    bencher
        .counter(BytesCount::new(text.len()))
        .bench_local(|| {
            let mut scrubber = Scrubber::new(Arc::clone(&needles), Replacement::Placeholder);
            let (mut out, mut hits) = (Vec::with_capacity(PIECE), Vec::new());
            for piece in text.chunks(PIECE) {
                out.clear();
                scrubber.push(black_box(piece), &mut out, &mut hits);
            }
            scrubber.finish(&mut out, &mut hits);
            assert!(hits.is_empty());
        });
}

#[divan::bench(args = COUNTS)]
fn prose(bencher: Bencher, count: usize) {
    let text: Vec<u8> = b"The quick brown fox jumps over the lazy dog, again and again.\n".to_vec();
    scrub(
        bencher,
        count,
        text.into_iter().cycle().take(SIZE).collect(),
    );
}

/// Many short lines, and markup.
#[divan::bench(args = COUNTS)]
fn markup(bencher: Bencher, count: usize) {
    scrub(
        bencher,
        count,
        noise(SIZE, b"abcdefghijklmnopqrstuvwxyz <>{}\n"),
    );
}

/// What is sent as base64 by mail and in certificates: every line could be the end of a value's.
#[divan::bench(args = COUNTS)]
fn wrapped_base64(bencher: Bencher, count: usize) {
    let alphabet = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = noise(SIZE, alphabet);
    text.chunks_mut(65).for_each(|line| {
        if let Some(end) = line.get_mut(64) {
            *end = b'\n';
        }
    });
    scrub(bencher, count, text);
}

#[divan::bench(args = COUNTS)]
fn json(bencher: Bencher, count: usize) {
    let text = br#"{"id":8812345,"node_id":"MDQ6VXNlcjE=","name":"octo","url":"https://api.example.com/users/octo"},"#;
    scrub(
        bencher,
        count,
        text.iter().copied().cycle().take(SIZE).collect(),
    );
}

#[divan::bench(args = COUNTS)]
fn base64(bencher: Bencher, count: usize) {
    let alphabet = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    scrub(bencher, count, noise(SIZE, alphabet));
}

#[divan::bench(args = COUNTS)]
fn binary(bencher: Bencher, count: usize) {
    let bytes: Vec<u8> = (0..=255).collect();
    scrub(bencher, count, noise(SIZE, &bytes));
}

/// Text as models write it, in JSON: a good deal of it is escaped quotes and line breaks.
#[divan::bench(args = COUNTS)]
fn json_text(bencher: Bencher, count: usize) {
    let text = br#"{"text":"He said \"no\".\nThen:\n\n* one thing\n* and another, \u2019til the end.\n"},"#;
    scrub(
        bencher,
        count,
        text.iter().copied().cycle().take(SIZE).collect(),
    );
}

#[divan::bench(args = COUNTS)]
fn escapes(bencher: Bencher, count: usize) {
    let text = br"\u0041%41&#65;&amp;\n%25\u0020&lt;\/";
    scrub(
        bencher,
        count,
        text.iter().copied().cycle().take(SIZE).collect(),
    );
}

#[divan::bench(args = COUNTS)]
fn header(bencher: Bencher, count: usize) {
    let needles = Needles::new(named(count));
    let value = b"max-age=63072000; includeSubDomains; preload";
    bencher.bench_local(|| scrub_bytes(&needles, black_box(value), &mut Vec::new()));
}

/// A body in one piece, and as short as many an API's answer.
#[divan::bench(args = COUNTS)]
fn small_body(bencher: Bencher, count: usize) {
    let needles = Arc::new(Needles::new(named(count)));
    let body = br#"{"id":8812345,"node_id":"MDQ6VXNlcjE=","name":"octo"}"#;
    bencher.bench_local(|| {
        let mut scrubber = Scrubber::new(Arc::clone(&needles), Replacement::Placeholder);
        let (mut out, mut hits) = (Vec::with_capacity(body.len()), Vec::new());
        scrubber.push(black_box(body), &mut out, &mut hits);
        scrubber.finish(&mut out, &mut hits);
        out
    });
}

/// What a request has used is most often what its principal's needles were made from.
#[divan::bench(args = COUNTS)]
fn with_used(bencher: Bencher, count: usize) {
    let named = named(count);
    let needles = Arc::new(Needles::new(named.clone()));
    let used = &named[count / 2..][..1];
    bencher.bench_local(|| needles.with_used(black_box(used)));
}

#[divan::bench(args = COUNTS)]
fn prepare(bencher: Bencher, count: usize) {
    let named = named(count);
    bencher.bench_local(|| Needles::new(black_box(named.clone())));
}
