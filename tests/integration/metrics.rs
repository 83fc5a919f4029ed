//! Metrics, as a real Prometheus reads them.

use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio::process::Child;

use crate::api::client::{Api, expect, expect_problem};
use crate::client::{Wanted, assert_refused, request_to};
use crate::leak;
use crate::needs::{Need, needs};
use crate::upstream::{Stub, ok};
use crate::wire::{Response, Wire};
use crate::world::{HOST, SLUG, VALUE, World, one_upstream, one_upstream_with};

/// A server that has seen a bit of everything, and the token of somebody who sees all.
async fn busy() -> (World, Stub, String) {
    let builder = World::builder();
    let closed = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let nobody = closed.local_addr().expect("an address");
    // The same after a restart.
    let admin = format!("127.0.0.1:{}", free_port());
    let builder = builder
        .route("down.example.test:443", nobody)
        .set("admin.listen", admin);
    let (world, stub) = one_upstream_with(builder).await;
    drop(closed);
    let mut tunnel = world.tunnel().await;
    for _ in 0..3 {
        tunnel.get("/x", &["X-Api-Key: <<pat>>"]).await;
    }
    tunnel.get("/x?k=<<pat>>", &[]).await;
    stub.answer(ok(VALUE));
    tunnel.get("/echo", &["X-Api-Key: <<pat>>"]).await;
    stub.answer(ok("ok"));
    tunnel.get("/own", &[&format!("X-Api-Key: {VALUE}")]).await;
    let failed = get_from(&world, "down.example.test", &[]).await;
    assert_refused(&failed, "upstream_unreachable");
    world
        .run(&["user", "add", "wim", "--role", "auditor"])
        .await
        .ok();
    let token = Api::of(&world, "wim", "audit")
        .await
        .token
        .expect("a token");
    (world, stub, token)
}

/// The answer of another host than the usual one.
async fn get_from(world: &World, host: &str, headers: &[&str]) -> Response {
    let wanted = Wanted::new(world).host(host);
    let mut tunnel = wanted.open(world).await.expect("a tunnel");
    let request = request_to(host, "GET", "/x", headers, "");
    tunnel.roundtrip(request).await
}

/// A running Prometheus that scrapes the world every quarter of a second.
struct Prometheus {
    port: u16,
    _process: Child,
}

impl Prometheus {
    fn start(world: &World, token: &str) -> Self {
        let dir = world.scratch().join("prometheus");
        std::fs::create_dir_all(&dir).expect("a directory");
        std::fs::write(dir.join("token"), token).expect("write the token");
        let scrape = |job: &str, path: &str, more: &str| {
            format!(
                "  - job_name: {job}\n    metrics_path: {path}\n    scrape_interval: 250ms\n    \
                 scrape_timeout: 250ms\n{more}    static_configs:\n      - targets: ['{}']\n",
                world.admin
            )
        };
        let login = "    authorization:\n      credentials_file: token\n";
        let config = format!(
            "scrape_configs:\n{}{}",
            scrape("egret", "/metrics", ""),
            scrape("egret-named", "/api/v1/metrics", login)
        );
        std::fs::write(dir.join("prometheus.yml"), config).expect("write the configuration");
        let port = free_port();
        let process = tokio::process::Command::new("prometheus")
            .arg(format!("--web.listen-address=127.0.0.1:{port}"))
            .arg("--config.file=prometheus.yml")
            .arg("--storage.tsdb.path=data")
            .current_dir(&dir)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn();
        Self {
            port,
            _process: process.expect("start prometheus"),
        }
    }

    /// The value of a query, if there is one.
    async fn value(&self, query: &str) -> Option<f64> {
        let query: String = form_urlencoded::byte_serialize(query.as_bytes()).collect();
        let answer = self.get(&format!("/api/v1/query?query={query}")).await?;
        let answer: Value = serde_json::from_slice(&answer.body).ok()?;
        let results = answer["data"]["result"].as_array()?;
        assert!(results.len() < 2, "{query}: {results:?}");
        results.first()?["value"][1].as_str()?.parse().ok()
    }

