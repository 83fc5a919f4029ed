//! The same with a real squid.

use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Stdio;

use tokio::process::{Child, Command};

use super::{CORP, LOGIN, login};
use crate::client::assert_refused;
use crate::needs::{Need, needs};
use crate::upstream::Stub;
use crate::within;
use crate::world::{HOST, SLUG, VALUE, World};

struct Squid {
    addr: SocketAddr,
    dir: tempfile::TempDir,
    _process: Child,
}

/// Squid runs as a user of its own, if it is started by root.
fn open_to_all(path: &Path) {
    let mode = std::fs::Permissions::from_mode(0o777);
    std::fs::set_permissions(path, mode).expect("set permissions");
}

impl Squid {
    async fn start() -> Self {
        let dir = tempfile::tempdir().expect("a directory");
        open_to_all(dir.path());
        let path = |name: &str| dir.path().join(name).display().to_string();
        let (user, password) = LOGIN.split_once(':').expect("a login");
        let helper = format!(
            "#!/bin/sh\nwhile read -r user password; do\n  if [ \"$user $password\" = \
             '{user} {password}' ]; then echo OK; else echo ERR; fi\ndone\n"
        );
        std::fs::write(path("helper"), helper).expect("write the helper");
        open_to_all(Path::new(&path("helper")));
        let socket = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
        let addr = socket.local_addr().expect("an address");
        drop(socket);
        let config = format!(
            "http_port {addr}\nauth_param basic program {}\nauth_param basic children 2\n\
             acl known proxy_auth REQUIRED\nhttp_access allow known\nhttp_access deny all\n\
             cache deny all\ncache_mem 1 MB\npid_filename none\ncache_log {}\n\
             access_log stdio:{}\nshutdown_lifetime 0 seconds\ncoredump_dir {}\n\
             logfile_rotate 0\nmax_filedescriptors 256\n",
            path("helper"),
            path("cache.log"),
            path("access.log"),
            dir.path().display(),
        );
        std::fs::write(path("squid.conf"), config).expect("write the configuration");
        let process = Command::new("squid")
            .args(["-N", "-f", &path("squid.conf")])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .expect("start squid");
        let listens = async {
            while tokio::net::TcpStream::connect(addr).await.is_err() {
                tokio::time::sleep(std::time::Duration::from_millis(50)).await;
            }
        };
        within("squid to listen", listens).await;
        Self {
            addr,
            dir,
            _process: process,
        }
    }

    fn log(&self) -> String {
        std::fs::read_to_string(self.dir.path().join("access.log")).unwrap_or_default()
    }
}

#[tokio::test]
async fn squid_connects_for_whoever_logs_in() {
    needs!(Need::Program("squid"));
    let squid = Squid::start().await;
    let builder = World::builder();
    let stub = Stub::tls(builder.pki(), &[HOST]).await;
    // Squid cannot resolve the name, so it is asked for the address.
    let world = builder
        .route(&format!("{HOST}:443"), stub.addr)
        .set("upstream.proxy", format!("http://{}", squid.addr))
        .set("upstream.proxy_credential", CORP)
        .start()
        .await;
    world.save(SLUG, VALUE, &["--host", HOST]).await;
    // Nothing is saved for the proxy yet.
    let mut tunnel = world.tunnel().await;
    let answer = tunnel.get("/x", &["X-Api-Key: <<pat>>"]).await;
    assert_refused(&answer, "upstream_proxy_failed");
    assert_eq!(stub.take().len(), 0);
    login(&world, "me:wrong-password", squid.addr).await;
    let answer = tunnel.get("/x", &["X-Api-Key: <<pat>>"]).await;
    assert_refused(&answer, "upstream_proxy_failed");
    assert!(answer.text().contains("does not accept the login"));
    assert_eq!(stub.take().len(), 0);
    world.run(&["credential", "delete", CORP]).await.ok();
    login(&world, LOGIN, squid.addr).await;
    let answer = tunnel.get("/x", &["X-Api-Key: <<pat>>"]).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    let request = stub.take_one();
    assert_eq!(request.header("x-api-key").as_deref(), Some(VALUE));
    assert_eq!(request.header("proxy-authorization"), None);
    // Pooled: no other tunnel.
    tunnel.get("/again", &["X-Api-Key: <<pat>>"]).await;
    drop(tunnel);
    drop(world);
    let tunnels = || {
        let log = squid.log();
        let lines = log.lines().filter(|line| line.contains("TCP_TUNNEL/200"));
        let lines: Vec<_> = lines.map(str::to_owned).collect();
        (!lines.is_empty()).then_some(lines)
    };
    let lines = crate::eventually("squid's log", tunnels).await;
    assert_eq!(lines.len(), 1, "{lines:?}");
    assert!(
        lines[0].contains(&format!("CONNECT {}", stub.addr)),
        "{lines:?}"
    );
}
