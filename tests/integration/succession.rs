//! Another certificate authority in the place of the present one, without a client that fails.

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use serde_json::Value;

use crate::client::{Wanted, basic, trusting};
use crate::needs::{Need, needs};
use crate::world::{HOST, World, one_upstream};
use crate::{eventually, within_secs};

/// Whether a program that trusts these certificates alone accepts what the proxy shows.
async fn is_accepted(world: &World, pem: &[u8]) -> bool {
    is_accepted_of(world, &world.token, pem).await
}

/// The same for the client with this token.
async fn is_accepted_of(world: &World, token: &str, pem: &[u8]) -> bool {
    let wanted = Wanted::new(world).authorized(basic("act", token));
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

/// What `egret ca status` says of each client.
async fn clients(world: &World) -> Vec<Value> {
    let state = world.run(&["ca", "status", "--json"]).await.json();
    state["clients"].as_array().expect("a list").clone()
}

/// Waits until it says of each of these whether it accepted the one last that signs, and whether it refuses it.
async fn until_known(world: &World, expected: &[(&str, bool, bool)]) {
    let mut found = Vec::new();
    for _ in 0..200 {
        found = clients(world).await;
        let is_so = |(name, is_current, refuses): &(&str, bool, bool)| {
            let mut of = found.iter().filter(|client| client["client"] == *name);
            of.any(|it| it["is_current"] == *is_current && it["refuses"] == *refuses)
        };
        if expected.iter().all(is_so) {
            return;
        }
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    }
    panic!("{expected:?} of {found:#?}");
}

/// Who holds only the former authority or only the next one is named, with what it accepted and refused,
/// also after a restart.
#[tokio::test]
async fn clients_are_named_that_have_not_accepted_the_authority_that_signs() {
    let (mut world, _stub) = one_upstream().await;
    let old = world.ca_pem().await;
    let token_of = async |name: &str| world.client(name, "alice").await;
    let (late, ready, early) = (
        token_of("late").await,
        token_of("ready").await,
        token_of("early").await,
    );
    world.run(&["ca", "rotate", "--after", "1h"]).await.ok();
    let both = world.ca_pem().await;
    let new = added(&old, &both);
    assert!(is_accepted_of(&world, &late, &old).await);
    assert!(is_accepted_of(&world, &ready, &both).await);
    assert!(!is_accepted_of(&world, &early, &new).await);
    until_known(
        &world,
        &[
            ("late", true, false),
            ("ready", true, false),
            ("early", false, true),
        ],
    )
    .await;

    world.run(&["ca", "rotate", "--now"]).await.ok();
    until_signed_by(&world, &new).await;
    assert_eq!(
        metric(&world, "egret_ca_clients_of_another").await as u64,
        2
    );
    assert!(!is_accepted_of(&world, &late, &old).await);
    assert!(is_accepted_of(&world, &early, &new).await);
    // Nobody waits for the file: it is written when the server ends.
    world.stop().await;
    world.restart().await;
    until_known(
        &world,
        &[
            ("late", false, true),
            ("ready", false, false),
            ("early", true, false),
        ],
    )
    .await;
    assert_eq!(metric(&world, "egret_ca_clients_refusing").await as u64, 1);
    assert_eq!(
        metric(&world, "egret_ca_clients_of_another").await as u64,
        2
    );
    let shown = world.run(&["ca", "show"]).await;
    assert!(shown.stderr.contains("refused by late"), "{shown:?}");
    assert_eq!(certificates(shown.stdout.as_bytes()).len(), 2);
    let text = world.run(&["ca", "status"]).await.ok();
    let line = |name: &str| text.lines().find(|line| line.starts_with(name));
    assert!(
        line("late ").is_some() && line("ready ").is_some(),
        "{text}"
    );
    assert!(line("early ").is_none(), "{text}");
    let doctor = world.run(&["doctor"]).await;
    assert!(
        doctor.stdout.contains("valid now; refused by late"),
        "{doctor:?}"
    );

    // Given both, it is named no more; neither is a client that is taken away.
    assert!(is_accepted_of(&world, &late, &both).await);
    world.run(&["client", "remove", "ready"]).await.ok();
    until_known(&world, &[("late", true, false)]).await;
    assert_eq!(metric(&world, "egret_ca_clients_refusing").await as u64, 0);
    for _ in 0..200 {
        if clients(&world)
            .await
            .iter()
            .all(|it| it["client"] != "ready")
        {
            return;
        }
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    }
    panic!("it is still named: {:#?}", clients(&world).await);
}

/// A file that cannot be written fails no handshake, and one that cannot be read no start.
#[tokio::test]
async fn a_record_of_clients_that_cannot_be_kept_fails_nothing() {
    let (mut world, _stub) = one_upstream().await;
    let file = world.data.join("ca.clients");
    world.stop().await;
    let _ = std::fs::remove_file(&file);
    std::fs::create_dir(&file).expect("a directory in its place");
    world.restart().await;
    let pem = world.ca_pem().await;
    assert!(is_accepted(&world, &pem).await);
    let said = || {
        let log = world.log();
        let both = ["accepted is lost", "accepted cannot be written"];
        both.iter().all(|text| log.contains(text)).then_some(())
    };
    eventually("the log to say so", said).await;
    assert!(is_accepted(&world, &pem).await);
    let status = world.run(&["ca", "status"]).await;
    assert!(status.stderr.contains("cannot be read"), "{status:?}");
    status.ok();
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
