//! Chromium, driven by Playwright, under plain `egret run`: the proxy's address needs no password, and the
//! authority is in the NSS database of the user.

use crate::needs::{Need, client_file, needs};
use crate::world::{HOST, VALUE, one_upstream};

const PAGE: &str = r#"
import { createRequire } from "node:module";
const { chromium } = createRequire(process.env.PACKAGES + "/")("playwright-core");
const [url, proxy] = process.argv.slice(2);
const browser = await chromium.launch({
  executablePath: "/usr/bin/chromium", args: ["--no-sandbox", "--disable-quic"],
  // Without it Chromium reads the variables itself.
  ...(proxy === "named" ? { proxy: { server: process.env.HTTPS_PROXY } } : {}),
});
try {
  const page = await browser.newPage({ extraHTTPHeaders: { "X-Api-Key": "<<pat>>" } });
  const answer = await page.goto(url + "/page");
  console.log(answer.status(), await page.textContent("body"));
  const fetched = await page.evaluate(async () => {
    const answer = await fetch("/fetched", { method: "POST", body: JSON.stringify({ k: "<<pat>>" }),
      headers: { "Content-Type": "application/json" } });
    return answer.status;
  });
  console.log(fetched);
} finally {
  await browser.close();
}
"#;

#[tokio::test]
async fn chromium_goes_through_with_playwrights_settings_and_without() {
    needs!(Need::Browser, Need::Node, Need::Program("certutil"));
    let (world, stub) = one_upstream().await;
    world.run(&["ca", "install", "nss"]).await.ok();
    let script = world.scratch().join("page.mjs");
    std::fs::write(&script, PAGE).expect("write the script");
    let node = client_file("npm/node");
    for proxy in ["named", "read"] {
        let url = format!("https://{HOST}");
        let mut command = world.command(&["run", "--action", "browser", "--"]);
        command
            .arg(&node)
            .args([super::text(&script), &url, proxy])
            .env("PACKAGES", client_file("npm"));
        let output = crate::world::finish(command, b"").await;
        assert!(
            output.status.success(),
            "{proxy}: {output:#?}\n{}",
            world.log()
        );
        assert_eq!(output.stdout, "200 ok\n200\n", "{proxy}");
        let seen = stub.take();
        let of = |path: &str| {
            let found = seen.iter().find(|request| request.path() == path);
            found.unwrap_or_else(|| panic!("{proxy}: no {path}"))
        };
        assert_eq!(of("/page").header("x-api-key").as_deref(), Some(VALUE));
        let sent: serde_json::Value = serde_json::from_slice(&of("/fetched").body).expect("JSON");
        assert_eq!(sent["k"], VALUE);
    }
}
