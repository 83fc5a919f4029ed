//! Alerts: signed, tried again, and never waited for.

use aws_lc_rs::hmac;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::upstream::{Step, Stub, ok};
use crate::within;
use crate::world::{HOST, World, one_upstream_with};

#[tokio::test]
async fn an_alert_is_a_signed_line_of_the_ledger_and_comes_again_until_it_is_taken() {
    let hook = Stub::plain().await;
    hook.answer("HTTP/1.1 503 Unavailable\r\nContent-Length: 0\r\n\r\n");
    let scratch = tempfile::tempdir().expect("a directory");
    let secret = scratch.path().join("secret");
    std::fs::write(&secret, "a-secret-of-the-webhook\n").expect("written");
    let builder = World::builder()
        .set("alerts.url", format!("http://{}/egret?a=1", hook.addr))
        .set("alerts.secret", secret.display().to_string())
        .set("alerts.events", vec!["credential.allowed".to_owned()]);
    let (world, stub) = one_upstream_with(builder).await;
    world
        .run(&["credential", "allow", "pat", "--method", "GET"])
        .await
        .ok();
    within("the first try", hook.until_requests(1)).await;
    // Nothing waits for it.
    let mut tunnel = world.tunnel().await;
    assert_eq!(tunnel.get("/x", &["X-Api-Key: <<pat>>"]).await.status, 200);
    hook.answer(ok(""));
    within("another try", hook.until_requests(2)).await;
    for request in hook.take() {
        assert_eq!(request.path(), "/egret");
        let body = String::from_utf8(request.body.clone()).expect("text");
        let line: serde_json::Value = serde_json::from_str(&body).expect("JSON");
        assert_eq!(
            (&line["event"], &line["slug"]),
            (&"credential.allowed".into(), &"pat".into())
        );
        assert!(String::from_utf8_lossy(&world.ledger_bytes()).contains(&body));
        let header = |name: &str| request.header(name).expect("a header");
        let signed = format!(
            "{}.{}.{body}",
            header("webhook-id"),
            header("webhook-timestamp")
        );
        let key = hmac::Key::new(hmac::HMAC_SHA256, b"a-secret-of-the-webhook");
        let tag = STANDARD.encode(hmac::sign(&key, signed.as_bytes()));
        assert_eq!(header("webhook-signature"), format!("v1,{tag}"));
    }
    // One that never answers holds nothing up.
    hook.steps(vec![Step::Pause(std::time::Duration::from_secs(3600))]);
    world
        .run(&["credential", "allow", "pat", "--method", "*"])
        .await
        .ok();
    within("a try", hook.until_requests(1)).await;
    assert_eq!(tunnel.get("/x", &["X-Api-Key: <<pat>>"]).await.status, 200);
    assert_eq!(stub.take().len(), 2);
    world.configure_text(&format!("[alerts]\nurl = \"ftp://{HOST}\"\n"));
    let checked = world.run(&["config", "check"]).await;
    let output = checked.stdout + &checked.stderr;
    assert!(
        output.contains("alerts.url: expected an address"),
        "{output}"
    );
}
