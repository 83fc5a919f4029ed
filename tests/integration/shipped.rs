//! The ledger at a collector.

use std::collections::BTreeSet;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use serde_json::Value;

use crate::needs::{Need, needs};
use crate::upstream::{Step, Stub, ok};
use crate::wire::Request;
use crate::world::{World, one_upstream_with};
use crate::{eventually, within_secs};

const HEADER: &str = "X-Api-Key: <<pat>>";

/// A collector over HTTP, which can be down.
struct Collector {
    stub: Stub,
    is_up: Arc<AtomicBool>,
    /// What it has taken.
    lines: Arc<Mutex<Vec<Value>>>,
}

impl Collector {
    async fn start() -> Self {
        let stub = Stub::plain().await;
        let (is_up, lines) = (
            Arc::new(AtomicBool::new(true)),
            Arc::<Mutex<Vec<Value>>>::default(),
        );
        let (up, taken) = (Arc::clone(&is_up), Arc::clone(&lines));
        stub.serve(move |request| {
            assert_eq!(
                request.header("authorization").as_deref(),
                Some("Bearer let-me-in")
            );
            assert!(
                request
                    .header("egret-ledger")
                    .is_some_and(|name| name.contains('+'))
            );
            let is_up = up.load(Ordering::Relaxed);
            if is_up {
                taken.lock().unwrap().extend(lines_of(&request));
            }
            let answer = if is_up {
                ok("")
            } else {
                b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n".to_vec()
            };
            async move { vec![Step::Send(answer)] }
        });
        Self { stub, is_up, lines }
    }

    fn set_up(&self, is_up: bool) {
        self.is_up.store(is_up, Ordering::Relaxed);
    }

    fn seqs(&self) -> Vec<u64> {
        let lines = self.lines.lock().unwrap();
        lines
            .iter()
            .filter_map(|line| line["seq"].as_u64())
            .collect()
    }

    /// Waits until it has each line up to this one, once and in order.
    async fn until(&self, last: u64) {
        let expected: Vec<u64> = (1..=last).collect();
        let all = eventually("the collector to have the ledger", || {
            let seqs = self.seqs();
            (seqs.len() >= expected.len()).then_some(seqs)
        });
        assert_eq!(all.await[..expected.len()], expected);
    }
}

/// The lines of a batch, which says which they are.
fn lines_of(request: &Request) -> Vec<Value> {
    let text = String::from_utf8(request.body.clone()).expect("UTF-8");
    let lines = text.lines();
    let lines = lines.map(|line| serde_json::from_str::<Value>(line).expect("JSON"));
    let lines: Vec<Value> = lines.collect();
    let ends = [lines.first(), lines.last()].map(|line| line.expect("a line")["seq"].clone());
    let named = format!("{}-{}", ends[0], ends[1]);
    assert_eq!(request.header("egret-ledger-lines"), Some(named));
    lines
}

async fn use_it(world: &World, times: usize) {
    let mut tunnel = world.tunnel().await;
    for _ in 0..times {
        assert_eq!(tunnel.get("/v1", &[HEADER]).await.status, 200);
    }
}

/// The number of the last line.
async fn last(world: &World) -> u64 {
    metric(world, "egret_ledger_size_lines").await
}

async fn metric(world: &World, name: &str) -> u64 {
    let page = world.admin_page("/metrics").await.expect("metrics").text();
    let line = page
        .lines()
        .find_map(|line| line.strip_prefix(&format!("{name} ")));
    let value: Option<f64> = line.and_then(|value| value.parse().ok());
    value.expect("the metric") as u64
}

#[tokio::test]
async fn a_collector_has_each_line_once_whatever_is_restarted() {
    let collector = Collector::start().await;
    let files = tempfile::tempdir().expect("a directory");
    let token = files.path().join("token");
    std::fs::write(&token, "let-me-in\n").expect("written");
    let builder = World::builder()
        .set(
            "ledger.ship_url",
            format!("http://{}/in", collector.stub.addr),
        )
        .set("ledger.ship_token", token.display().to_string())
        .set("ledger.max_size", "4KiB");
    let (mut world, _stub) = one_upstream_with(builder).await;
    use_it(&world, 5).await;
    collector.until(last(&world).await).await;

    // While it is down requests go on, and files are rotated.
    collector.set_up(false);
    use_it(&world, 20).await;
    assert!(metric(&world, "egret_ledger_unshipped_lines").await >= 20);
    failure(&world).await;
    world.stop().await;
    assert!(collector.seqs().len() < 40);
    world.restart().await;
    use_it(&world, 2).await;
    collector.set_up(true);
    collector.until(last(&world).await).await;
    let seqs = collector.seqs();
    let distinct: BTreeSet<u64> = seqs.iter().copied().collect();
    assert_eq!(distinct.len(), seqs.len(), "nothing came twice");
    let log = world.log();
    assert!(
        log.contains("the collector does not take the ledger"),
        "{log}"
    );
    assert!(!log.contains("let-me-in"));
}

