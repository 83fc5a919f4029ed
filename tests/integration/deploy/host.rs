//! What runs on a host without containers: the unit of systemd, and the rules of nftables.

use std::process::Command;

use super::{deploy, output, succeeds};
use crate::needs::{Need, needs, skipped};
use crate::world::EGRET;

/// The most that `systemd-analyze security` may find, in tenths.
const MOST_EXPOSED: &str = "15";

#[test]
fn the_service_is_exposed_as_little_as_it_says() {
    needs!(Need::Program("systemd-analyze"));
    succeeds(
        Command::new("systemd-analyze")
            .args(["security", "--offline=true", "--no-pager"])
            .arg(format!("--threshold={MOST_EXPOSED}"))
            .arg(deploy("systemd/egret.service")),
    );
    // The threshold is one that fails.
    let home = tempfile::tempdir().expect("a directory");
    let open = home.path().join("egret.service");
    std::fs::write(&open, "[Service]\nExecStart=/usr/bin/true\n").expect("write");
    let found = output(
        Command::new("systemd-analyze")
            .args(["security", "--offline=true", "--no-pager"])
            .arg(format!("--threshold={MOST_EXPOSED}"))
            .arg(&open),
    );
    assert!(!found.status.success());
}

/// Both units as systemd reads them, with the program of this build.
#[test]
fn the_socket_belongs_to_the_service() {
    needs!(Need::Program("systemd-analyze"));
    let home = tempfile::tempdir().expect("a directory");
    for unit in ["egret.service", "egret.socket"] {
        let text = std::fs::read_to_string(deploy(&format!("systemd/{unit}"))).expect("a unit");
        let text = text.replace("/usr/bin/egret", EGRET);
        std::fs::write(home.path().join(unit), text).expect("written");
    }
    let verify = || {
        let mut command = Command::new("systemd-analyze");
        command
            .args(["verify", "--man=no", "--recursive-errors=no"])
            .arg(home.path().join("egret.socket"));
        command
    };
    let said = output(&mut verify());
    assert!(said.status.success() && said.stderr.is_empty(), "{said:?}");
    std::fs::write(home.path().join("egret.socket"), "[Socket]\nListen=1\n").expect("written");
    assert!(!output(&mut verify()).status.success());
}

/// In a network namespace of its own: Egret's user gets out, everybody else is refused at once.
#[test]
fn the_rules_let_only_egret_out() {
    needs!(
        Need::Program("nft"),
        Need::Program("unshare"),
        Need::Program("python3")
    );
    if !rustix::process::geteuid().is_root() {
        skipped("root, for rules in a network namespace");
        return;
    }
    // 192.0.2.1 is an address for documentation, and here one of the namespace's own interfaces.
    let script = r#"
set -e
ip link set lo up
ip link add egret0 type veth peer name egret1
ip netns add outside$$ && trap 'ip netns del outside$$' EXIT
ip link set egret1 netns outside$$
ip addr add 192.0.2.2/24 dev egret0 && ip link set egret0 up
ip netns exec outside$$ sh -c 'ip addr add 192.0.2.1/24 dev egret1; ip link set egret1 up; ip link set lo up'
ip netns exec outside$$ timeout 20 python3 -c '
import socket
server = socket.create_server(("192.0.2.1", 443))
while True:
    server.accept()[0].close()' >/dev/null 2>&1 &
outside=$!
until ip netns exec outside$$ ss -Hltn 'sport = 443' | grep -q .; do sleep 0.1; done
nft -f "$1"
nft -f "$1"
as() {
    status=0
    setpriv --reuid "$1" --regid "$1" --clear-groups timeout 5 bash -c "$2" 2>/dev/null || status=$?
    case $status in
        0) echo "$1 $3 allowed" ;;
        124) echo "$1 $3 lost" ;;
        *) echo "$1 $3 refused" ;;
    esac
}
for user in 65532 1000 0; do
    as $user 'exec 3<>/dev/tcp/192.0.2.1/443' stream
done
as 1000 'echo name >/dev/udp/192.0.2.1/53' datagram
python3 -m http.server --bind 127.0.0.1 8000 >/dev/null 2>&1 &
server=$!
until as 0 'exec 3<>/dev/tcp/127.0.0.1/8000' wait | grep -q allowed; do sleep 0.1; done
as 1000 'exec 3<>/dev/tcp/127.0.0.1/8000' loopback
kill $server $outside
"#;
    let told = succeeds(
        Command::new("unshare")
            .args(["--net", "--mount", "sh", "-c", script, "sh"])
            .arg(deploy("nftables/egret.nft")),
    );
    let told: Vec<&str> = told.lines().collect();
    assert_eq!(
        told,
        [
            "65532 stream allowed",
            "1000 stream refused",
            "0 stream refused",
            "1000 datagram refused",
            "1000 loopback allowed"
        ]
    );
}
