//! hyper on top of the guard: whatever is sent and however it is cut, both find the same requests.

use std::convert::Infallible;
use std::sync::{Arc, Mutex};

use http::{Request, Response};
use http_body_util::{BodyExt as _, Empty};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::*;
use crate::proxy::inbound::agreement;

/// A request, as the client writes it and as it has to be found.
#[derive(Clone, Debug)]
struct Sent {
    head: Vec<u8>,
    framed: Vec<u8>,
    body: Vec<u8>,
}

/// What the service was called with.
type Seen = Vec<(Vec<u8>, Vec<u8>)>;

/// Bodies that look like what follows a message.
fn text() -> impl Strategy<Value = Vec<u8>> {
    let pieces = select(vec![
        "\r\n",
        "0\r\n\r\n",
        "GET /smuggled HTTP/1.1\r\nHost: evil\r\n\r\n",
        "5\r\nhello\r\n",
        "<<gh>>",
        "\0",
        "x",
    ]);
    vec(pieces, 1..8).prop_map(|pieces| pieces.concat().into_bytes())
}

fn extension() -> impl Strategy<Value = &'static str> {
    select(vec!["", ";a", ";a=b", " ; a=\"b;c\"", "\t"])
}

fn trailers() -> impl Strategy<Value = &'static str> {
    select(vec!["", "", "A: b\r\n", "A:\r\nB: \tc \r\n"])
}

fn sized() -> impl Strategy<Value = Sent> {
    prop_oneof![Just(Vec::new()), text()].prop_map(|body| Sent {
        head: format!(
            "POST /sized HTTP/1.1\r\nHost: a\r\nContent-Length: {}\r\n\r\n",
            body.len()
        )
        .into_bytes(),
        framed: body.clone(),
        body,
    })
}

fn chunked() -> impl Strategy<Value = Sent> {
    let chunks = vec((text(), extension()), 0..5);
    (chunks, extension(), trailers()).prop_map(|(chunks, last, trailers)| {
        let mut framed = Vec::new();
        for (data, extension) in &chunks {
            framed.extend(format!("{:X}{extension}\r\n", data.len()).into_bytes());
            framed.extend(data);
            framed.extend(b"\r\n");
        }
        framed.extend(format!("0{last}\r\n{trailers}\r\n").into_bytes());
        Sent {
            head: b"PUT /chunked HTTP/1.1\r\nTransfer-Encoding: chunked\r\nHost: a\r\n\r\n"
                .to_vec(),
            framed,
            body: chunks.into_iter().flat_map(|(data, _)| data).collect(),
        }
    })
}

fn bare() -> impl Strategy<Value = Sent> {
    select(vec![
        "GET http://a/x HTTP/1.1\r\nHost: a\r\n\r\n",
        "OPTIONS * HTTP/1.1\r\nHost: a\r\nX: y\r\nX: z\r\n\r\n",
    ])
    .prop_map(|head| Sent {
        head: head.as_bytes().to_vec(),
        framed: Vec::new(),
        body: Vec::new(),
    })
}

/// Cuts `bytes` at these places.
fn segments(bytes: &[u8], cuts: &[prop::sample::Index]) -> Vec<Vec<u8>> {
    let mut places: Vec<usize> = cuts.iter().map(|cut| cut.index(bytes.len())).collect();
    places.extend([0, bytes.len()]);
    places.sort_unstable();
    let pairs = places.windows(2);
    pairs.map(|pair| bytes[pair[0]..pair[1]].to_vec()).collect()
}

/// What the service sees of these segments, and how the connection answers.
async fn serve(segments: Vec<Vec<u8>>) -> (Seen, String) {
    let (mut client, server) = tokio::io::duplex(1 << 16);
    let signal = HeadSignal::default();
    let guard = HeadGuard::new(server, BytesMut::new(), LIMITS, signal.clone());
    let seen = Arc::new(Mutex::new(Seen::new()));
    let noted = Arc::clone(&seen);
    let service = service_fn(move |request: Request<Incoming>| {
        let note = signal.take().expect("a note on every request");
        let seen = Arc::clone(&noted);
        async move {
            let raw = note.head.as_ref().expect("a head");
            assert_eq!(
                agreement::check(Some(raw), &request).map_err(|e| e.code),
                Ok(())
            );
            let body = request.into_body().collect().await.expect("a whole body");
            seen.lock()
                .unwrap()
                .push((raw.bytes.to_vec(), body.to_bytes().to_vec()));
            drop(note);
            Ok::<_, Infallible>(Response::new(Empty::<Bytes>::new()))
        }
    });
    let connection =
        hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(guard), service);
    let speak = async {
        for segment in segments {
            client.write_all(&segment).await.expect("write");
            for _ in 0..4 {
                tokio::task::yield_now().await;
            }
        }
        client.shutdown().await.expect("the end");
        let mut answers = String::new();
        client.read_to_string(&mut answers).await.expect("answers");
        answers
    };
    let (served, answers) = tokio::join!(connection, speak);
    served.expect("an orderly end");
    let seen = std::mem::take(&mut *seen.lock().unwrap());
    (seen, answers)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn any_segments_of_any_requests_are_the_same_requests_to_guard_and_parser(
        sent in vec(prop_oneof![sized(), chunked(), bare()], 1..6),
        cuts in vec(any::<prop::sample::Index>(), 0..12),
    ) {
        let bytes: Vec<u8> = sent.iter().flat_map(|one| [&one.head[..], &one.framed].concat()).collect();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let (seen, answers) = runtime.block_on(serve(segments(&bytes, &cuts)));
        let expected: Seen = sent.iter().map(|one| (one.head.clone(), one.body.clone())).collect();
        prop_assert_eq!(seen, expected);
        prop_assert_eq!(answers.matches("HTTP/1.1 200 OK").count(), sent.len());
    }
}
