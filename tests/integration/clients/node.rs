//! Node: the built-in `fetch` of a Node that honours `NODE_USE_ENV_PROXY`, and undici's
//! `EnvHttpProxyAgent` on whatever Node is installed.

use crate::needs::{Need, needs};
use crate::world::{HOST, VALUE, World, one_upstream};

/// A value in each place. Both clients run this script.
const REQUESTS: &str = r#"
const base = "https://api.example.test";
const check = (what, isSo) => { if (!isSo) { console.error("not so: " + what); process.exit(1); } };
let answer = await fetch(base + "/header", { headers: { "X-Api-Key": "<<pat>>" } });
check("header", answer.status === 200 && await answer.text() === "ok");
answer = await fetch(base + "/query?" + new URLSearchParams({ k: "<<pat>>" }));
check("query", answer.status === 200);
answer = await fetch(base + "/json", {
  method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify({ k: "<<pat>>" }),
});
check("json", answer.status === 200);
answer = await fetch(base + "/form", { method: "POST", body: new URLSearchParams({ k: "<<pat>>" }) });
check("form", answer.status === 200);
answer = await fetch(base + "/refused", { headers: { "X-Api-Key": "<<nope>>" } });
check("refusal", answer.status === 424 && (await answer.json()).code === "credential_not_found");
const all = await Promise.all([...Array(20).keys()].map((i) => fetch(base + "/many/" + i, { headers: { "X-Api-Key": "<<pat>>" } })));
check("many", all.every((a) => a.status === 200));
process.exit(0);
"#;

async fn run(node: &str, prelude: &str) {
    let (world, stub) = one_upstream().await;
    let script = world.scratch().join("fetch.mjs");
    std::fs::write(&script, format!("{prelude}\n{REQUESTS}")).expect("write the script");
    let args = ["run", "--action", "node", "--", node, super::text(&script)];
    let output = world.run(&args).await;
    assert!(output.status.success(), "{output:#?}\n{}", world.log());
    let seen = stub.take();
    let of = |path: &str| {
        seen.iter()
            .find(|r| r.path() == path)
            .unwrap_or_else(|| panic!("no {path}"))
    };
    assert_eq!(of("/header").header("x-api-key").as_deref(), Some(VALUE));
    let query = of("/query").query().to_owned();
    let decoded: Vec<(String, String)> = form_urlencoded::parse(query.as_bytes())
        .into_owned()
        .collect();
    assert_eq!(decoded, [("k".to_owned(), VALUE.to_owned())]);
    let json: serde_json::Value = serde_json::from_slice(&of("/json").body).expect("JSON");
    assert_eq!(json, serde_json::json!({"k": VALUE}));
    let form: Vec<(String, String)> = form_urlencoded::parse(&of("/form").body)
        .into_owned()
        .collect();
    assert_eq!(form, [("k".to_owned(), VALUE.to_owned())]);
    assert_eq!(seen.len(), 24, "the refused request never arrived");
    assert_uses(&world, 24);
}

fn assert_uses(world: &World, expected: usize) {
    let uses = world
        .ledger()
        .into_iter()
        .filter(|l| l["event"] == "use" && l["action"] == "node");
    assert_eq!(uses.count(), expected, "for {HOST}");
}

#[tokio::test]
async fn the_built_in_fetch() {
    needs!(Need::Node);
    let node = super::installed("npm/node");
    run(super::text(&node), "").await;
}

#[tokio::test]
async fn undici_with_a_proxy_agent_from_the_environment() {
    needs!(Need::Node, Need::Program("node"));
    let undici = super::installed("npm/node_modules/undici/index.js");
    let prelude = format!(
        "import undici from {:?};\nundici.setGlobalDispatcher(new undici.EnvHttpProxyAgent());\nconst fetch = undici.fetch;",
        super::text(&undici)
    );
    run("node", &prelude).await;
}
