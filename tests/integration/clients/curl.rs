//! curl, with a placeholder in every option that takes a secret.

use crate::needs::{Need, needs};
use crate::wire::Request;
use crate::world::{HOST, VALUE, World, one_upstream};

/// [`VALUE`] percent-encoded for a URL.
const ENCODED: &str = "s3cr3t%2BCanary%2F9f8e7d6c%26x%3D%221%22";

fn encoded() -> String {
    ENCODED.replace('"', "%22")
}

async fn curl(world: &World, args: &[&str]) -> crate::world::Output {
    world
        .run(
            &[
                &[
                    "run",
                    "--action",
                    "curl",
                    "--",
                    "curl",
                    "-sS",
                    "--max-time",
                    "30",
                ],
                args,
            ]
            .concat(),
        )
        .await
}

/// Runs curl with these arguments before the URL and returns what arrived.
async fn arrives(args: &[&str], target: &str) -> Request {
    let (world, stub) = one_upstream().await;
    let url = format!("https://{HOST}{target}");
    let output = curl(&world, &[args, &[&url]].concat()).await;
    assert_eq!(output.ok(), "ok");
    let line = world
        .ledger()
        .into_iter()
        .rfind(|l| l["event"] == "use")
        .expect("a use line");
    assert_eq!(line["action"], "curl");
    Request::clone(&*stub.take_one())
}

#[tokio::test]
async fn a_header() {
    needs!(Need::Program("curl"));
    let seen = arrives(&["-H", "Authorization: Bearer <<pat>>"], "/x").await;
    assert_eq!(
        seen.header("authorization"),
        Some(format!("Bearer {VALUE}"))
    );
}

#[tokio::test]
async fn a_password() {
    needs!(Need::Program("curl"));
    use base64::Engine as _;
    let basic = |userinfo: &str| {
        let text = base64::engine::general_purpose::STANDARD.encode(userinfo);
        Some(format!("Basic {text}"))
    };
    let seen = arrives(&["-u", "user:<<pat>>"], "/x").await;
    assert_eq!(
        seen.header("authorization"),
        basic(&format!("user:{VALUE}"))
    );
    let seen = arrives(&["-u", "<<pat>>:"], "/x").await;
    assert_eq!(seen.header("authorization"), basic(&format!("{VALUE}:")));
}

#[tokio::test]
async fn a_query_typed_into_the_url() {
    needs!(Need::Program("curl"));
    let seen = arrives(&[], "/x?api_key=<<pat>>&b=1").await;
    assert_eq!(seen.target, format!("/x?api_key={}&b=1", encoded()));
}

#[tokio::test]
async fn a_query_made_by_curl() {
    needs!(Need::Program("curl"));
    let seen = arrives(&["-G", "--data-urlencode", "api_key=<<pat>>"], "/x").await;
    assert_eq!(seen.target, format!("/x?api_key={}", encoded()));
}

#[tokio::test]
async fn a_path() {
    needs!(Need::Program("curl"));
    let seen = arrives(&[], "/bot<<pat>>/sendMessage").await;
    assert_eq!(seen.target, format!("/bot{}/sendMessage", encoded()));
}

#[tokio::test]
async fn a_form() {
    needs!(Need::Program("curl"));
    for option in ["-d", "--data-urlencode"] {
        let seen = arrives(&[option, "k=<<pat>>", "-d", "b=1"], "/x").await;
        let form: Vec<(String, String)> = form_urlencoded::parse(&seen.body).into_owned().collect();
        assert_eq!(form, [("k".into(), VALUE.into()), ("b".into(), "1".into())]);
    }
}

#[tokio::test]
async fn a_json_body() {
    needs!(Need::Program("curl"));
    let body = r#"{"auth":{"token":"<<pat>>"},"n":1}"#;
    for args in [
        &["--json", body][..],
        &["-H", "Content-Type: application/json", "-d", body],
    ] {
        let seen = arrives(args, "/x").await;
        let json: serde_json::Value = serde_json::from_slice(&seen.body).expect("JSON");
        assert_eq!(json, serde_json::json!({"auth": {"token": VALUE}, "n": 1}));
    }
}

#[tokio::test]
async fn a_multipart_form() {
    needs!(Need::Program("curl"));
    let seen = arrives(&["--form-string", "k=<<pat>>"], "/x").await;
    let part = format!("name=\"k\"\r\n\r\n{VALUE}\r\n--");
    assert!(memchr::memmem::find(&seen.body, part.as_bytes()).is_some());
}

#[tokio::test]
async fn a_refusal_is_an_answer_that_curl_understands() {
    needs!(Need::Program("curl"));
    let (world, stub) = one_upstream().await;
    let url = format!("https://{HOST}/x");
    let output = curl(
        &world,
        &["--fail-with-body", "-H", "X-Api-Key: <<nope>>", &url],
    )
    .await;
    assert_eq!(
        output.status.code(),
        Some(22),
        "curl's status is passed on: {output:?}"
    );
    let problem: serde_json::Value = serde_json::from_str(&output.stdout).expect("problem+json");
    assert_eq!(problem["code"], "credential_not_found");
    assert_eq!(stub.connections().len(), 0);
}

#[tokio::test]
async fn credentials_for_the_proxy_only_when_asked() {
    needs!(Need::Program("curl"));
    let (world, stub) = one_upstream().await;
    let url = format!("https://{HOST}/x");
    let output = curl(
        &world,
        &["--proxy-anyauth", "-H", "X-Api-Key: <<pat>>", &url],
    )
    .await;
    assert_eq!(output.ok(), "ok");
    assert_eq!(stub.take_one().header("x-api-key").as_deref(), Some(VALUE));
}

#[tokio::test]
async fn many_transfers_over_one_tunnel() {
    needs!(Need::Program("curl"));
    let (world, stub) = one_upstream().await;
    let url = format!("https://{HOST}/[1-20]?k=<<pat>>");
    let output = curl(&world, &[&url]).await;
    assert_eq!(output.ok(), "ok".repeat(20));
    assert_eq!(stub.take().len(), 20);
    assert_eq!(stub.connections().len(), 1);
}

#[tokio::test]
async fn a_header_that_is_attached() {
    needs!(Need::Program("curl"));
    let (world, stub) = one_upstream().await;
    let header = "X-Api-Key: key=<<pat>>";
    let args = [
        "credential",
        "attach",
        "pat",
        "--host",
        HOST,
        "--header",
        header,
    ];
    world.run(&args).await.ok();
    let url = format!("https://{HOST}/x");
    for more in [&[][..], &["--http2"]] {
        assert_eq!(curl(&world, &[more, &[&url]].concat()).await.ok(), "ok");
        let seen = stub.take_one();
        assert_eq!(seen.header("x-api-key"), Some(format!("key={VALUE}")));
    }
}
