//! Requests that follow one another in the same bytes: what one reader takes for the next head, every
//! reader does.

use tokio::io::{AsyncRead, AsyncWrite};

use crate::client::{Wanted, assert_refused, basic, request};
use crate::upstream::Stub;
use crate::wire::{Response, Wire};
use crate::within;
use crate::world::{HOST, SLUG, VALUE, World, one_upstream};

/// The second segment: a head to a reader that takes it for one, and otherwise the rest of the head
/// that began in the first segment.
const SECOND: &str = "G / HTTP/1.1\r\nHost: evil.test\r\nA: <<pat>>\r\n\r\n";

/// Requests with this prefix before their path, and this header line.
struct Form {
    prefix: String,
    line: String,
}

impl Form {
    fn origin() -> Self {
        Self {
            prefix: String::new(),
            line: String::new(),
        }
    }

    fn absolute(world: &World) -> Self {
        Self {
            prefix: format!("http://{HOST}"),
            line: format!("Proxy-Authorization: {}\r\n", basic("act-1", &world.token)),
        }
    }

    fn head(&self, method: &str, path: &str, lines: &str) -> String {
        let Self { prefix, line } = self;
        format!("{method} {prefix}{path} HTTP/1.1\r\nHost: {HOST}\r\n{line}{lines}")
    }

    fn chunked(&self, path: &str, body: &str) -> String {
        self.head("POST", path, "Transfer-Encoding: chunked\r\n\r\n") + body
    }
}

async fn answer<S: AsyncRead + AsyncWrite + Unpin>(wire: &mut Wire<S>) -> Response {
    within("an answer", wire.response(false))
        .await
        .expect("an answer")
}

/// Sends the first segment, reads its answer, and sends the second.
async fn attack<S: AsyncRead + AsyncWrite + Unpin>(
    wire: &mut Wire<S>,
    stub: &Stub,
    form: &Form,
    body: &str,
) {
    let first = form.chunked("/a", body) + &form.head("GET", "/b", "X: ");
    wire.send(first).await.expect("send");
    assert_eq!(answer(wire).await.status, 200, "{body:?}");
    wire.send(SECOND).await.expect("send");
    let refused = answer(wire).await;
    assert_eq!(refused.status, 400, "{body:?}");
    assert_refused(&refused, "request_malformed");
    within("the end", wire.until_closed()).await;
    assert_eq!(stub.take_one().target, "/a", "{body:?}");
}

/// Bodies after which the guard was out of step.
const BODIES: [&str; 3] = [
    "0\r\n\r\n",
    "5\r\nhello\r\n0\r\n\r\n",
    "1;e=f\r\nx\r\n0;g\r\nT: u\r\n\r\n",
];

async fn plain_world() -> (World, Stub) {
    let (world, stub) = World::plain_upstream().await;
    let host = format!("http://{HOST}");
    world.save(SLUG, VALUE, &["--host", &host]).await;
    (world, stub)
}

#[tokio::test]
async fn a_head_begun_in_the_segment_of_a_chunked_body_is_one_head_inside_tls() {
    let (world, stub) = one_upstream().await;
    for body in BODIES {
        let mut wire = world.tunnel().await.wire;
        attack(&mut wire, &stub, &Form::origin(), body).await;
    }
    assert_eq!(memchr::memmem::find(&stub.bytes(), VALUE.as_bytes()), None);
}

#[tokio::test]
async fn a_head_begun_in_the_segment_of_a_chunked_body_is_one_head_on_every_plain_way() {
    let (world, stub) = plain_world().await;
    for body in BODIES {
        let form = Form::absolute(&world);
        attack(&mut world.dial().await, &stub, &form, body).await;

        let mut wanted = Wanted::new(&world);
        wanted.authority = format!("{HOST}:80");
        let socket = wanted.connect(&world).await.expect("a tunnel");
        attack(&mut Wire::new(socket), &stub, &Form::origin(), body).await;

        let mut wire = world.dial().await;
        let refused = format!("CONNECT {HOST}:443 HTTP/1.1\r\nHost: {HOST}\r\n\r\n");
        wire.send(refused).await.expect("send");
        assert_eq!(answer(&mut wire).await.status, 407);
        attack(&mut wire, &stub, &form, body).await;
    }
    assert_eq!(memchr::memmem::find(&stub.bytes(), VALUE.as_bytes()), None);
}

