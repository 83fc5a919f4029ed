//! Answers that are ready before the request's body was read: the connection serves the next request, or
//! the answer says that it ends, and the answer arrives.

use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt as _};

use crate::client::{assert_refused, basic, request};
use crate::coded::noise;
use crate::wire::{Response, Wire, values};
use crate::within;
use crate::world::{HOST, World, one_upstream};

/// How often each is tried: a close that is not announced is a race.
const TRIES: usize = 20;

/// A request that is refused before its body is read.
struct Early {
    status: u16,
    code: &'static str,
    /// The request line and the lines of the head, without framing.
    head: String,
}

/// The same body in both framings, small, and too large to be worth reading.
fn framed(head: &str) -> Vec<(String, &'static str)> {
    let large = noise(300_000);
    let chunk = format!("{:x}\r\n{large}\r\n0\r\n\r\n", large.len());
    vec![
        (format!("{head}Content-Length: 5\r\n\r\nhello"), "a length"),
        (
            format!("{head}Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n"),
            "chunks",
        ),
        (
            format!("{head}Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\nA: b\r\n\r\n"),
            "chunks and a trailer",
        ),
        (
            format!("{head}Content-Length: {}\r\n\r\n{large}", large.len()),
            "a large length",
        ),
        (
            format!("{head}Transfer-Encoding: chunked\r\n\r\n{chunk}"),
            "a large chunk",
        ),
    ]
}

fn is_closing(answer: &Response) -> bool {
    values(&answer.headers, "connection")
        .iter()
        .any(|value| value.eq_ignore_ascii_case(b"close"))
}

/// Sends one request of the kind and then an honest one, which has to be served unless the close was
/// announced.
async fn try_once<S>(wire: &mut Wire<S>, early: &Early, ask: &str, next: &str, what: &str)
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let what = format!("{} with {what}", early.code);
    // The answer may come, and the connection end, before all is written.
    let _ = within("sending", wire.send(ask)).await;
    let answer = within("an answer", wire.response(false))
        .await
        .unwrap_or_else(|error| panic!("{what}: {error}"));
    assert_eq!(answer.status, early.status, "{what}: {}", answer.text());
    assert_refused(&answer, early.code);
    if is_closing(&answer) {
        within("the end", wire.until_closed()).await;
        return;
    }
    wire.send(next).await.expect("send");
    let answer = within("the next answer", wire.response(false))
        .await
        .unwrap_or_else(|error| panic!("the request after {what}: {error}"));
    assert_eq!(
        answer.status,
        200,
        "the request after {what}: {}",
        answer.text()
    );
}

fn head(method: &str, target: &str, lines: &[&str]) -> String {
    let head = request(method, target, lines, "");
    head.strip_suffix("\r\n").expect("an empty line").to_owned()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn after_an_early_refusal_inside_tls_the_next_request_is_served_or_the_close_was_announced() {
    let (world, _stub) = one_upstream().await;
    let kinds = [
        Early {
            status: 421,
            code: "destination_mismatch",
            head: head("POST", "/x", &[]).replace(HOST, "evil.example.test"),
        },
        Early {
            status: 424,
            code: "credential_not_found",
            head: head(
                "POST",
                "/x",
                &["X-Key: <<nosuch>>", "Content-Type: image/png"],
            ),
        },
        Early {
            status: 415,
            code: "body_encoding_unsupported",
            head: head(
                "POST",
                "/x",
                &["Content-Encoding: x-own", "Content-Type: text/plain"],
            ),
        },
    ];
    for early in kinds {
        for (ask, what) in framed(&early.head) {
            for _ in 0..TRIES {
                let mut wire = world.tunnel().await.wire;
                let next = request("GET", "/next", &[], "");
                try_once(&mut wire, &early, &ask, &next, what).await;
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn after_an_early_refusal_on_the_proxy_port_the_next_request_is_served_or_the_close_was_announced()
 {
    let (world, _stub) = World::plain_upstream().await;
    let line = format!("Proxy-Authorization: {}", basic("act-1", &world.token));
    let absolute = |lines: &[&str]| {
        head("POST", "/x", lines).replace("POST /x", &format!("POST http://{HOST}/x"))
    };
    let next = request("GET", "/next", &[&line], "")
        .replace("GET /next", &format!("GET http://{HOST}/next"));
    let kinds = [
        Early {
            status: 407,
            code: "proxy_auth_required",
            head: absolute(&[]),
        },
        Early {
            status: 403,
            code: "destination_forbidden",
            head: absolute(&[&line]).replace(HOST, "169.254.169.254"),
        },
        Early {
            status: 502,
            code: "upstream_unreachable",
            head: absolute(&[&line]).replace(HOST, "nowhere.invalid"),
        },
    ];
    for early in kinds {
        for (ask, what) in framed(&early.head) {
            for _ in 0..TRIES {
                let mut wire = world.dial().await;
                try_once(&mut wire, &early, &ask, &next, what).await;
            }
        }
    }
}

/// A client that writes all of its upload before it reads: the answer is there when it does.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_slow_upload_that_was_refused_at_its_head_reads_its_answer() {
    let (world, stub) = one_upstream().await;
    let plain = world.dial().await;
    let tls = world.tunnel().await.wire;
    let refused = head(
        "POST",
        "/x",
        &["X-Key: <<nosuch>>", "Content-Type: image/png"],
    );
    let unauthorised = refused.replace("POST /x", &format!("POST http://{HOST}/x"));
    let (inside, outside) =
        tokio::join!(slow_upload(tls, refused), slow_upload(plain, unauthorised));
    assert_refused(&inside, "credential_not_found");
    assert_refused(&outside, "proxy_auth_required");
    assert!(is_closing(&inside) && is_closing(&outside));
    assert_eq!(stub.take().len(), 0);
}

/// Five megabytes in three seconds.
async fn slow_upload<S>(mut wire: Wire<S>, head: String) -> Response
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let piece = noise(1 << 16);
    let pieces = 75;
    let head = format!("{head}Content-Length: {}\r\n\r\n", pieces * piece.len());
    wire.send(head).await.expect("send");
    for at in 0..pieces {
        let sent = within("sending", wire.io.write_all(piece.as_bytes())).await;
        sent.unwrap_or_else(|error| panic!("piece {at} of the upload: {error}"));
        tokio::time::sleep(Duration::from_millis(40)).await;
    }
    within("an answer", wire.response(false))
        .await
        .expect("an answer")
}
