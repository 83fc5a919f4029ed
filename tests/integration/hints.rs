//! Interim answers: Early Hints reach a client over HTTP/1.1 before the answer.

use std::sync::Arc;

use tokio::sync::Notify;

use crate::client::{basic, request};
use crate::upstream::{Step, Stub, ok};
use crate::wire::Wire;
use crate::within;
use crate::world::{HOST, VALUE, World, one_upstream};

const HINT: &str = "HTTP/1.1 103 Early Hints\r\nLink: </style.css>; rel=preload\r\n\r\n";

/// A value that can be the name of a field.
const NAME: &str = "X-Name-s3cr3t-0123456789";

/// Has the stub answer with `hints`, and with the answer once it is told to.
fn hint(stub: &Stub, hints: &str) -> Arc<Notify> {
    let go_on = Arc::new(Notify::new());
    stub.steps(vec![
        Step::Send(hints.as_bytes().to_vec()),
        Step::Hold(Arc::clone(&go_on)),
        Step::Send(ok("page")),
    ]);
    go_on
}

#[tokio::test]
async fn a_hint_comes_while_the_answer_is_not_there() {
    let (world, stub) = one_upstream().await;
    let mut tunnel = world.tunnel().await;
    for path in ["/first", "/second"] {
        let go_on = hint(&stub, &HINT.repeat(2));
        let head = request("GET", path, &["X-Api-Key: <<pat>>"], "");
        tunnel.wire.send(head).await.expect("send");
        for _ in 0..2 {
            let (start, fields) = within("a hint", tunnel.wire.head()).await.expect("a head");
            assert_eq!(start, "HTTP/1.1 103 Early Hints");
            let link = fields.iter().find(|(name, _)| name == "link");
            assert!(link.is_some_and(|(_, value)| value == b"</style.css>; rel=preload"));
        }
        go_on.notify_one();
        let answer = within("the answer", tunnel.wire.response(false)).await;
        let answer = answer.expect("an answer");
        assert_eq!((answer.status, answer.text()), (200, "page".into()));
    }
}

#[tokio::test]
async fn a_hint_comes_without_tls_and_not_to_http10() {
    let (world, stub) = World::plain_upstream().await;
    let who = format!("Proxy-Authorization: {}", basic("act-1", &world.token));
    let get = request("GET", "/", &[&who, "Connection: close"], "");
    let get = get.replace("GET /", &format!("GET http://{HOST}/"));
    for (get, expects) in [
        (get.clone(), true),
        (get.replace("HTTP/1.1", "HTTP/1.0"), false),
    ] {
        hint(&stub, HINT).notify_one();
        let mut wire = world.dial().await;
        wire.send(&get).await.expect("send");
        let answer = within("the answer", wire.response(false))
            .await
            .expect("an answer");
        assert_eq!(answer.status, 200);
        assert_eq!(received(&wire).contains("103 Early Hints"), expects);
    }
}

fn received<S>(wire: &Wire<S>) -> String {
    String::from_utf8_lossy(&wire.received).into_owned()
}

#[tokio::test]
async fn nothing_comes_that_ends_here_or_holds_a_value() {
    let (world, stub) = one_upstream().await;
    world.save("named", NAME, &["--host", HOST]).await;
    let mut tunnel = world.tunnel().await;
    let held = format!("HTTP/1.1 103 Early Hints\r\nLink: </{VALUE}>\r\n\r\n");
    let named = format!("HTTP/1.1 103 Early Hints\r\n{NAME}: 1\r\n\r\n");
    let ends = "HTTP/1.1 103 Early Hints\r\nConnection: x-hop\r\nX-Hop: 1\r\nEgret-Error: internal\r\n\
                Proxy-Authenticate: Basic\r\nX-Kept: 1\r\n\r\n";
    for used in [&[][..], &["X-Api-Key: <<pat>>"]] {
        for (hints, expected) in [
            (&held[..], 0),
            (&named, 0),
            (ends, 1),
            (&HINT.repeat(40), 16),
        ] {
            hint(&stub, hints).notify_one();
            tunnel.wire.received.clear();
            let answer = tunnel.get("/x", used).await;
            assert_eq!((answer.status, answer.text()), (200, "page".into()));
            let came = received(&tunnel.wire).to_ascii_lowercase();
            assert_eq!(came.matches("103 early hints").count(), expected, "{came}");
            for gone in [VALUE, NAME, "x-hop", "egret-error", "proxy-authenticate"] {
                assert!(!came.contains(&gone.to_ascii_lowercase()), "{came}");
            }
        }
    }
}