/// The same directly after a CONNECT that is refused, which has no body at all.
#[tokio::test]
async fn a_head_begun_in_the_segment_of_a_refused_connect_is_one_head() {
    let (world, stub) = plain_world().await;
    let form = Form::absolute(&world);
    let connect = format!("CONNECT {HOST}:443 HTTP/1.1\r\nHost: {HOST}\r\n\r\n");
    let mut wire = world.dial().await;
    let first = connect.clone() + &form.head("GET", "/b", "X: ");
    wire.send(first).await.expect("send");
    assert_eq!(answer(&mut wire).await.status, 407);
    wire.send(SECOND).await.expect("send");
    assert_refused(&answer(&mut wire).await, "request_malformed");
    assert_eq!(stub.take().len(), 0);

    // An honest request in the same segment is served.
    let mut wire = world.dial().await;
    let honest = form.head("GET", "/c", "X-Key: <<pat>>\r\n\r\n");
    wire.send(connect + &honest).await.expect("send");
    assert_eq!(answer(&mut wire).await.status, 407);
    assert_eq!(answer(&mut wire).await.status, 200);
    assert_eq!(stub.take_one().header("x-key").as_deref(), Some(VALUE));
}

/// The tunnel's first request in the segment of its CONNECT.
#[tokio::test]
async fn a_request_in_the_segment_of_a_granted_connect_is_the_tunnels() {
    let (world, stub) = plain_world().await;
    let mut wanted = Wanted::new(&world);
    wanted.authority = format!("{HOST}:80");
    let mut wire = world.dial().await;
    let early = request("GET", "/early", &["X-Key: <<pat>>"], "");
    wire.send(wanted.head() + &early).await.expect("send");
    let granted = within("a tunnel", wire.connect_response())
        .await
        .expect("an answer");
    assert_eq!(granted.status, 200);
    assert_eq!(answer(&mut wire).await.status, 200);
    assert_eq!(stub.take_one().header("x-key").as_deref(), Some(VALUE));
}

#[tokio::test]
async fn honest_pipelining_works_wherever_it_is_cut() {
    let (world, stub) = one_upstream().await;
    let form = Form::origin();
    let chunks = "4;a=b\r\nk=<<\r\n5\r\npat>>\r\n0\r\nT: u\r\n\r\n";
    let bytes = form.chunked("/1", chunks)
        + &form.head("GET", "/2", "X-Key: <<pat>>\r\n\r\n")
        + &request("POST", "/3", &["Content-Type: text/plain"], "k=<<pat>>")
        + &form.chunked("/4", "0\r\n\r\n")
        + &form.head("GET", "/5", "\r\n");
    for cut in (0..bytes.len()).step_by(11) {
        let mut wire = world.tunnel().await.wire;
        let (first, second) = bytes.split_at(cut);
        wire.send(first).await.expect("send");
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        wire.send(second).await.expect("send");
        for at in 1..=5 {
            let answer = answer(&mut wire).await;
            assert_eq!(
                answer.status,
                200,
                "cut at {cut}: request {at}: {}",
                answer.text()
            );
        }
        let targets: Vec<String> = stub.take().iter().map(|seen| seen.target.clone()).collect();
        assert_eq!(targets, ["/1", "/2", "/3", "/4", "/5"], "cut at {cut}");
    }
}

/// Trailer fields are held to the rules of header fields.
#[tokio::test]
async fn a_trailer_that_two_parsers_could_read_differently_is_refused() {
    let (world, stub) = one_upstream().await;
    for trailers in [
        "A: b\nHost: c\r\n",
        "A: b\r\n folded\r\n",
        "A : b\r\n",
        "A: \0\r\n",
    ] {
        let mut wire = world.tunnel().await.wire;
        let body = format!("5\r\nhello\r\n0\r\n{trailers}\r\n");
        wire.send(Form::origin().chunked("/a", &body))
            .await
            .expect("send");
        let refused = answer(&mut wire).await;
        assert_refused(&refused, "request_malformed");
        let detail = refused.json()["detail"].to_string();
        assert!(
            detail.contains("trailer") || detail.contains("CR LF"),
            "{detail}"
        );
        within("the end", wire.until_closed()).await;
        assert_eq!(stub.take().len(), 0, "{trailers:?}");
    }
}

#[tokio::test]
async fn two_lines_that_say_who_asks_are_refused() {
    let (world, stub) = plain_world().await;
    let line = format!(
        "Proxy-Authorization: {}\r\n\r\n",
        basic("act-1", &world.token)
    );
    let form = Form::absolute(&world);
    for ask in [
        form.head("GET", "/x", &line),
        format!(
            "CONNECT {HOST}:443 HTTP/1.1\r\nHost: {HOST}\r\n{}{line}",
            form.line
        ),
    ] {
        let mut wire = world.dial().await;
        wire.send(ask).await.expect("send");
        assert_refused(&answer(&mut wire).await, "request_malformed");
        within("the end", wire.until_closed()).await;
    }
    assert_eq!(stub.take().len(), 0);
}
