//! No byte of a request goes to an upstream whose certificate is not valid.

use std::sync::{Arc, Mutex};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::client::assert_refused;
use crate::pki::{Flaw, Pki};
use crate::upstream::Stub;
use crate::world::{HOST, SLUG, VALUE, World};

async fn refused_for(flaw: Flaw) {
    let builder = World::builder();
    let stub = Stub::tls_with(builder.pki(), &[HOST], flaw).await;
    let world = builder
        .route(&format!("{HOST}:443"), stub.addr)
        .start()
        .await;
    world
        .save(
            SLUG,
            VALUE,
            &["--host", HOST, "--in", "header", "--in", "query"],
        )
        .await;
    let mut tunnel = world.tunnel().await;
    for headers in [&["X-Api-Key: <<pat>>"][..], &[]] {
        let answer = tunnel.get("/x", headers).await;
        assert_eq!(answer.status, 502, "{flaw:?}");
        assert_refused(&answer, "upstream_tls_failed");
    }
    let answer = tunnel.get("/x?k=<<pat>>", &[]).await;
    assert_refused(&answer, "upstream_tls_failed");
    assert!(!stub.connections().is_empty(), "the upstream was tried");
    assert_eq!(
        stub.bytes(),
        b"",
        "application bytes at an upstream that is not who it should be"
    );
    let forms = crate::leak::forms(VALUE.as_bytes());
    crate::leak::assert_absent("the answer", answer.text().as_bytes(), &forms);
    crate::leak::assert_absent("the log", &world.log_bytes(), &forms);
    let result = world
        .ledger_line("a result", |l| {
            l["event"] == "result" && l["outcome"] == "failed"
        })
        .await;
    assert_eq!(result["code"], "upstream_tls_failed");
}

#[tokio::test]
async fn a_self_signed_certificate_is_refused() {
    refused_for(Flaw::SelfSigned).await;
}

#[tokio::test]
async fn an_expired_certificate_is_refused() {
    refused_for(Flaw::Expired).await;
}

#[tokio::test]
async fn a_certificate_for_another_name_is_refused() {
    refused_for(Flaw::WrongName).await;
}

#[tokio::test]
async fn a_certificate_of_an_unknown_authority_is_refused() {
    let stranger = Pki::new();
    let stub = Stub::tls(&stranger, &[HOST]).await;
    let world = World::builder()
        .route(&format!("{HOST}:443"), stub.addr)
        .start()
        .await;
    let answer = world.tunnel().await.get("/x", &[]).await;
    assert_refused(&answer, "upstream_tls_failed");
    assert_eq!(stub.bytes(), b"");
}

/// An HTTP server on the TLS port answers a ClientHello with `400 Bad Request`.
#[tokio::test]
async fn an_upstream_that_does_not_speak_tls_is_refused() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0")
        .await
        .expect("bind");
    let addr = listener.local_addr().expect("an address");
    let heard: Arc<Mutex<Vec<u8>>> = Arc::default();
    let notes = heard.clone();
    tokio::spawn(async move {
        while let Ok((mut socket, _)) = listener.accept().await {
            let mut chunk = vec![0; 4096];
            let n = socket.read(&mut chunk).await.unwrap_or(0);
            notes.lock().unwrap().extend_from_slice(&chunk[..n]);
            let _ = socket
                .write_all(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n")
                .await;
        }
    });
    let world = World::builder()
        .route(&format!("{HOST}:443"), addr)
        .start()
        .await;
    world.save(SLUG, VALUE, &["--host", HOST]).await;
    let answer = world
        .tunnel()
        .await
        .get("/x", &["X-Api-Key: <<pat>>"])
        .await;
    assert_eq!(answer.status, 502, "{answer:?}");
    assert_refused(&answer, "upstream_tls_failed");
    let heard = heard.lock().unwrap().clone();
    assert!(
        memchr::memmem::find(&heard, b"GET ").is_none(),
        "no downgrade"
    );
}
