//! Python clients (requests, httpx and the standard library) against the real httpbin.

use crate::needs::{Need, needs};
use crate::world::{Output, World};

use super::httpbin::{self, HTTPBIN};

/// A value that httpbin accepts as a part of a path.
const PASSWORD: &str = "httpbin-passw0rd-5150";

/// The beginning of every script.
const PRELUDE: &str = r#"
import json, sys
base = "https://httpbin.example.test"
def check(what, is_so):
    if not is_so:
        sys.exit("not so: " + what)
"#;

async fn python(world: &World, script: &str) -> Output {
    let interpreter = super::installed("venv/bin/python");
    let script = format!("{PRELUDE}\n{script}");
    world
        .run(&[
            "run",
            "--action",
            "python",
            "--",
            super::text(&interpreter),
            "-c",
            &script,
        ])
        .await
}

/// Runs a script in a world with httpbin, and returns the requests that arrived there.
async fn arrives(script: &str) -> Vec<std::sync::Arc<crate::wire::Request>> {
    let (world, httpbin) = httpbin::world().await;
    let limits = [
        "--host", HTTPBIN, "--in", "header", "--in", "query", "--in", "path", "--in", "body",
    ];
    world.save("bin", PASSWORD, &limits).await;
    let output = python(&world, script).await;
    assert!(output.status.success(), "{output:#?}\n{}", world.log());
    let seen = httpbin.stub.take();
    let uses = world.ledger().into_iter().filter(|l| l["event"] == "use");
    assert!(uses.count() >= seen.iter().filter(|r| r.target.contains(PASSWORD)).count());
    seen
}

/// A request with a value in each place; `requests` and `httpx` have the same interface here.
const EVERY_PLACE: &str = r#"
check("basic", client.get(base + "/basic-auth/user/<<bin>>", auth=("user", "<<bin>>")).json()["authenticated"])
check("bearer", client.get(base + "/bearer", headers={"Authorization": "Bearer <<bin>>"}).status_code == 200)
check("query", client.get(base + "/get", params={"k": "<<bin>>"}).status_code == 200)
check("form", client.post(base + "/post", data={"k": "<<bin>>"}).status_code == 200)
check("json", client.post(base + "/post", json={"k": "<<bin>>"}).status_code == 200)
check("file", client.post(base + "/post", files={"k": ("a.txt", "a <<bin>> z", "text/plain")}).status_code == 200)
refused = client.get(base + "/get", headers={"X-Key": "<<no-such>>"})
check("refusal", refused.status_code == 424 and refused.json()["code"] == "credential_not_found")
"#;

/// Ordinary traffic without any secret.
const ORDINARY: &str = r#"
check("status", client.get(base + "/status/418").status_code == 418)
check("gzip", client.get(base + "/gzip").json()["gzipped"])
check("brotli", client.get(base + "/brotli").status_code == 200)
check("stream", len(client.get(base + "/stream/5").text.strip().split("\n")) == 5)
check("bytes", len(client.get(base + "/bytes/100000").content) == 100000)
check("put", client.put(base + "/put", data={"a": "b"}).json()["form"] == {"a": "b"})
check("delete", client.delete(base + "/delete").status_code == 200)
check("head", client.head(base + "/get").status_code == 200)
check("drip", client.get(base + "/drip?duration=1&numbytes=5&delay=0").text == "*****")
"#;

fn assert_every_place(seen: &[std::sync::Arc<crate::wire::Request>]) {
    use base64::Engine as _;
    let basic = base64::engine::general_purpose::STANDARD.encode(format!("user:{PASSWORD}"));
    assert_eq!(seen.len(), 6, "the refused request never arrived");
    assert_eq!(seen[0].target, format!("/basic-auth/user/{PASSWORD}"));
    assert_eq!(
        seen[0].header("authorization"),
        Some(format!("Basic {basic}"))
    );
    assert_eq!(
        seen[1].header("authorization"),
        Some(format!("Bearer {PASSWORD}"))
    );
    assert_eq!(seen[2].target, format!("/get?k={PASSWORD}"));
    assert_eq!(seen[3].body, format!("k={PASSWORD}").as_bytes());
    let json: serde_json::Value = serde_json::from_slice(&seen[4].body).expect("JSON");
    assert_eq!(json, serde_json::json!({"k": PASSWORD}));
    let part = format!("\r\n\r\na {PASSWORD} z\r\n");
    assert!(memchr::memmem::find(&seen[5].body, part.as_bytes()).is_some());
}

