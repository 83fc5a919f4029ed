//! A Unix socket that is listened on: where it may be, its mode, and its end.
//!
//! Whoever can write to its directory, or to one above, can put a socket of their own in its place, and
//! gets what clients send: their tokens, and requests whose answers they believe.

use std::fs::{self, Metadata};
use std::io;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail, ensure};
use rustix::fs::{Mode, chmod};
use socket2::{Domain, SockAddr, Socket, Type};

use crate::files;

/// Connections that may wait to be accepted; the system may allow fewer.
const BACKLOG: i32 = 4_096;

/// A socket in the file system. It is removed with this value, unless another server has it too.
pub(super) struct UnixSocket {
    pub path: PathBuf,
    /// The file that was made: device and inode.
    file: (u64, u64),
    is_ours: bool,
    /// The service manager has bound it, which also removes it.
    pub is_managed: bool,
}

impl UnixSocket {
    /// Listens at `path`. What a server that was killed has left there is removed.
    pub fn bind(path: &Path) -> Result<(UnixListener, Self)> {
        check_directories(path)?;
        make_room(path)?;
        let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
        socket.bind(&SockAddr::unix(path).context("its path is too long for a socket")?)?;
        // Nobody can connect before it listens, and so nobody before it has its mode.
        let mode = chmod(path, Mode::RUSR | Mode::WUSR);
        let this = Self::of(path, true)?;
        mode?;
        socket.listen(BACKLOG)?;
        socket.set_nonblocking(true)?;
        Ok((UnixListener::from(std::os::fd::OwnedFd::from(socket)), this))
    }

    /// The file of a socket that another server has bound, which is left there until it is adopted, or that
    /// the service manager has, which is always left there.
    pub fn inherited(path: &Path, is_managed: bool) -> Result<Self> {
        if is_managed {
            check_directories(path)?;
        }
        let mut this = Self::of(path, false)?;
        this.is_managed = is_managed;
        Ok(this)
    }

    fn of(path: &Path, is_ours: bool) -> Result<Self> {
        let metadata = fs::symlink_metadata(path)?;
        Ok(Self {
            path: path.to_owned(),
            file: identity(&metadata),
            is_ours,
            is_managed: false,
        })
    }

    /// It is to be removed at the end of this server.
    pub fn adopt(&mut self) {
        self.is_ours = !self.is_managed;
    }

    /// It goes on in another server.
    pub fn leave(&mut self) {
        self.is_ours = false;
    }
}

impl Drop for UnixSocket {
    fn drop(&mut self) {
        let there = fs::symlink_metadata(&self.path);
        // What somebody else has put there since stays.
        if self.is_ours && there.is_ok_and(|it| identity(&it) == self.file) {
            let _ = fs::remove_file(&self.path);
        }
    }
}

fn identity(metadata: &Metadata) -> (u64, u64) {
    (metadata.dev(), metadata.ino())
}

/// Removes a socket that nobody listens on.
fn make_room(path: &Path) -> Result<()> {
    let there = match fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        there => there?,
    };
    ensure!(
        there.file_type().is_socket(),
        "something that is no socket is there already"
    );
    let own = rustix::process::geteuid().as_raw();
    ensure!(
        there.uid() == own,
        "a socket of another user is there already"
    );
    match UnixStream::connect(path) {
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
            fs::remove_file(path).context("an old socket cannot be removed")
        }
        _ => bail!("another process listens there"),
    }
}

/// Refuses a path that somebody else could change: by its names, and where links on it lead.
fn check_directories(path: &Path) -> Result<()> {
    let parent = path.parent().context("it has no directory")?;
    let real = fs::canonicalize(parent)
        .with_context(|| format!("its directory {} is not there", parent.display()))?;
    for directory in [parent, &real] {
        for above in directory.ancestors() {
            let metadata = fs::symlink_metadata(above)?;
            // Where the links on it lead is checked by itself.
            let is_link = metadata.file_type().is_symlink();
            check_directory(above, &metadata, above == directory && !is_link)?;
        }
    }
    Ok(())
}

