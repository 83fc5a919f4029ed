//! Large bodies.

use std::time::Instant;

use anyhow::{Result, ensure};

use super::Scale;
use crate::client::Connection;
use crate::origin::PROOF;
use crate::table::Figures;
use crate::target::{HOST, Route};

const MEBIBYTE: usize = 1 << 20;
/// What is handed to TLS at once.
const PIECE: usize = 64 * 1024;

/// One request body: text with a placeholder in each mebibyte, or binary.
pub async fn upload(route: &Route, scale: Scale, is_text: bool) -> Result<Figures> {
    let blocks = if is_text {
        // One placeholder inside a piece, and one across the border of two.
        [
            block(route.written, 12_345),
            block(route.written, PIECE - 4),
        ]
    } else {
        [block("", 0), block("", 0)]
    };
    let (content_type, expected) = if is_text {
        ("text/plain", scale.mebibytes)
    } else {
        ("application/octet-stream", 0)
    };
    let length = scale.mebibytes * MEBIBYTE as u64;
    let mut connection = Connection::tls(route, HOST, &route.connectors.full).await?;
    let head = format!(
        "POST /sink?expect={expected} HTTP/1.1\r\nHost: {HOST}:{}\r\nContent-Type: {content_type}\r\nContent-Length: {length}\r\n\r\n",
        route.ports.tls
    );
    let started = Instant::now();
    connection.send(head.as_bytes()).await?;
    for n in 0..scale.mebibytes {
        for piece in blocks[n as usize % 2].chunks(PIECE) {
            connection.send(piece).await?;
        }
    }
    connection.answer().await?.check(PROOF)?;
    Ok(bulk(length, started))
}

fn block(written: &str, at: usize) -> Vec<u8> {
    let words = b"the quick brown fox <jumps> over {the} lazy dog\n";
    let mut block: Vec<u8> = words.iter().copied().cycle().take(MEBIBYTE).collect();
    block[at..at + written.len()].copy_from_slice(written.as_bytes());
    block
}

/// One answer of text.
pub async fn download(route: &Route, scale: Scale) -> Result<Figures> {
    let length = scale.mebibytes * MEBIBYTE as u64;
    let mut connection = Connection::tls(route, HOST, &route.connectors.full).await?;
    let request = format!(
        "GET /bytes/{length} HTTP/1.1\r\nHost: {HOST}:{}\r\n\r\n",
        route.ports.tls
    );
    let started = Instant::now();
    connection.send(request.as_bytes()).await?;
    let answer = connection.answer().await?;
    let whole = answer.status == 200 && answer.length == length;
    ensure!(
        whole,
        "status {}, {} of {length} bytes",
        answer.status,
        answer.length
    );
    Ok(bulk(length, started))
}

fn bulk(length: u64, started: Instant) -> Figures {
    Figures {
        rate: Some(length as f64 / 1e6 / started.elapsed().as_secs_f64()),
        count: length / 1_000_000,
        ..Figures::default()
    }
}