#[tokio::test]
async fn requests_in_every_place() {
    needs!(Need::Python);
    let seen = arrives(&format!(
        "import requests\nclient = requests.Session()\n{EVERY_PLACE}"
    ))
    .await;
    assert_every_place(&seen);
}

#[tokio::test]
async fn httpx_in_every_place() {
    needs!(Need::Python);
    let seen = arrives(&format!(
        "import httpx\nclient = httpx.Client()\n{EVERY_PLACE}"
    ))
    .await;
    assert_every_place(&seen);
}

#[tokio::test]
async fn requests_without_secrets() {
    needs!(Need::Python);
    arrives(&format!(
        "import requests\nclient = requests.Session()\n{ORDINARY}"
    ))
    .await;
}

#[tokio::test]
async fn httpx_without_secrets() {
    needs!(Need::Python);
    arrives(&format!(
        "import httpx\nclient = httpx.Client()\n{ORDINARY}"
    ))
    .await;
}

#[tokio::test]
async fn httpx_async_with_many_requests_at_once() {
    needs!(Need::Python);
    let seen = arrives(
        r#"
import asyncio, httpx
async def main():
    async with httpx.AsyncClient(timeout=60) as client:
        one = lambda i: client.get(base + f"/get?i={i}", headers={"X-Key": "<<bin>>"})
        answers = await asyncio.gather(*[one(i) for i in range(30)])
        check("all", all(a.status_code == 200 for a in answers))
asyncio.run(main())
"#,
    )
    .await;
    assert_eq!(seen.len(), 30);
    assert!(
        seen.iter()
            .all(|r| r.header("x-key").as_deref() == Some(PASSWORD))
    );
}

#[tokio::test]
async fn the_standard_library() {
    needs!(Need::Python);
    let seen = arrives(
        r#"
import urllib.request, urllib.error
request = urllib.request.Request(base + "/get?k=<<bin>>", headers={"X-Key": "<<bin>>"})
check("get", urllib.request.urlopen(request).status == 200)
request = urllib.request.Request(base + "/post", data=b"k=<<bin>>")
check("post", urllib.request.urlopen(request).status == 200)
try:
    urllib.request.urlopen(urllib.request.Request(base + "/get", headers={"X-Key": "<<no-such>>"}))
    check("refusal", False)
except urllib.error.HTTPError as refused:
    check("refusal", refused.code == 424)
"#,
    )
    .await;
    assert_eq!(seen.len(), 2);
    assert_eq!(seen[0].target, format!("/get?k={PASSWORD}"));
    assert_eq!(seen[0].header("x-key").as_deref(), Some(PASSWORD));
    assert_eq!(seen[1].body, format!("k={PASSWORD}").as_bytes());
}

/// A generator upload splits the placeholder over chunks.
#[tokio::test]
async fn requests_with_a_generator_upload() {
    needs!(Need::Python);
    let seen = arrives(
        r#"
import requests
def parts():
    for part in (b'{"k": "<', b'<bi', b'n>', b'>"}'):
        yield part
answer = requests.post(base + "/post", data=parts(), headers={"Content-Type": "application/json"})
check("post", answer.status_code == 200)
"#,
    )
    .await;
    let json: serde_json::Value = serde_json::from_slice(&seen[0].body).expect("JSON");
    assert_eq!(json, serde_json::json!({"k": PASSWORD}));
}

/// From version 3.13 on Python verifies certificates strictly (RFC 5280) by default; older versions
/// do with these flags.
#[tokio::test]
async fn the_standard_library_at_its_strictest() {
    needs!(Need::Python);
    let seen = arrives(
        r#"
import ssl, urllib.request
context = ssl.create_default_context()
context.verify_flags |= ssl.VERIFY_X509_STRICT | ssl.VERIFY_X509_PARTIAL_CHAIN
request = urllib.request.Request(base + "/get", headers={"X-Key": "<<bin>>"})
check("get", urllib.request.urlopen(request, context=context).status == 200)
"#,
    )
    .await;
    assert_eq!(seen[0].header("x-key").as_deref(), Some(PASSWORD));
}
