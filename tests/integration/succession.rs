//! Another certificate authority in the place of the present one, without a client that fails.

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use serde_json::Value;

use crate::client::{Wanted, trusting};
use crate::needs::{Need, needs};
use crate::world::{HOST, World, one_upstream};
use crate::{eventually, within_secs};

/// Whether a program that trusts these certificates alone accepts what the proxy shows.
async fn is_accepted(world: &World, pem: &[u8]) -> bool {
    let wanted = Wanted::new(world);
    let socket = wanted.connect(world).await.expect("a tunnel");
    let name = HOST.try_into().expect("a name");
    let connector = tokio_rustls::TlsConnector::from(trusting(pem));
    let handshake = connector.connect(name, socket);
    within_secs(20, "a handshake", handshake).await.is_ok()
}

fn certificates(pem: &[u8]) -> Vec<CertificateDer<'static>> {
    CertificateDer::pem_slice_iter(pem)
        .map(|certificate| certificate.expect("a certificate"))
        .collect()
}

/// What is in the second file and not in the first.
fn added(before: &[u8], after: &[u8]) -> Vec<u8> {
    let after = String::from_utf8(after.to_vec()).expect("text");
    let before = String::from_utf8(before.to_vec()).expect("text");
    let rest = after.replace(before.trim(), "");
    rest.trim().as_bytes().to_vec()
}

async fn until_signed_by(world: &World, pem: &[u8]) {
    for _ in 0..100 {
        if is_accepted(world, pem).await {
            return;
        }
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    }
    panic!("the authority does not sign:\n{}", world.log());
}

async fn metric(world: &World, name: &str) -> f64 {
    let page = world.admin_page("/metrics").await.expect("metrics");
    let text = String::from_utf8(page.body).expect("text");
    let line = text
        .lines()
        .find(|line| line.starts_with(&format!("{name} ")));
    let line = line.unwrap_or_else(|| panic!("no {name}"));
    line.rsplit(' ')
        .next()
        .expect("a value")
        .parse()
        .expect("a number")
}

#[tokio::test]
async fn clients_of_the_old_the_new_and_both_authorities_work_when_they_should() {
    let (mut world, _stub) = one_upstream().await;
    let old = world.ca_pem().await;
    assert!(is_accepted(&world, &old).await);
    // Long before, so that the client of the test is from before it.
    tokio::time::sleep(std::time::Duration::from_millis(1100)).await;
    let state = world
        .run(&["ca", "rotate", "--after", "1h", "--json"])
        .await
        .json();
    assert_eq!(state["authorities"].as_array().expect("a list").len(), 2);
    assert_eq!(state["authorities"][0]["signs"], true);
    assert_eq!(state["clients_before"], serde_json::json!(["tester"]));
    let both = world.ca_pem().await;
    assert_eq!(certificates(&both).len(), 2);
    let new = added(&old, &both);
    assert_eq!(certificates(&new).len(), 1);
    // Every bundle has both at once.
    let shown = world.run(&["ca", "show"]).await.ok();
    assert_eq!(certificates(shown.as_bytes()).len(), 2);
    let bundle = std::fs::read(world.data.join("ca-bundle.pem")).expect("the bundle");
    for certificate in certificates(&both) {
        assert!(certificates(&bundle).contains(&certificate));
    }
    let taken = || {
        world
            .log()
            .contains("authority was read again")
            .then_some(())
    };
    eventually("the server to take it", taken).await;
    assert!(is_accepted(&world, &old).await && is_accepted(&world, &both).await);
    assert!(!is_accepted(&world, &new).await);
    assert!(metric(&world, "egret_ca_takeover_timestamp_seconds").await > 0.0);
    assert_eq!(metric(&world, "egret_ca_clients_before").await as u64, 1);
    let doctor = world.run(&["doctor"]).await;
    assert!(
        doctor.stdout.contains("another one takes over on"),
        "{doctor:?}"
    );
    let early = world.run(&["ca", "rotate", "--finish"]).await;
    assert!(
        early.stderr.contains("no other CA has taken over"),
        "{early:?}"
    );

    world.run(&["ca", "rotate", "--now"]).await.ok();
    until_signed_by(&world, &new).await;
    assert!(is_accepted(&world, &both).await);
    assert!(!is_accepted(&world, &old).await);
    assert_eq!(
        metric(&world, "egret_ca_takeover_timestamp_seconds").await as u64,
        0
    );
    // A restart changes nothing, and a backup has both keys.
    world.stop().await;
    world.restart().await;
    assert!(is_accepted(&world, &new).await && is_accepted(&world, &both).await);

    world.run(&["ca", "rotate", "--finish"]).await.ok();
    assert_eq!(certificates(&world.ca_pem().await), certificates(&new));
    let rotated = |line: &Value| line["event"] == "ca.retired";
    world.ledger_line("the end of the rotation", rotated).await;
    assert!(is_accepted(&world, &new).await);
}

