//! The guard on streams of bytes, cut in every way.

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use std::time::Duration;

use super::*;

mod properties;

const LIMITS: HeadLimits = HeadLimits {
    bytes: 4096,
    headers: 50,
    head_timeout: Duration::from_secs(5),
    first_timeout: Duration::from_secs(60),
    idle_timeout: Duration::from_secs(60),
    serves_half_closed: true,
};

/// Writes `chunks` one by one and returns what comes out and what the service would be told.
async fn play(chunks: &[&[u8]]) -> (Vec<u8>, Vec<Option<Code>>) {
    let (mut client, server) = tokio::io::duplex(64);
    let signal = HeadSignal::default();
    let mut guard = HeadGuard::new(server, BytesMut::new(), LIMITS, signal.clone());
    let chunks: Vec<Vec<u8>> = chunks.iter().map(|c| c.to_vec()).collect();
    let writer = tokio::spawn(async move {
        for chunk in chunks {
            // A guard that refused stops reading: then the pipe is gone.
            if client.write_all(&chunk).await.is_err() {
                break;
            }
        }
    });
    let (mut out, mut notes) = (Vec::new(), Vec::new());
    while guard.read_buf(&mut out).await.unwrap() > 0 {
        // Answered at once.
        while let Some(note) = signal.take() {
            notes.push(note.refusal.map(|refusal| refusal.code));
        }
    }
    drop(guard);
    writer.await.unwrap();
    (out, notes)
}

#[tokio::test]
async fn every_head_of_a_pipeline_is_normalised_and_no_body_is() {
    let (out, notes) = play(&[b"GET /1?k=<<gh>> HTTP/1.1\r\nHost: a\r\n\r\n\
          POST /2?<<a>> HTTP/1.1\r\nHost: a\r\nContent-Length: 7\r\n\r\nGET /<<\
          GET /3?<<b>> HTTP/1.1\r\nHost: a\r\n\r\n"])
    .await;
    let text = String::from_utf8(out).unwrap();
    assert!(text.contains("GET /1?k=%3C%3Cgh%3E%3E "));
    assert!(text.contains("POST /2?%3C%3Ca%3E%3E "));
    assert!(text.contains("\r\n\r\nGET /<<GET /3?%3C%3Cb%3E%3E "));
    assert_eq!(notes, [None, None, None]);
}

#[tokio::test]
async fn any_split_of_the_bytes_gives_the_same() {
    let bytes = b"\r\nPOST /<<x>> HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\n<<>GET / HTTP/1.1\r\nHost: a\r\n\r\n";
    let whole = play(&[bytes]).await;
    for at in 1..bytes.len() {
        assert_eq!(play(&[&bytes[..at], &bytes[at..]]).await, whole, "{at}");
    }
}

/// The guard used to take what followed for a head, and hyper for the rest of one that had begun in
/// the segment before.
#[tokio::test]
async fn a_head_that_begins_in_the_segment_of_a_chunked_body_is_one_head() {
    let first = b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n\
        GET /b HTTP/1.1\r\nHost: a\r\nX: ";
    let second = b"G / HTTP/1.1\r\nHost: evil.test\r\nA: <<gh>>\r\n\r\n";
    let (out, notes) = play(&[first, second]).await;
    assert_eq!(notes, [None, Some(Code::RequestMalformed)], "two Hosts");
    assert!(out.ends_with(&[b"0\r\n\r\n", REFUSED_HEAD].concat()));
}

#[tokio::test]
async fn a_chunked_body_whose_framing_is_wrong_ends_too_early() {
    let head = b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n";
    for (body, passed) in [
        ("5\r\nhello\n0\r\n\r\n", "5\r\nhello"),
        ("0\r\nA: b\nHost: c\r\n\r\n", "0\r\nA: b"),
    ] {
        let next = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n";
        let (out, notes) = play(&[head, body.as_bytes(), next]).await;
        assert_eq!(out, [head, passed.as_bytes()].concat());
        assert_eq!(notes, [None]);
    }
}

