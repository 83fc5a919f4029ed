//! Content codings as other programs write and read them, for both ends of a test.

use std::io::{Read, Write};

use flate2::Compression;
use flate2::read::{GzDecoder, ZlibDecoder};
use flate2::write::{GzEncoder, ZlibEncoder};

/// Every coding that Egret opens.
pub const CODINGS: [&str; 4] = ["gzip", "deflate", "br", "zstd"];

/// `text` as that coding; `identity` leaves it alone.
pub fn close(coding: &str, text: &[u8]) -> Vec<u8> {
    let written = match coding {
        "identity" => Ok(text.to_vec()),
        "gzip" => {
            let mut encoder = GzEncoder::new(Vec::new(), Compression::new(6));
            encoder.write_all(text).and_then(|()| encoder.finish())
        }
        "deflate" => {
            let mut encoder = ZlibEncoder::new(Vec::new(), Compression::new(6));
            encoder.write_all(text).and_then(|()| encoder.finish())
        }
        "br" => {
            let mut coded = Vec::new();
            let mut reader = brotli::CompressorReader::new(text, 4096, 3, 20);
            reader.read_to_end(&mut coded).map(|_| coded)
        }
        "zstd" => zstd::stream::encode_all(text, 3),
        other => panic!("no coding {other}"),
    };
    written.expect("compress")
}

/// Decodes a complete body of that coding.
///
/// # Panics
/// When it is not a complete body of that coding.
pub fn open(coding: &str, body: &[u8]) -> Vec<u8> {
    let mut text = Vec::new();
    let mut body = body;
    let read = match coding {
        "identity" => body.read_to_end(&mut text).map(drop),
        "gzip" => GzDecoder::new(body).read_to_end(&mut text).map(drop),
        "deflate" => ZlibDecoder::new(body).read_to_end(&mut text).map(drop),
        "br" => brotli::Decompressor::new(body, 4096)
            .read_to_end(&mut text)
            .map(drop),
        "zstd" => zstd::stream::copy_decode(body, &mut text),
        other => panic!("no coding {other}"),
    };
    read.unwrap_or_else(|e| panic!("not {coding}: {e}"));
    text
}

/// A gzip body that is written event by event: each piece can be read before the next is there.
pub fn gzip_pieces(pieces: &[&[u8]]) -> Vec<Vec<u8>> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::new(6));
    let mut written = Vec::new();
    for piece in pieces {
        encoder.write_all(piece).expect("compress");
        encoder.flush().expect("flush");
        written.push(std::mem::take(encoder.get_mut()));
    }
    if let Some(last) = written.last_mut() {
        last.extend(encoder.finish().expect("finish"));
    }
    written
}

/// Decodes as much as can be read of an incomplete gzip body.
pub fn gzip_so_far(body: &[u8]) -> Vec<u8> {
    let mut text = Vec::new();
    let mut reader = GzDecoder::new(body);
    let mut byte = [0u8];
    while let Ok(1) = reader.read(&mut byte) {
        text.push(byte[0]);
    }
    text
}

/// A body in chunks of at most `size` bytes, without its end.
pub fn chunks(body: &[u8], size: usize) -> Vec<u8> {
    let mut wire = Vec::new();
    for chunk in body.chunks(size.max(1)) {
        wire.extend(format!("{:x}\r\n", chunk.len()).into_bytes());
        wire.extend_from_slice(chunk);
        wire.extend_from_slice(b"\r\n");
    }
    wire
}

/// [`chunks`] with the end.
pub fn chunked(body: &[u8], size: usize) -> Vec<u8> {
    [chunks(body, size), b"0\r\n\r\n".to_vec()].concat()
}

/// Text that does not compress, so that a coded body is about as large as a plain one.
pub fn noise(length: usize) -> String {
    let mut state = 0x9E37_79B9_7F4A_7C15_u64;
    let mut next = || {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        char::from(b" abcdefghijklmnopqrstuvwxyzABCDE"[(state >> 59) as usize])
    };
    (0..length).map(|_| next()).collect()
}

#[test]
fn what_was_closed_opens_to_the_same() {
    let text = noise(10_000);
    for coding in CODINGS {
        let body = close(coding, text.as_bytes());
        assert_ne!(body, text.as_bytes(), "{coding}");
        assert_eq!(open(coding, &body), text.as_bytes(), "{coding}");
    }
    let pieces = gzip_pieces(&[b"one", b"two"]);
    assert_eq!(gzip_so_far(&pieces[0]), b"one");
    assert_eq!(open("gzip", &pieces.concat()), b"onetwo");
}