/// The next authority is in a backup, and its key is sealed there.
#[tokio::test]
async fn a_backup_has_the_next_authority() {
    let (mut world, _stub) = one_upstream().await;
    world.run(&["ca", "rotate", "--now"]).await.ok();
    let before = world.ca_pem().await;
    let backup = world.scratch().join("backup").display().to_string();
    world.run(&["backup", &backup]).await.ok();
    let key = std::fs::read_to_string(world.data.join("ca.key.next")).expect("the next key");
    let sealed = std::fs::read(world.scratch().join("backup/ca.key.next.sealed"));
    let spelt = key.lines().nth(1).expect("a line").as_bytes();
    let sealed = sealed.expect("the sealed key");
    assert!(!sealed.windows(spelt.len()).any(|window| window == spelt));
    world.stop().await;
    let home = world.scratch().join("home");
    std::fs::create_dir(&home).expect("a directory");
    std::fs::copy(world.data.join("master.key"), home.join("master.key")).expect("copy");
    world.data = home;
    world.run(&["restore", &backup]).await.ok();
    let again = std::fs::read_to_string(world.data.join("ca.key.next")).expect("the next key");
    assert!(again == key, "the key is the same");
    world.restart().await;
    let signing = certificates(&before)[1].clone();
    let tunnel = world.tunnel().await;
    assert_eq!(tunnel.peer_certificates()[1], signing);
}

/// curl reads a file of several certificates.
#[tokio::test]
async fn curl_trusts_the_file_before_and_after() {
    needs!(Need::Program("curl"));
    let (world, _stub) = one_upstream().await;
    let old = world.scratch().join("old.pem");
    std::fs::write(&old, world.ca_pem().await).expect("write");
    world.run(&["ca", "rotate", "--after", "1h"]).await.ok();
    let path = world.run(&["ca", "path"]).await.ok();
    let both = path.trim();
    let curl = async |file: &str| {
        let mut command = tokio::process::Command::new("curl");
        command
            .env_clear()
            .args([
                "-sS",
                "-o",
                "/dev/null",
                "--max-time",
                "20",
                "--noproxy",
                "",
            ])
            .args([
                "--cacert",
                file,
                "--proxy",
                &format!("http://{}", world.proxy),
            ])
            .args(["--proxy-user", &format!("act:{}", world.token)])
            .arg(format!("https://{HOST}/curl"));
        let output = within_secs(40, "curl", command.output())
            .await
            .expect("curl");
        output.status.code()
    };
    let old = old.display().to_string();
    assert_eq!(curl(&old).await, Some(0));
    assert_eq!(curl(both).await, Some(0));
    world.run(&["ca", "rotate", "--now"]).await.ok();
    for _ in 0..100 {
        if curl(&old).await != Some(0) {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    }
    assert_eq!(
        curl(&old).await,
        Some(60),
        "its roots do not have the next one"
    );
    assert_eq!(curl(both).await, Some(0));
}
