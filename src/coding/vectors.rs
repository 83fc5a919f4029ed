//! Bodies that other implementations wrote (CPython's zlib and gzip, GNU gzip, the zstd command,
//! Node.js), and what a hostile one would make of them.

use super::fixture::{codings, compress, decompress, decompress_pieces, drain};
use super::{Coding, CodingError, DecodeLimits, Decoder, Encoder, Pulled};

const TEXT: &[u8] = b"data: {\"echo\":\"hello hello hello hello\"}\n\n";

const GZIP: &str = "1f8b08000000000002ff4b492c49b452a8564a4dcec857b252ca48cdc9c957c020956ab9b8\
    00855cae6d2a000000";
/// Modification time, extra field, file name, comment and header checksum.
const GZIP_FULL_HEADER: &str = "1f8b081f00f15365020306004142020078796e2e7478740077687900004e4b492c\
    49b452a8564a4dcec857b252ca48cdc9c957c020956ab9b800855cae6d2a000000";
/// The second of three members is empty, the third has a file name.
const GZIP_MEMBERS: &str = "1f8b08000000000002ff4b492c49b452a8564a4d06007c90a35a0a0000001f8b080000\
    00000002ff030000000000000000001f8b08080000000002ff7365636f6e642e74787400cbc857b252ca48cdc9c957\
    c020956ab9b80046f3a05120000000";
const ZLIB: &str = "78da4b492c49b452a8564a4dcec857b252ca48cdc9c957c020956ab9b80033ec0e12";
/// A window of 512 bytes.
const ZLIB_SMALL: &str = "18d34b492c49b452a8564a4dcec857b252ca48cdc9c957c020956ab9b80033ec0e12";
const ZLIB_DICTIONARY: &str =
    "78f9199104494b492c49b452a8564a4dcec857b252ca40c820934ab55c5c0033ec0e12";
const RAW: &str = "4b492c49b452a8564a4dcec857b252ca48cdc9c957c020956ab9b800";
const RAW_STORED: &str = "012a00d5ff646174613a207b226563686f223a2268656c6c6f2068656c6c6f2068656c6c\
    6f2068656c6c6f227d0a0a";
const BROTLI: &str = "8b1480646174613a207b226563686f223a2268656c6c6f2068656c6c6f2068656c6c6f206865\
    6c6c6f227d0a0a03";
const ZSTD: &str =
    "28b52ffd0458fd0000c8646174613a207b226563686f223a2268656c6c6f20227d0a0a010033172612df0d38";
const ZSTD_NO_CHECKSUM: &str =
    "28b52ffd0058fd0000c8646174613a207b226563686f223a2268656c6c6f20227d0a0a0100331726";
/// A skippable frame, a frame, an empty skippable frame, a frame.
const ZSTD_FRAMES: &str = "502a4d180300000061626328b52ffd0458510000646174613a207b22656395dd21f15f2a\
    4d180000000028b52ffd0458ad000078686f223a2268656c6c6f20227d0a0a0100998b173888ff9d";

fn unhex(hex: &str) -> Vec<u8> {
    let digits: Vec<u8> = hex
        .bytes()
        .filter(|byte| !byte.is_ascii_whitespace())
        .collect();
    digits
        .chunks(2)
        .map(|pair| u8::from_str_radix(str::from_utf8(pair).expect("ASCII"), 16).expect("hex"))
        .collect()
}

/// One body of each sort that has a single end.
fn single() -> Vec<(&'static str, Coding, Vec<u8>)> {
    [
        ("gzip", Coding::Gzip, GZIP),
        ("gzip, full header", Coding::Gzip, GZIP_FULL_HEADER),
        ("zlib", Coding::Deflate, ZLIB),
        ("zlib, small window", Coding::Deflate, ZLIB_SMALL),
        ("raw deflate", Coding::Deflate, RAW),
        ("raw deflate, stored", Coding::Deflate, RAW_STORED),
        ("br", Coding::Brotli, BROTLI),
        ("zstd", Coding::Zstd, ZSTD),
        ("zstd, no checksum", Coding::Zstd, ZSTD_NO_CHECKSUM),
    ]
    .map(|(name, coding, hex)| (name, coding, unhex(hex)))
    .to_vec()
}

#[test]
fn bodies_of_other_implementations_open_in_any_pieces() {
    let mut bodies = single();
    bodies.push(("gzip members", Coding::Gzip, unhex(GZIP_MEMBERS)));
    bodies.push(("zstd frames", Coding::Zstd, unhex(ZSTD_FRAMES)));
    for (name, coding, wire) in bodies {
        for (size, room) in [
            (1, 1),
            (1, 7),
            (2, 4096),
            (3, 2),
            (wire.len(), 1),
            (wire.len(), 42),
        ] {
            let opened = decompress_pieces(
                &coding.into(),
                DecodeLimits::default(),
                wire.chunks(size),
                room,
            );
            assert_eq!(
                opened,
                (TEXT.to_vec(), Ok(())),
                "{name} by {size} into {room}"
            );
        }
    }
}

