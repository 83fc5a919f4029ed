//! What the program does not see, and the mounts that cover it.

use std::collections::BTreeSet;
use std::ffi::CStr;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use rustix::mount::{
    MountFlags, MountPropagationFlags, mount, mount_bind, mount_change, mount_remount,
};

use super::masks;
use super::plan::Plan;
use crate::cli::usable::Usable;

/// Where programs keep credentials, in the home directory. A directory is covered as a whole.
const CREDENTIALS: &[&str] = &[
    ".aws/credentials",
    ".azure",
    ".cargo/credentials",
    ".cargo/credentials.toml",
    ".claude/.credentials.json",
    ".codex/auth.json",
    ".config/gcloud",
    ".config/gh/hosts.yml",
    ".config/git/credentials",
    ".config/hub",
    ".docker/config.json",
    ".gem/credentials",
    ".git-credentials",
    ".gnupg",
    ".kube/config",
    ".netrc",
    ".npmrc",
    ".pypirc",
    ".ssh",
    ".terraform.d/credentials.tfrc.json",
    ".vault-token",
];

/// The kernel's table of Unix sockets (proc(5)).
const SOCKETS: &str = "/proc/net/unix";
/// Room for what is written into a cover: certificates.
const ROOM: &CStr = c"mode=0755,size=16m";
/// The files that cover others.
const EMPTY: &str = ".empty";
const EMPTY_JSON: &str = ".empty.json";
const MASK: &str = ".mask-";
const RESOLVER: &str = ".resolv.conf";
/// The file that says which resolver is asked.
const RESOLVER_FILE: &str = "/etc/resolv.conf";

/// Adds what is to be covered beside Egret's own files: credentials of other programs, and every
/// socket by which the program could have something done outside.
pub(super) fn add_known(plan: &mut Plan, visible: &[PathBuf], usable: &[Usable]) {
    let home = std::env::var_os("HOME").map(PathBuf::from);
    if let Some(home) = &home {
        plan.masks = masks::masks(home, usable);
        plan.masks
            .retain(|path, _| !visible.iter().any(|visible| path.starts_with(visible)));
    }
    let of_home = home
        .iter()
        .flat_map(|home| CREDENTIALS.iter().map(|path| home.join(path)));
    let of_home = of_home.chain(plan.masks.keys().cloned());
    // The user's services: the session bus, the service manager, the keyring.
    let runtime = std::env::var_os("XDG_RUNTIME_DIR").map(PathBuf::from);
    let paths: BTreeSet<PathBuf> = of_home.chain(runtime).chain(sockets()).collect();
    // Where a link leads is what is covered: the mount would be made there.
    let paths = paths.into_iter().map(fs::canonicalize);
    let paths: BTreeSet<PathBuf> = paths.filter_map(Result::ok).collect();
    for path in paths {
        if visible.iter().any(|visible| path.starts_with(visible)) {
            continue;
        }
        if path.is_dir() {
            plan.directories.push(path);
        } else {
            plan.files.push(path);
        }
    }
}

/// The sockets that have a name in the file system. Those without belong to their network namespace
/// and are not there inside.
fn sockets() -> Vec<PathBuf> {
    let table = fs::read_to_string(SOCKETS).unwrap_or_default();
    let paths = table.lines().filter_map(|line| {
        // Number, references, protocol, flags, type, state, inode, path.
        let at = line.find(" /")?;
        Some(PathBuf::from(&line[at + 1..]))
    });
    paths.collect()
}

/// Covers everything, and puts the resolver of [`super::names`] in place of the system's.
pub(super) fn cover(plan: &Plan) -> io::Result<()> {
    // Mounts outside still come in; none goes out.
    let flags = MountPropagationFlags::DOWNSTREAM | MountPropagationFlags::REC;
    mount_change("/", flags)?;
    let shown: Vec<(PathBuf, Vec<u8>)> = plan
        .shown
        .iter()
        .map(|path| Ok((path.clone(), fs::read(path)?)))
        .collect::<io::Result<_>>()?;
    let data_dir = plan.data_dir.as_path();
    for directory in &plan.directories {
        // One that is inside another cover is gone already.
        if directory.is_dir() {
            empty(directory).map_err(|error| about(directory, error))?;
            seal(directory)?;
        }
    }
    empty(data_dir).map_err(|error| about(data_dir, error))?;
    for (path, content) in shown {
        if let Some(parent) = path.parent() {
            fs::create_dir_all(parent)?;
        }
        fs::write(path, content)?;
    }
    for (name, content) in [
        (EMPTY, ""),
        (EMPTY_JSON, "{}"),
        (RESOLVER, "nameserver 127.0.0.1\n"),
    ] {
        fs::write(data_dir.join(name), content)?;
    }
    for (number, (file, content)) in plan.masks.iter().enumerate() {
        if content.is_empty() {
            continue;
        }
        let name = data_dir.join(format!("{MASK}{number}"));
        fs::write(&name, content)?;
        mount_bind(name, file).map_err(|error| about(file, error.into()))?;
    }
    let is_masked = |file: &&PathBuf| plan.masks.get(*file).is_some_and(|mask| !mask.is_empty());
    for file in plan.files.iter().filter(|file| !is_masked(file)) {
        let is_json = file
            .extension()
            .is_some_and(|extension| extension == "json");
        let name = if is_json { EMPTY_JSON } else { EMPTY };
        if file.exists() {
            mount_bind(data_dir.join(name), file).map_err(|error| about(file, error.into()))?;
        }
    }
    if let Ok(resolver) = fs::canonicalize(RESOLVER_FILE) {
        let ours = data_dir.join(RESOLVER);
        mount_bind(ours, &resolver).map_err(|error| about(&resolver, error.into()))?;
    }
    seal(data_dir)
}

fn empty(directory: &Path) -> io::Result<()> {
    let flags = MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC;
    mount("tmpfs", directory, "tmpfs", flags, ROOM)?;
    Ok(())
}

/// From here on nothing can be written there.
fn seal(directory: &Path) -> io::Result<()> {
    let flags = MountFlags::RDONLY | MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC;
    mount_remount(directory, flags, c"").map_err(|error| about(directory, error.into()))
}

fn about(path: &Path, error: io::Error) -> io::Error {
    io::Error::new(
        error.kind(),
        format!("{} cannot be covered: {error}", path.display()),
    )
}