/// `is_own` if the socket itself is in it: there, others could bind its name while no server runs.
fn check_directory(directory: &Path, metadata: &Metadata, is_own: bool) -> Result<()> {
    let shown = directory.display();
    ensure!(
        files::is_trusted(metadata.uid()),
        "the directory {shown} belongs to another user, who could put another socket there"
    );
    let mode = metadata.mode();
    let is_open = match is_own {
        true => files::others_can_write(mode),
        false => files::others_can_replace(mode),
    };
    ensure!(
        metadata.file_type().is_symlink() || !is_open,
        "other users can write to {shown} (mode {:04o}) and put another socket there. Run: chmod go-w \
         '{shown}'; or choose a directory of Egret's own",
        mode & 0o7777
    );
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt as _, symlink};

    use super::*;

    fn directory() -> tempfile::TempDir {
        tempfile::tempdir().expect("a directory")
    }

    fn set_mode(path: &Path, mode: u32) {
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).expect("a mode");
    }

    fn refusal(path: &Path) -> String {
        format!("{:#}", UnixSocket::bind(path).err().expect("refused"))
    }

    #[test]
    fn it_is_closed_to_others_and_goes_with_the_server() {
        let directory = directory();
        let path = directory.path().join("base.sock");
        let (listener, socket) = UnixSocket::bind(&path).expect("bound");
        let mode = fs::metadata(&path).expect("there").mode();
        assert_eq!(mode & 0o777, 0o600);
        assert!(refusal(&path).contains("another process listens there"));
        drop(listener);
        // As after a server that was killed.
        std::mem::forget(socket);
        let (_listener, socket) = UnixSocket::bind(&path).expect("bound again");
        drop(socket);
        assert!(!path.exists());
    }

    #[test]
    fn what_another_has_put_there_stays() {
        let directory = directory();
        let path = directory.path().join("base.sock");
        let (_listener, mut socket) = UnixSocket::bind(&path).expect("bound");
        socket.leave();
        drop(socket);
        assert!(path.exists(), "it goes on in another server");
        let mut follower = UnixSocket::inherited(&path, false).expect("there");
        follower.adopt();
        let kept = directory.path().join("kept");
        fs::rename(&path, &kept).expect("renamed");
        fs::write(&path, "").expect("written");
        drop(follower);
        assert!(path.exists() && kept.exists());
        assert!(refusal(&path).contains("no socket"));
    }

    #[test]
    fn a_directory_that_others_can_write_to_is_refused() {
        let directory = directory();
        let inner = directory.path().join("inner");
        fs::create_dir(&inner).expect("a directory");
        let path = inner.join("base.sock");
        for (outside, inside, is_refused) in [
            (0o755, 0o755, false),
            (0o755, 0o775, true),
            (0o755, 0o757, true),
            // Others could bind the name while no server runs.
            (0o755, 0o1777, true),
            (0o777, 0o700, true),
            (0o770, 0o700, true),
            // As /tmp.
            (0o1777, 0o700, false),
        ] {
            set_mode(directory.path(), outside);
            set_mode(&inner, inside);
            let bound = UnixSocket::bind(&path);
            assert_eq!(bound.is_err(), is_refused, "{outside:o} {inside:o}");
        }
        set_mode(directory.path(), 0o777);
        assert!(refusal(&path).contains("chmod go-w"));
        // A link to it from a place that is well.
        let elsewhere = self::directory();
        let link = elsewhere.path().join("link");
        symlink(&inner, &link).expect("a link");
        assert!(refusal(&link.join("base.sock")).contains("other users can write"));
        set_mode(directory.path(), 0o755);
        assert!(UnixSocket::bind(&link.join("base.sock")).is_ok());
    }
}