/// Waits until a failure was counted.
async fn failure(world: &World) {
    within_secs(30, "a failure to be counted", async {
        while metric(world, "egret_ledger_ship_failures_total").await == 0 {
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        }
    })
    .await;
}

/// A real rsyslog, with a certificate of `pki`.
struct Rsyslog {
    process: Child,
    home: PathBuf,
}

impl Rsyslog {
    fn configure(home: &Path, port: u16) {
        let home = home.display();
        let text = format!(
            "global(workDirectory=\"{home}\" maxMessageSize=\"64k\"\n\
             defaultNetstreamDriver=\"gtls\"\n\
             defaultNetstreamDriverCAFile=\"{home}/root.pem\"\n\
             defaultNetstreamDriverCertFile=\"{home}/cert.pem\"\n\
             defaultNetstreamDriverKeyFile=\"{home}/key.pem\")\n\
             module(load=\"imtcp\" streamDriver.name=\"gtls\" streamDriver.mode=\"1\" \
             streamDriver.authMode=\"anon\")\n\
             input(type=\"imtcp\" address=\"127.0.0.1\" port=\"{port}\")\n\
             template(name=\"all\" type=\"string\" \
             string=\"%msgid%|%app-name%|%structured-data%|%msg%\\n\")\n\
             action(type=\"omfile\" file=\"{home}/out\" template=\"all\")\n"
        );
        std::fs::write(format!("{home}/rsyslog.conf"), text).expect("written");
    }

    fn start(home: &Path) -> Self {
        let process = Command::new("rsyslogd")
            .args(["-n", "-C", "-f"])
            .arg(home.join("rsyslog.conf"))
            .arg("-i")
            .arg(home.join("pid"))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("start rsyslogd");
        Self {
            process,
            home: home.to_owned(),
        }
    }

    /// What it has written: the event, and the line.
    fn lines(&self) -> Vec<(String, Value)> {
        let text = std::fs::read_to_string(self.home.join("out")).unwrap_or_default();
        let whole = text.rfind('\n').map_or("", |at| &text[..at]);
        let line = |line: &str| {
            let mut parts = line.splitn(4, '|');
            let id = parts.next().expect("an event").to_owned();
            assert_eq!(parts.next(), Some("egret"));
            let data = parts.next().expect("structured data");
            assert!(data.contains("sequenceId="), "{data}");
            let message = parts.next().expect("a message").trim();
            (id, serde_json::from_str(message).expect("JSON"))
        };
        whole.lines().map(line).collect()
    }
}

impl Drop for Rsyslog {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

#[tokio::test]
async fn rsyslog_has_the_ledger_over_tls() {
    needs!(Need::Program("rsyslogd"));
    let builder = World::builder();
    let home = tempfile::tempdir().expect("a directory");
    let path = |name: &str| home.path().join(name);
    std::fs::write(path("root.pem"), &builder.pki().root_pem).expect("written");
    builder
        .pki()
        .write_leaf(&["localhost"], &path("cert.pem"), &path("key.pem"));
    // Freed again for rsyslog, which names no port of its own.
    let port = TcpListener::bind("127.0.0.1:0").and_then(|socket| socket.local_addr());
    let port = port.expect("a port").port();
    Rsyslog::configure(home.path(), port);
    let builder = builder.set("ledger.ship_url", format!("syslog+tls://localhost:{port}"));
    let (world, _stub) = one_upstream_with(builder).await;

    // It comes later, is killed, and comes again: nothing is lost and nothing comes twice.
    use_it(&world, 3).await;
    let mut rsyslog = Rsyslog::start(home.path());
    for round in 0..2 {
        let expected = last(&world).await;
        let lines = within_secs(60, "rsyslog to have the ledger", async {
            loop {
                let lines = rsyslog.lines();
                if lines.len() as u64 >= expected {
                    return lines;
                }
                tokio::time::sleep(std::time::Duration::from_millis(50)).await;
            }
        })
        .await;
        let seqs: Vec<_> = lines
            .iter()
            .filter_map(|(_, line)| line["seq"].as_u64())
            .collect();
        assert_eq!(seqs, (1..=lines.len() as u64).collect::<Vec<_>>());
        for (id, line) in &lines {
            assert_eq!(line["event"], id.as_str());
        }
        if round == 0 {
            drop(rsyslog);
            use_it(&world, 3).await;
            rsyslog = Rsyslog::start(home.path());
        }
    }
}
