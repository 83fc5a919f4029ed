//! Finding placeholders, and putting values in.

use divan::counter::BytesCount;
use divan::{Bencher, black_box};
use egret::secret::SecretBytes;
use egret::substitution::body::{self, BodyKind};
use egret::substitution::encoding::Encoding;
use egret::substitution::find;
use egret::substitution::placeholder;
use egret::substitution::splice::splice;

use super::noise;

const SIZE: usize = 256 * 1024;

#[divan::bench]
fn scan_header(bencher: Bencher) {
    let value = b"Bearer <<github-pat>>";
    bencher.bench_local(|| find::in_header(black_box("authorization"), black_box(value), None));
}

#[divan::bench]
fn scan_header_without(bencher: Bencher) {
    let value = b"Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko)";
    bencher.bench_local(|| placeholder::may_contain(Encoding::Header, black_box(value)));
}

#[divan::bench(args = [Encoding::Raw, Encoding::Json, Encoding::Xml, Encoding::FormUrl])]
fn scan_text(bencher: Bencher, form: Encoding) {
    // Brackets, escapes and percent signs, so that every form has something to consider.
    let text = noise(SIZE, b"abcdefghijklmnopqrstuvwxyz      <>{}\n\"=/<%&\\");
    bencher
        .counter(BytesCount::new(SIZE))
        .bench_local(|| placeholder::scan(form, black_box(&text)));
}

#[divan::bench]
fn scan_json_document(bencher: Bencher) {
    let text = document();
    bencher
        .counter(BytesCount::new(text.len()))
        .bench_local(|| body::find(&BodyKind::Json, black_box(&text)).map(|edits| edits.len()));
}

#[divan::bench(args = [1, 100])]
fn splice_json(bencher: Bencher, uses: usize) {
    let mut text = document();
    text.pop();
    for n in 0..uses {
        text.extend_from_slice(format!(r#",{{"token-{n}":"<<github-pat>>"}}"#).as_bytes());
    }
    text.push(b']');
    let edits = body::find(&BodyKind::Json, &text).unwrap_or_default();
    assert_eq!(edits.len(), uses);
    let value = SecretBytes::new(b"ghp_\"0123456789\"abcdefghijklmnopqrstuvwxyz".to_vec());
    bencher
        .counter(BytesCount::new(text.len()))
        .bench_local(|| splice(black_box(&text), &edits, |_| Some(&value)).map(|out| out.len()));
}

/// What an API is sent: an array of small objects.
fn document() -> Vec<u8> {
    let item =
        br#"{"id":12345,"name":"a \"quoted\" name","tags":["x","y"],"html":"\u003cb\u003e"},"#;
    let mut text = b"[".to_vec();
    while text.len() < SIZE {
        text.extend_from_slice(item);
    }
    text.pop();
    text.push(b']');
    text
}
