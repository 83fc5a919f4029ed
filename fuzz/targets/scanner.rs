//! The scanner against the obvious one, whole and in pieces. Input: form, cuts, text.

#![no_main]

use egret_fuzz::substitution::encoding::Encoding;
use egret_fuzz::substitution::placeholder::{MAX_CARRY, may_contain, scan, scan_partial};
use egret_fuzz::{choose, oracle, pieces};
use libfuzzer_sys::fuzz_target;

const FORMS: [Encoding; 10] = [
    Encoding::Raw,
    Encoding::Header,
    Encoding::BasicUser,
    Encoding::Percent,
    Encoding::FormUrl,
    Encoding::Json,
    Encoding::Xml,
    Encoding::Cdata,
    Encoding::Message,
    Encoding::BasicForm,
];

fuzz_target!(|data: &[u8]| {
    let [form, cuts, text @ ..] = data else {
        return;
    };
    let form = choose(&FORMS, *form);
    let tokens = scan(form, text);
    let seen: Vec<oracle::Found> = tokens
        .iter()
        .map(|token| oracle::Found {
            start: token.span.start,
            end: token.span.end,
            escape: token.escape,
            name: token.reference.to_string(),
            depth: token.depth,
        })
        .collect();
    assert_eq!(seen, oracle::scan(form, text));
    assert!(tokens.is_empty() || may_contain(form, text));

    let (mut window, mut base, mut streamed) = (Vec::new(), 0, Vec::new());
    let mut read = |piece: &[u8], eof: bool| {
        window.extend_from_slice(piece);
        let partial = scan_partial(form, &window, eof, None);
        streamed.extend(partial.tokens.into_iter().map(|mut token| {
            token.span = token.span.start + base..token.span.end + base;
            token
        }));
        window.drain(..partial.decided);
        base += partial.decided;
        assert!(window.len() <= MAX_CARRY);
    };
    for piece in pieces(text, *cuts) {
        read(piece, false);
    }
    read(&[], true);
    assert_eq!(base, text.len(), "everything is decided at the end");
    assert_eq!(streamed, tokens);
});
