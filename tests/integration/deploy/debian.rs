//! The Debian package, installed into a directory and purged from it.

use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
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

/// Whether cargo-deb is there. It takes minutes to build, so nothing installs it for the tests: without it, the
/// test reads the same metadata and makes the package itself.
fn has_cargo_deb() -> bool {
    let mut command = Command::new("cargo");
    let found = command.args(["deb", "--version"]).output();
    found.is_ok_and(|output| output.status.success())
}

/// Makes the package without cargo-deb: the script writes its part, and what `[package.metadata.deb]` names
/// is put where it says.
fn laid_out(home: &Path, out: &Path) {
    let (stage, root) = (home.join("stage"), home.join("tree"));
    std::fs::create_dir(&stage).expect("a directory");
    let mut build = Command::new(deploy("debian/build"));
    succeeds(build.arg("--stage").arg(EGRET).arg(&stage));
    let top = Path::new(env!("CARGO_MANIFEST_DIR"));
    let manifest = std::fs::read_to_string(top.join("Cargo.toml")).expect("the manifest");
    let manifest: toml::Table = manifest.parse().expect("TOML");
    let package = &manifest["package"];
    let deb = &package["metadata"]["deb"];
    for asset in deb["assets"].as_array().expect("a list") {
        let [from, to, mode] = [0, 1, 2].map(|at| asset[at].as_str().expect("a text"));
        let sources = sources(&match from.strip_prefix("target/") {
            Some(made) => stage.join(made),
            None => top.join(from),
        });
        assert!(!sources.is_empty(), "{from}");
        for source in sources {
            let mut install = Command::new("install");
            install.args(["-D", "-m", mode]).arg(&source);
            let place = match to.strip_suffix('/') {
                Some(directory) => root
                    .join(directory)
                    .join(source.file_name().expect("a name")),
                None => root.join(to),
            };
            succeeds(install.arg(place));
        }
    }
    let control = root.join("DEBIAN");
    std::fs::create_dir(&control).expect("a directory");
    let text = |value: &toml::Value| value.as_str().expect("a text").to_owned();
    for script in ["postinst", "prerm", "postrm"] {
        let from = top.join(text(&deb["maintainer-scripts"])).join(script);
        let mut install = Command::new("install");
        succeeds(
            install
                .args(["-m", "755"])
                .args([from, control.join(script)]),
        );
    }
    let fields = format!(
        "Package: egret\nVersion: {}{}\nArchitecture: all\nMaintainer: {}\nDepends: {}\nDescription: {}\n",
        text(&package["version"]),
        text(&deb["revision"]),
        text(&deb["maintainer"]),
        text(&deb["depends"]).replace("$auto, ", ""),
        text(&package["description"]),
    );
    std::fs::write(control.join("control"), fields).expect("written");
    let mut build = Command::new("dpkg-deb");
    build.args(["--root-owner-group", "-Zgzip", "-z1", "--build"]);
    succeeds(build.arg(&root).arg(out));
}

/// The files that a path names, whose last part may have a `*` at its start.
fn sources(pattern: &Path) -> Vec<PathBuf> {
    let name = pattern.file_name().expect("a name").to_str().expect("text");
    let Some(ending) = name.strip_prefix('*') else {
        return vec![pattern.to_owned()];
    };
    let directory = pattern.parent().expect("a directory");
    let files = std::fs::read_dir(directory).expect("a directory");
    let files = files.map(|file| file.expect("a file").path());
    files
        .filter(|path| path.to_str().is_some_and(|path| path.ends_with(ending)))
        .collect()
}

#[test]
fn the_package_installs_everything_and_a_purge_keeps_the_data() {
    needs!(
        Need::Program("dpkg-deb"),
        Need::Program("strip"),
        Need::Program("systemd-sysusers"),
        Need::Program("man")
    );
    if !rustix::process::geteuid().is_root() {
        skipped("root, for the owners of what dpkg installs");
        return;
    }
    let home = tempfile::tempdir().expect("a directory");
    let out = home.path().join("out");
    std::fs::create_dir(&out).expect("a directory");
    if has_cargo_deb() {
        let mut build = Command::new(deploy("debian/build"));
        succeeds(build.arg(EGRET).arg(&out).arg("--fast"));
    } else {
        println!("made without cargo-deb, from what Cargo.toml names");
        laid_out(home.path(), &out);
    }
    let mut packages = std::fs::read_dir(&out).expect("a directory");
    let package = packages.next().expect("a package").expect("it").path();
    let field = |name: &str| {
        let mut command = Command::new("dpkg-deb");
        succeeds(command.arg("--field").arg(&package).arg(name))
    };
    let version = succeeds(Command::new(EGRET).arg("--version"));
    assert_eq!(format!("egret {}", field("Version")), version);
    let depends = field("Depends");
    assert!(
        depends.contains("systemd | systemd-standalone-sysusers"),
        "{depends}"
    );
    assert!(
        !has_cargo_deb() || depends.contains("libc6 (>= 2."),
        "{depends}"
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
    needs!(Need::Program("strip"));
    let home = tempfile::tempdir().expect("a directory");
    let mut build = Command::new(deploy("debian/build"));
    let said = output(build.arg("/bin/true").arg(home.path()));
    assert!(!said.status.success(), "{said:?}");
    assert_eq!(std::fs::read_dir(home.path()).expect("it").count(), 0);
}