#[test]
fn a_body_that_ends_early_is_truncated_wherever_it_does() {
    for (name, coding, wire) in single() {
        for end in 1..wire.len() {
            let opened = decompress(&coding.into(), &wire[..end]);
            assert_eq!(
                opened,
                Err(CodingError::Truncated(coding)),
                "{name} up to {end}"
            );
        }
    }
    for (coding, hex) in [(Coding::Gzip, GZIP_MEMBERS), (Coding::Zstd, ZSTD_FRAMES)] {
        let wire = unhex(hex);
        let opened = decompress(&coding.into(), &wire[..wire.len() - 1]);
        assert_eq!(opened, Err(CodingError::Truncated(coding)));
    }
}

#[test]
fn an_outer_coding_that_is_complete_does_not_hide_a_truncated_inner_one() {
    let gzip = unhex(GZIP);
    let wire = compress(&Coding::Brotli.into(), &gzip[..gzip.len() - 3]);
    let opened = decompress(&codings("gzip, br"), &wire);
    assert_eq!(opened, Err(CodingError::Truncated(Coding::Gzip)));
}

#[test]
fn a_body_without_bytes_opens_to_nothing() {
    for value in ["identity", "gzip", "deflate", "br", "zstd", "gzip, br"] {
        assert_eq!(decompress(&codings(value), b""), Ok(Vec::new()), "{value}");
    }
}

#[test]
fn garbage_after_the_end_is_an_error() {
    for (name, coding, wire) in single() {
        for garbage in [
            &b"\0"[..],
            b"\n",
            b"<script>",
            b"\x1f\x8c\x08\0\0\0\0\0\0\0",
            b"\x28\xb5\x2f\xfe1234",
        ] {
            let whole = [&wire, garbage].concat();
            for size in [1, whole.len()] {
                let (out, end) = decompress_pieces(
                    &coding.into(),
                    DecodeLimits::default(),
                    whole.chunks(size),
                    4096,
                );
                assert!(end.is_err(), "{name} and {garbage:?} by {size}");
                assert_eq!(out, TEXT);
            }
        }
    }
}

#[test]
fn a_wrong_checksum_or_length_is_an_error() {
    for (coding, hex, behind) in [
        (Coding::Gzip, GZIP, 8),
        (Coding::Gzip, GZIP, 1),
        (Coding::Gzip, GZIP_FULL_HEADER, 37),
        (Coding::Deflate, ZLIB, 1),
        (Coding::Zstd, ZSTD, 1),
    ] {
        let mut wire = unhex(hex);
        let at = wire.len() - behind;
        wire[at] ^= 1;
        let opened = decompress(&coding.into(), &wire);
        assert_eq!(
            opened,
            Err(CodingError::Corrupt(coding)),
            "{coding} at {at}"
        );
    }
}

#[test]
fn a_body_in_another_coding_than_it_says_is_an_error() {
    for (name, _, wire) in single() {
        for coding in Coding::ALL {
            let opened = decompress(&coding.into(), &wire);
            let says_so = opened.as_deref() == Ok(TEXT);
            let named = name.starts_with(coding.as_str())
                || (coding == Coding::Deflate
                    && (name.starts_with("zlib") || name.starts_with("raw")));
            assert_eq!(says_so, named, "{name} as {coding}");
            assert_eq!(opened.is_ok(), named, "{name} as {coding}");
        }
    }
}

#[test]
fn windows_and_dictionaries_that_the_codings_do_not_have_are_refused() {
    let zstd: [u8; 3] = [0x68, 0x69, 0x88];
    for (window, fine) in zstd.into_iter().zip([true, false, false]) {
        // The sixth byte is the window descriptor: 8 MiB, 9 MiB, 128 MiB.
        let mut wire = unhex(ZSTD_NO_CHECKSUM);
        wire[5] = window;
        assert_eq!(
            decompress(&Coding::Zstd.into(), &wire).is_ok(),
            fine,
            "{window:x}"
        );
    }
    // The mark of a large window, 30 bits of it, an empty last block.
    let large = decompress(&Coding::Brotli.into(), &[0x11, 0x1e, 0x03]);
    assert_eq!(large, Err(CodingError::Corrupt(Coding::Brotli)));
    let dictionary = decompress(&Coding::Deflate.into(), &unhex(ZLIB_DICTIONARY));
    assert_eq!(dictionary, Err(CodingError::Corrupt(Coding::Deflate)));
}