    async fn get(&self, target: &str) -> Option<Response> {
        let socket = TcpStream::connect(("127.0.0.1", self.port)).await.ok()?;
        let mut wire = Wire::new(socket);
        let request =
            format!("GET {target} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
        wire.send(request).await.ok()?;
        wire.response(false).await.ok()
    }

    /// Waits until the query has this value.
    async fn until(&self, query: &str, expected: f64) {
        let mut last = None;
        for _ in 0..600 {
            last = self.value(query).await;
            if last == Some(expected) {
                return;
            }
            tokio::time::sleep(std::time::Duration::from_millis(100)).await;
        }
        panic!("{query} is {last:?} and not {expected}");
    }
}

/// A port that nobody has. Another process may take it before it is used, and then the start fails.
fn free_port() -> u16 {
    let socket = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    socket.local_addr().expect("an address").port()
}

#[tokio::test]
async fn prometheus_scrapes_both_pages_and_answers() {
    needs!(Need::Program("prometheus"));
    let (mut world, _stub, token) = busy().await;
    let prometheus = Prometheus::start(&world, &token);
    let destination = format!("destination=\"https://{HOST}:443\"");
    let credential = format!("owner=\"default\",slug=\"{SLUG}\"");
    let expected = [
        ("up{job=\"egret\"}".to_owned(), 1.0),
        ("up{job=\"egret-named\"}".to_owned(), 1.0),
        (
            "egret_requests_total{job=\"egret\",outcome=\"forwarded\"}".to_owned(),
            5.0,
        ),
        (
            "egret_substitutions_total{job=\"egret\",place=\"header\"}".to_owned(),
            4.0,
        ),
        (
            "egret_guard_hits_total{job=\"egret\",place=\"header\"}".to_owned(),
            1.0,
        ),
        (
            "egret_scrubbed_total{job=\"egret\",place=\"body\"}".to_owned(),
            1.0,
        ),
        (
            "egret_upstream_seconds_count{job=\"egret\"}".to_owned(),
            5.0,
        ),
        (
            "egret_upstream_failures_total{job=\"egret\",code=\"upstream_unreachable\"}".to_owned(),
            1.0,
        ),
        (
            format!("egret_credential_substitutions_total{{{credential},place=\"query\"}}"),
            1.0,
        ),
        (
            format!("egret_destination_seconds_count{{{destination}}}"),
            5.0,
        ),
        (
            "egret_destination_failures_total{destination=\"other\"}".to_owned(),
            1.0,
        ),
        (
            "histogram_quantile(0.5, egret_destination_seconds_bucket{destination!=\"other\"}) < bool 60"
                .to_owned(),
            1.0,
        ),
    ];
    for (query, value) in expected {
        prometheus.until(&query, value).await;
    }
    // A scrape that fails while the server is down is not the end: counters begin anew.
    world.stop().await;
    world.restart().await;
    prometheus.until("up{job=\"egret\"}", 1.0).await;
    let since = "egret_requests_total{job=\"egret\",outcome=\"forwarded\"}";
    prometheus.until(since, 0.0).await;
}

/// What `promtool check metrics` has to say about a page.
fn check(page: &str) -> String {
    let mut promtool = Command::new("promtool")
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("start promtool");
    let mut stdin = promtool.stdin.take().expect("a pipe");
    stdin.write_all(page.as_bytes()).expect("write the page");
    drop(stdin);
    let output = promtool.wait_with_output().expect("the end of promtool");
    let said = [output.stdout, output.stderr].concat();
    let said = String::from_utf8_lossy(&said).into_owned();
    if output.status.success() {
        said
    } else {
        format!("{}: {said}", output.status)
    }
}

#[tokio::test]
async fn promtool_has_nothing_to_say_about_the_pages() {
    needs!(Need::Program("promtool"));
    let (world, _stub, token) = busy().await;
    let page = world.admin_page("/metrics").await.expect("the page").text();
    assert_eq!(check(&page), "");
    let named = named(&world, Some(token)).await;
    assert_eq!(check(&named.text()), "");
}

async fn named(world: &World, token: Option<String>) -> Response {
    Api { world, token }.get("/metrics").await
}

#[tokio::test]
async fn names_are_for_those_who_see_everything_and_no_page_has_a_value() {
    let (world, _stub, token) = busy().await;
    world.run(&["user", "add", "alice"]).await.ok();
    let page = world.admin_page("/metrics").await.expect("the page").text();
    for name in [&format!("\"{SLUG}\""), HOST, "example.test"] {
        assert!(!page.contains(name), "{name} in {page}");
    }
    expect(&named(&world, None).await, 401);
    let member = Api::of(&world, "alice", "audit").await.token;
    expect_problem(&named(&world, member).await, "forbidden");
    let reads = Api::of(&world, "wim", "read").await.token;
    expect_problem(&named(&world, reads).await, "scope_insufficient");
    let all = named(&world, Some(token)).await;
    expect(&all, 200);
    let all = all.text();
    for name in [SLUG, HOST] {
        assert!(all.contains(name), "no {name} in {all}");
    }
    for text in [&page, &all] {
        leak::assert_absent("the page", text.as_bytes(), &leak::forms(VALUE.as_bytes()));
        assert!(!text.contains("/echo"), "a path in {text}");
    }
}

#[tokio::test]
async fn a_hostile_client_makes_no_series() {
    let (world, _stub, token) = busy().await;
    let before = lines(&named(&world, Some(token.clone())).await.text());
    for number in 0..20 {
        let host = format!("made-up-{number}.test");
        for headers in [&["X-A: <<nothing>>"][..], &[]] {
            get_from(&world, &host, headers).await;
        }
    }
    let after = named(&world, Some(token)).await.text();
    assert!(!after.contains("made-up"), "{after}");
    assert!(!after.contains("nothing"), "{after}");
    assert_eq!(lines(&after), before);
}

fn lines(page: &str) -> usize {
    page.lines().count()
}

#[tokio::test]
async fn what_is_open_is_counted_by_kind_until_it_closes() {
    let (world, _stub) = one_upstream().await;
    let open = async |kind: &str| {
        let page = world.admin_page("/metrics").await.expect("the page").text();
        value(&page, &format!("egret_connections_open{{kind=\"{kind}\"}}"))
    };
    let mut tunnel = world.tunnel().await;
    tunnel.get("/x", &[]).await;
    assert_eq!(open("tunnel").await, 1.0);
    drop(tunnel);
    let closed = async {
        while open("tunnel").await > 0.0 {
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
    };
    crate::within("the end of the tunnel", closed).await;
    let page = world.admin_page("/metrics").await.expect("the page").text();
    let done = "egret_tls_handshakes_total{side=\"client\",result=\"done\"}";
    assert_eq!(value(&page, done), 1.0);
    assert_eq!(value(&page, &done.replace("client", "upstream")), 1.0);
    assert!(value(&page, "egret_ca_expiry_timestamp_seconds") > 1.7e9);
    assert_eq!(value(&page, "egret_store_current"), 1.0);
    assert_eq!(value(&page, "egret_credentials_active"), 1.0);
    assert!(value(&page, "process_open_fds") > 3.0);
}

/// The value of a sample.
fn value(page: &str, sample: &str) -> f64 {
    let line = page.lines().find_map(|line| line.strip_prefix(sample));
    let line = line.unwrap_or_else(|| panic!("no {sample} in {page}"));
    line.trim().parse().expect("a number")
}

#[tokio::test]
async fn dates_of_credentials_are_told() {
    let (world, _stub, token) = busy().await;
    let allow = ["credential", "allow", SLUG, "--rotate-every", "90d"];
    world.run(&allow).await.ok();
    let page = named(&world, Some(token)).await.text();
    let of = format!("{{owner=\"default\",slug=\"{SLUG}\"}}");
    let age = value(&page, &format!("egret_credential_age_seconds{of}"));
    assert!(age < 600.0, "{page}");
    let due = value(
        &page,
        &format!("egret_credential_due_timestamp_seconds{of}"),
    );
    assert!(due > 1.7e9 + 90.0 * 86400.0, "{page}");
}

/// The alert rules, given what they are about, and nothing else.
#[test]
fn alerts_fire_when_they_should() {
    needs!(Need::Program("promtool"));
    let dir = tempfile::tempdir().expect("a directory");
    let rules = Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy/dashboards/alerts.yaml");
    let series = |series: &str, values: &str| json!({"series": series, "values": values});
    let fires = |alert: &str, series: Vec<Value>| {
        json!({
            "interval": "1m",
            "input_series": series,
            "promql_expr_test": [{
                "expr": format!("count(ALERTS{{alertname=\"{alert}\",alertstate=\"firing\"}}) or vector(0)"),
                "eval_time": "40m",
                "exp_samples": [{"labels": "{}", "value": 1}],
            }],
        })
    };
    let instance = "instance=\"a\",job=\"egret\"";
    let tests = json!({
        "rule_files": [rules],
        "evaluation_interval": "1m",
        "tests": [
            fires("EgretLedgerUnhealthy", vec![series(&format!("egret_ledger_healthy{{{instance}}}"), "0x60")]),
            fires("EgretStoreBehind", vec![series(&format!("egret_store_current{{{instance}}}"), "0x60")]),
            fires("EgretStoreTampered", vec![series(&format!("egret_store_unverified{{{instance}}}"), "1x60")]),
            fires("EgretAuthorityEnds", vec![series(&format!("egret_ca_expiry_timestamp_seconds{{{instance}}}"), "86400x60")]),
            fires("EgretCredentialsDue", vec![series(&format!("egret_credentials_due{{{instance}}}"), "1x60")]),
            fires("EgretCredentialsRejected", vec![series(&format!("egret_credentials_rejected{{{instance}}}"), "2x60")]),
            fires("EgretMemoryNotLocked", vec![series(&format!("egret_memory_lock_exhausted{{{instance}}}"), "1x60")]),
            fires("EgretUpstreamFailures", vec![
                series(&format!("egret_upstream_failures_total{{{instance},code=\"upstream_timeout\"}}"), "0+60x60"),
                series(&format!("egret_upstream_seconds_count{{{instance}}}"), "0+60x60"),
            ]),
        ],
    });
    let file = dir.path().join("tests.yaml");
    std::fs::write(&file, tests.to_string()).expect("write the tests");
    let output = Command::new("promtool")
        .args(["test", "rules"])
        .arg(&file)
        .output()
        .expect("run promtool");
    let said = [output.stdout, output.stderr].concat();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&said)
    );
}
