//! The Debian package, installed into a directory and purged from it.

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Command;

use super::{deploy, output, succeeds};
use crate::needs::{Need, needs, skipped};
use crate::world::EGRET;

/// dpkg on a root of its own. The scripts of the package run outside of it, because it has no shell.
fn dpkg(root: &Path) -> Command {
    let mut command = Command::new("dpkg");
    command
        .arg(format!("--root={}", root.display()))
        .args(["--force-script-chrootless", "--force-depends"]);
    command
}

#[test]
fn the_package_installs_everything_and_a_purge_keeps_the_data() {
    needs!(
        Need::Program("dpkg-deb"),
        Need::Program("readelf"),
        Need::Program("systemd-sysusers"),
        Need::Program("man")
    );
    if !rustix::process::geteuid().is_root() {
        skipped("root, for the owners of what dpkg installs");
        return;
    }
    let home = tempfile::tempdir().expect("a directory");
    let mut build = Command::new(deploy("debian/build"));
    build
        .arg(EGRET)
        .arg(home.path())
        .env("EGRET_DEB_LEVEL", "0");
    succeeds(&mut build);
    let mut packages = std::fs::read_dir(home.path()).expect("a directory");
    let package = packages.next().expect("a package").expect("it").path();
    let field = |name: &str| {
        let mut command = Command::new("dpkg-deb");
        succeeds(command.arg("--field").arg(&package).arg(name))
    };
    let version = succeeds(Command::new(EGRET).arg("--version"));
    assert_eq!(format!("egret {}", field("Version")), version);
    assert!(
        field("Depends").contains("libc6 (>= 2."),
        "{}",
        field("Depends")
    );

    let root = home.path().join("root");
    for directory in ["etc", "var/lib/dpkg/updates", "var/lib/dpkg/info"] {
        std::fs::create_dir_all(root.join(directory)).expect("a directory");
    }
    std::fs::write(root.join("var/lib/dpkg/status"), "").expect("written");
    succeeds(dpkg(&root).arg("--install").arg(&package));
    let installed = |path: &str| root.join(path);
    let program = installed("usr/bin/egret");
    assert_eq!(succeeds(Command::new(&program).arg("--version")), version);
    let mode = std::fs::metadata(&program)
        .expect("a program")
        .permissions();
    assert_eq!(mode.mode() & 0o7777, 0o755);
    let unit = std::fs::read(installed("usr/lib/systemd/system/egret.service"));
    assert_eq!(
        unit.expect("a unit"),
        std::fs::read(deploy("systemd/egret.service")).expect("a unit")
    );
    let log = installed("usr/share/doc/egret/changelog.gz");
    let log = succeeds(Command::new("gzip").arg("-dc").arg(log));
    assert!(
        log.starts_with(&format!("egret ({}) ", field("Version").trim())),
        "{log}"
    );
    let accounts = std::fs::read_to_string(installed("etc/passwd")).expect("accounts");
    assert!(accounts.contains("egret:x:"), "{accounts}");
    let bash = installed("usr/share/bash-completion/completions/egret");
    succeeds(Command::new("bash").arg("-n").arg(bash));
    // Each command has a page, and man finds no fault in one.
    for page in ["egret", "egret-run", "egret-credential-add"] {
        let path = installed(&format!("usr/share/man/man1/{page}.1.gz"));
        let mode = std::fs::metadata(&path).expect("a page").permissions();
        assert_eq!(mode.mode() & 0o7777, 0o644, "{page}");
        let mut man = Command::new("man");
        man.args(["--warnings", "--local-file"]).arg(path);
        let said = output(man.env("LC_ALL", "C.UTF-8").env("MANWIDTH", "80"));
        assert!(said.status.success() && said.stderr.is_empty(), "{said:?}");
        assert!(String::from_utf8_lossy(&said.stdout).contains("SYNOPSIS"));
    }

    let data = installed("var/lib/egret");
    std::fs::create_dir_all(&data).expect("a directory");
    std::fs::write(data.join("master.key"), "kept").expect("written");
    // Once more, as an upgrade does.
    succeeds(dpkg(&root).arg("--install").arg(&package));
    let said = succeeds(dpkg(&root).args(["--purge", "egret"]));
    assert!(said.contains("kept in /var/lib/egret"), "{said}");
    assert!(!program.exists());
    let key = std::fs::read_to_string(data.join("master.key"));
    assert_eq!(key.expect("the key"), "kept");
}

#[test]
fn what_is_no_program_makes_no_package() {
    needs!(Need::Program("dpkg-deb"), Need::Program("readelf"));
    let home = tempfile::tempdir().expect("a directory");
    let mut build = Command::new(deploy("debian/build"));
    let said = output(build.arg("/bin/true").arg(home.path()));
    assert!(!said.status.success(), "{said:?}");
    assert_eq!(std::fs::read_dir(home.path()).expect("it").count(), 0);
}