/// What follows a request waits for its answer, so that the library never holds two messages.
#[tokio::test]
async fn the_next_head_is_withheld_while_a_request_is_in_flight() {
    let (mut client, server) = tokio::io::duplex(1 << 16);
    let signal = HeadSignal::default();
    let mut guard = HeadGuard::new(server, BytesMut::new(), LIMITS, signal.clone());
    let head = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n";
    client.write_all(&head.repeat(500)).await.unwrap();
    let mut buf = [0u8; 1024];
    for _ in 0..500 {
        assert_eq!(guard.read(&mut buf).await.unwrap(), head.len());
        let early = tokio::time::timeout(Duration::ZERO, guard.read(&mut buf)).await;
        assert!(early.is_err(), "a head came before the answer");
        assert!(
            guard.raw.len() <= LIMITS.bytes + READ_SIZE,
            "{}",
            guard.raw.len()
        );
        drop(signal.take());
    }
}

/// The bytes after a CONNECT are the tunnel's if it is granted, and a head if it is refused.
#[tokio::test]
async fn what_follows_a_connect_waits_for_its_answer() {
    let connect = b"CONNECT a:443 HTTP/1.1\r\nHost: a\r\n\r\n";
    let next = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n";
    for is_refused in [true, false] {
        let (mut client, server) = tokio::io::duplex(4096);
        let signal = HeadSignal::default();
        let mut guard = HeadGuard::new(server, BytesMut::new(), LIMITS, signal.clone());
        client
            .write_all(&[&connect[..], next].concat())
            .await
            .unwrap();
        let mut buf = [0u8; 1024];
        assert_eq!(guard.read(&mut buf).await.unwrap(), connect.len());
        let early = tokio::time::timeout(Duration::from_millis(20), guard.read(&mut buf)).await;
        assert!(
            early.is_err(),
            "bytes of a tunnel, or a head, came before the answer"
        );
        if is_refused {
            signal.connect_refused();
            drop(signal.take());
            assert_eq!(guard.read(&mut buf).await.unwrap(), next.len());
            assert!(signal.take().is_some());
        } else {
            assert_eq!(guard.into_parts().1, next[..]);
        }
    }
}

/// `printf … | nc` with two requests.
#[tokio::test]
async fn a_client_that_ends_its_side_after_two_requests_gets_both_answers() {
    let (mut client, server) = tokio::io::duplex(4096);
    let signal = HeadSignal::default();
    let mut guard = HeadGuard::new(server, BytesMut::new(), LIMITS, signal.clone());
    let head = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n";
    client.write_all(&head.repeat(2)).await.unwrap();
    client.shutdown().await.unwrap();
    let mut buf = [0u8; 1024];
    for _ in 0..2 {
        assert_eq!(guard.read(&mut buf).await.unwrap(), head.len());
        let early = tokio::time::timeout(Duration::from_millis(50), guard.read(&mut buf)).await;
        assert!(early.is_err(), "the end was passed on before the answer");
        drop(signal.take());
    }
    assert_eq!(guard.read(&mut buf).await.unwrap(), 0);
}

#[tokio::test]
async fn a_refused_head_becomes_a_harmless_one_and_the_rest_is_not_read() {
    let (out, notes) =
        play(&[b"GET / HTTP/1.1\nHost: a\n\nGET /evil HTTP/1.1\r\nHost: a\r\n\r\n"]).await;
    assert_eq!(out, REFUSED_HEAD);
    assert_eq!(notes, [Some(Code::RequestMalformed)]);
}

#[tokio::test]
async fn a_head_past_the_limit_is_refused_before_it_is_buffered_whole() {
    let long = vec![b'a'; 1_000_000];
    let (out, notes) = play(&[b"GET / HTTP/1.1\r\nHost: a\r\nX: ", &long]).await;
    assert_eq!(out, REFUSED_HEAD);
    assert_eq!(notes, [Some(Code::HeadersTooLarge)]);
}