#[test]
fn a_frame_within_the_header_of_a_frame_is_never_taken_for_one() {
    // A dictionary named like the magic number of a frame; a length that the content has not got.
    let nested = "28b52ffd2348490000".to_owned() + "28b52ffd2000010000";
    for hex in [&nested, "28b52ffd2001010000"] {
        let wire = unhex(hex);
        let opened = |pieces: &[&[u8]]| {
            decompress_pieces(
                &Coding::Zstd.into(),
                DecodeLimits::default(),
                pieces.to_vec(),
                4096,
            )
        };
        for cut in 1..wire.len() {
            let (head, tail) = wire.split_at(cut);
            assert_eq!(
                opened(&[head, tail]),
                opened(&[&wire]),
                "{hex} cut at {cut}"
            );
        }
    }
}

#[test]
fn many_small_members_are_no_bomb() {
    let member = compress(&Coding::Gzip.into(), b"a line in a log\n");
    let opened = decompress(&Coding::Gzip.into(), &member.repeat(2000));
    assert_eq!(opened.map(|out| out.len()), Ok(2000 * 16));
}

#[test]
fn deflate_is_written_again_in_the_dialect_it_came_in() {
    for (hex, bare) in [(ZLIB, false), (RAW, true)] {
        let mut decoder = Decoder::new(&codings("gzip, deflate"), DecodeLimits::default());
        let mut out = Vec::new();
        // What is inside is gzip, so read only as much as shows the dialect.
        decoder.push(&unhex(hex));
        assert!(drain(&mut decoder, &mut out, 64).is_err());
        let mut wire = Vec::new();
        Encoder::like(&decoder).finish(&mut wire).expect("finished");
        assert_eq!(wire[0] == 0x78, !bare);
        assert_eq!(decompress(&codings("gzip, deflate"), &wire), Ok(Vec::new()));
    }
}

#[test]
fn bombs_stop_early() {
    let zeros = vec![0; 10 << 20];
    for value in [
        "gzip",
        "deflate",
        "br",
        "zstd",
        "gzip, gzip",
        "br, zstd",
        "zstd, gzip, br",
    ] {
        let codings = codings(value);
        let wire = compress(&codings, &zeros);
        let (out, end) = decompress_pieces(&codings, DecodeLimits::default(), [&wire[..]], 1 << 10);
        assert_eq!(end, Err(CodingError::Bomb), "{value}, {} bytes", wire.len());
        let allowed = (1 << 20) + 200 * wire.len();
        assert!(out.len() <= allowed + (1 << 10), "{value}: {}", out.len());
    }
}

#[test]
fn a_bomb_that_opens_to_nothing_in_the_end_stops_as_well() {
    // Empty members of 20 bytes each, ten thousand of them in a few hundred bytes.
    let member = compress(&Coding::Gzip.into(), b"");
    let mut encoder = Encoder::new(&Coding::Zstd.into());
    let mut wire = Vec::new();
    let many = member.repeat(1000);
    for _ in 0..10 {
        encoder.push(&many, &mut wire).expect("taken");
    }
    encoder.finish(&mut wire).expect("finished");
    let (out, end) = decompress_pieces(
        &codings("gzip, zstd"),
        DecodeLimits::default(),
        [&wire[..]],
        4096,
    );
    assert_eq!((out.len(), end), (0, Err(CodingError::Bomb)));
}

#[test]
fn what_is_small_or_within_the_ratio_is_no_bomb() {
    let blanks = vec![b' '; 1 << 20];
    for coding in Coding::ALL {
        let opened = decompress(&coding.into(), &compress(&coding.into(), &blanks));
        assert_eq!(opened.map(|out| out.len()), Ok(1 << 20), "{coding}");
    }
}

#[test]
fn a_cap_holds_to_the_byte() {
    for (value, wire) in [("gzip", unhex(GZIP)), ("identity", TEXT.to_vec())] {
        for (cap, end) in [
            (42, Ok(())),
            (43, Ok(())),
            (41, Err(CodingError::Bomb)),
            (0, Err(CodingError::Bomb)),
        ] {
            let limits = DecodeLimits {
                max_output: Some(cap),
                ..DecodeLimits::default()
            };
            for room in [1, 40, 4096] {
                let opened = decompress_pieces(&codings(value), limits, [&wire[..]], room);
                let kept = TEXT.len().min(usize::try_from(cap).expect("small"));
                assert_eq!(
                    opened,
                    (TEXT[..kept].to_vec(), end),
                    "{value} up to {cap} into {room}"
                );
            }
        }
    }
}

#[test]
fn nothing_is_pulled_into_no_room() {
    let mut decoder = Decoder::new(&Coding::Gzip.into(), DecodeLimits::default());
    decoder.push(&unhex(GZIP));
    let mut out = Vec::new();
    assert_eq!(decoder.pull(&mut out, 0), Ok(Pulled::More));
    assert!(out.is_empty());
}

#[test]
fn coders_can_move_between_threads() {
    fn movable<T: Send>() {}
    movable::<Decoder>();
    movable::<Encoder>();
}
