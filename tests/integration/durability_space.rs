//! A full disk: the ledger is on a small file system of its own.

use std::path::Path;

use serde_json::Value;

use crate::client::assert_refused;
use crate::needs::{Need, needs, skipped};
use crate::world::{SLUG, World, one_upstream_with};
use crate::{eventually, ledger_files};

const HEADER: &str = "X-Api-Key: <<pat>>";

/// Mounts a file system of 512 KiB, three quarters of them taken, at the ledger's directory, in a
/// mount namespace of the server's own. No process outside sees that file system, so a shell keeps
/// running inside: it frees the space, or copies the ledger out, when a file asks for it.
const SMALL_DISK: &str = r#"exec unshare -rm sh -c '
    ledger=$6/ledger
    mkdir -p -m 700 "$ledger" && mount -t tmpfs -o size=512k,mode=700 small "$ledger" || exit 1
    head -c 384k /dev/zero >"$ledger/filler" || exit 1
    (
        while [ -d "$6" ]; do
            [ -e "$6/free" ] && rm -f "$ledger/filler" "$6/free"
            [ -e "$6/copy" ] && rm -f "$6/copy" && cp -r "$ledger" "$6/part" && mv "$6/part" "$6/copied"
            sleep 0.1
        done
    ) &
    exec "$@"' sh "$@""#;

/// Whether this machine lets a test have a file system of its own.
pub async fn may_mount() -> bool {
    let script = "mount -t tmpfs -o size=64k small /tmp";
    let probe = tokio::process::Command::new("unshare")
        .args(["-rm", "sh", "-c", script])
        .output()
        .await
        .expect("unshare");
    if !probe.status.success() {
        let reason = String::from_utf8_lossy(&probe.stderr);
        skipped(&format!(
            "permission to mount in a namespace: {}",
            reason.trim()
        ));
    }
    probe.status.success()
}

/// The ledger as it is now in the server's namespace.
async fn copied(data: &Path) -> std::path::PathBuf {
    let _ = std::fs::remove_dir_all(data.join("copied"));
    std::fs::write(data.join("copy"), b"").expect("ask for a copy");
    eventually("the copy", || data.join("copied").exists().then_some(())).await;
    data.join("copied")
}

#[tokio::test]
async fn a_full_file_system_stops_values_until_there_is_space_again() {
    needs!(Need::Program("unshare"), Need::Program("mount"));
    if !may_mount().await {
        return;
    }
    // Files are rotated meanwhile, so that the space runs out during rotation as well.
    let builder = World::builder()
        .set("ledger.max_size", "16KiB")
        .after(SMALL_DISK);
    let (mut world, stub) = one_upstream_with(builder).await;
    let mut tunnel = world.tunnel().await;
    let mut served = 0;
    let refused = loop {
        let answer = tunnel.get(&format!("/before-{served}"), &[HEADER]).await;
        if answer.status != 200 {
            break answer;
        }
        served += 1;
        assert!(served < 2000, "it never gets full");
    };
    assert_refused(&refused, "ledger_unavailable");
    assert!(served > 20, "{served}");
    assert_eq!(stub.take().len(), served);
    for number in 0..5 {
        // A result line, a compressed file or a truncated line may make room for a line or two.
        let answer = tunnel.get(&format!("/during-{number}"), &[HEADER]).await;
        if answer.status != 200 {
            assert_refused(&answer, "ledger_unavailable");
        }
    }
    let (records, _) = ledger_files::check(&copied(&world.data).await);
    let on_record = |records: &[Value], path: &str| {
        let is_use = |l: &&Value| l["event"] == "use" && l["slug"] == SLUG && l["path"] == path;
        records.iter().filter(is_use).count()
    };
    for request in stub.take() {
        assert_eq!(on_record(&records, request.path()), 1, "{}", request.path());
    }
    std::fs::write(world.data.join("free"), b"").expect("ask for space");
    let mut status = 0;
    for attempt in 0..120 {
        status = tunnel
            .get(&format!("/after-{attempt}"), &[HEADER])
            .await
            .status;
        if status == 200 {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    }
    assert_eq!(status, 200, "{}", world.log());
    let (records, _) = ledger_files::check(&copied(&world.data).await);
    for number in 0..served {
        assert_eq!(on_record(&records, &format!("/before-{number}")), 1);
    }
    for request in stub.take() {
        assert_eq!(on_record(&records, request.path()), 1, "{}", request.path());
    }
    drop(tunnel);
    assert!(world.stop().await.success());
}