#[tokio::test]
async fn a_stalled_head_and_an_idle_connection_end_but_a_busy_one_does_not() {
    let limits = HeadLimits {
        head_timeout: Duration::from_millis(40),
        first_timeout: Duration::from_millis(80),
        idle_timeout: Duration::from_millis(80),
        ..LIMITS
    };
    let (mut client, server) = tokio::io::duplex(4096);
    let signal = HeadSignal::default();
    let mut guard = HeadGuard::new(server, BytesMut::new(), limits, signal.clone());
    client
        .write_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        .await
        .unwrap();
    let mut buf = [0u8; 1024];
    assert!(guard.read(&mut buf).await.unwrap() > 0);
    let busy = tokio::time::timeout(Duration::from_millis(200), guard.read(&mut buf)).await;
    assert!(busy.is_err(), "in flight: no deadline runs");
    drop(signal.take());
    let start = Instant::now();
    assert_eq!(guard.read(&mut buf).await.unwrap(), 0, "an orderly end");
    assert!(start.elapsed() >= limits.idle_timeout);
    client.write_all(b"GET /").await.unwrap();
    let start = Instant::now();
    assert_eq!(guard.read(&mut buf).await.unwrap(), 0);
    assert!(start.elapsed() >= limits.head_timeout);
}

#[tokio::test]
async fn a_client_that_ends_its_side_is_waited_with_for_its_answer() {
    let (mut client, server) = tokio::io::duplex(4096);
    let signal = HeadSignal::default();
    let mut guard = HeadGuard::new(server, BytesMut::new(), LIMITS, signal.clone());
    let head = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n";
    client.write_all(head).await.unwrap();
    client.shutdown().await.unwrap();
    let mut buf = [0u8; 1024];
    assert_eq!(guard.read(&mut buf).await.unwrap(), head.len());
    let early = tokio::time::timeout(Duration::from_millis(100), guard.read(&mut buf)).await;
    assert!(early.is_err(), "the end was passed on before the answer");
    drop(signal.take());
    assert_eq!(guard.read(&mut buf).await.unwrap(), 0);
    // In the middle of a message the end is its end.
    let (mut client, server) = tokio::io::duplex(4096);
    let mut guard = HeadGuard::new(server, BytesMut::new(), LIMITS, signal);
    let cut = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\ncut";
    client.write_all(cut).await.unwrap();
    drop(client);
    let mut out = Vec::new();
    guard.read_to_end(&mut out).await.unwrap();
    assert_eq!(out, cut);
}

#[tokio::test]
async fn the_end_of_a_request_starts_the_idle_time_of_a_reader_that_waits() {
    let limits = HeadLimits {
        first_timeout: Duration::from_millis(50),
        idle_timeout: Duration::from_millis(50),
        ..LIMITS
    };
    let (mut client, server) = tokio::io::duplex(4096);
    let signal = HeadSignal::default();
    let mut guard = HeadGuard::new(server, BytesMut::new(), limits, signal.clone());
    let head = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n";
    client.write_all(head).await.unwrap();
    let reader = tokio::spawn(async move {
        let mut buf = [0u8; 1024];
        assert_eq!(guard.read(&mut buf).await.unwrap(), head.len());
        guard.read(&mut buf).await.unwrap()
    });
    tokio::time::sleep(Duration::from_millis(100)).await;
    drop(signal.take());
    let ended = tokio::time::timeout(Duration::from_secs(5), reader).await;
    assert_eq!(ended.unwrap().unwrap(), 0);
}

#[tokio::test]
async fn a_client_that_does_not_read_is_given_up() {
    let limits = HeadLimits {
        first_timeout: Duration::from_millis(50),
        idle_timeout: Duration::from_millis(50),
        ..LIMITS
    };
    let (_client, server) = tokio::io::duplex(64);
    let mut guard = HeadGuard::new(server, BytesMut::new(), limits, HeadSignal::default());
    let written = guard.write_all(&[0u8; 1024]).await;
    assert_eq!(written.unwrap_err().kind(), io::ErrorKind::TimedOut);
}
