//! Listening sockets that exist before the server does: of the service manager (`LISTEN_FDS`,
//! sd_listen_fds(3)), or of the server that this one follows.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};

use listenfd::ListenFd;
use socket2::{Domain, Socket};

/// Sockets that are taken as they are wanted.
#[derive(Default)]
pub(super) struct Inherited {
    sockets: Vec<InheritedSocket>,
    unix: Vec<InheritedUnix>,
}

/// A Unix socket that exists already.
pub(super) struct InheritedUnix {
    pub listener: UnixListener,
    path: PathBuf,
    /// The key whose listener it was in the server before.
    key: Option<String>,
    /// The service manager has bound it, and keeps it when no server runs.
    pub is_managed: bool,
}

/// Before the key of a Unix socket that the service manager has bound.
pub(super) const MANAGED: &str = "managed:";

struct InheritedSocket {
    listener: TcpListener,
    address: SocketAddr,
    /// The key whose listener it was in the server before.
    key: Option<String>,
}

impl Inherited {
    /// Those of the service manager.
    ///
    /// # Errors
    /// When one of them listens neither for TCP nor at a Unix socket.
    pub fn of_manager() -> io::Result<Self> {
        let mut passed = ListenFd::from_env();
        let mut inherited = Self::default();
        for at in 0..passed.len() {
            // An error says that it is no such socket, and leaves it there.
            if let Ok(Some(listener)) = passed.take_unix_listener(at) {
                inherited.add_unix(Socket::from(listener), None, true)?;
            } else if let Some(listener) = passed.take_tcp_listener(at)? {
                inherited.add(listener, None)?;
            }
        }
        Ok(inherited)
    }

    /// A listener that was the one of `key` before.
    ///
    /// # Errors
    /// When it is no socket that listens.
    pub fn add_of(&mut self, key: String, socket: OwnedFd) -> io::Result<()> {
        let socket = Socket::from(socket);
        if socket.domain()? == Domain::UNIX {
            let managed = key.strip_prefix(MANAGED).map(str::to_owned);
            let is_managed = managed.is_some();
            return self.add_unix(socket, Some(managed.unwrap_or(key)), is_managed);
        }
        self.add(TcpListener::from(socket), Some(key))
    }

    fn add_unix(
        &mut self,
        socket: Socket,
        key: Option<String>,
        is_managed: bool,
    ) -> io::Result<()> {
        let path = socket.local_addr()?.as_pathname().map(Path::to_owned);
        let (true, Some(path)) = (socket.is_listener()?, path) else {
            return Err(io::ErrorKind::InvalidInput.into());
        };
        socket.set_nonblocking(true)?;
        let listener = UnixListener::from(OwnedFd::from(socket));
        self.unix.push(InheritedUnix {
            listener,
            path,
            key,
            is_managed,
        });
        Ok(())
    }

    /// The Unix socket at `path`, which `key` names. One of the server before was its listener there, too.
    pub fn take_unix(&mut self, path: &Path, key: &str) -> Option<InheritedUnix> {
        let is_it = |socket: &InheritedUnix| {
            let mut before = socket.key.iter();
            socket.path == path && before.all(|before| before == key)
        };
        let at = self.unix.iter().position(is_it)?;
        Some(self.unix.remove(at))
    }

    fn add(&mut self, listener: TcpListener, key: Option<String>) -> io::Result<()> {
        if !Socket::from(listener.try_clone()?).is_listener()? {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        listener.set_nonblocking(true)?;
        self.sockets.push(InheritedSocket {
            address: listener.local_addr()?,
            listener,
            key,
        });
        Ok(())
    }

    /// The listener for `wanted`, which `key` names. Port 0 is any port that the key had before.
    pub fn take(&mut self, wanted: SocketAddr, key: &str) -> Option<TcpListener> {
        let is_it = |socket: &InheritedSocket| {
            let is_same = socket.address == wanted;
            let is_any = wanted.port() == 0 && socket.address.ip() == wanted.ip();
            match &socket.key {
                None => is_same,
                Some(before) => before == key && (is_same || is_any),
            }
        };
        let at = self.sockets.iter().position(is_it)?;
        Some(self.sockets.remove(at).listener)
    }

    /// Where those listen that were not taken. They are closed with this value.
    pub fn left(&self) -> impl Iterator<Item = SocketAddr> {
        self.sockets.iter().map(|socket| socket.address)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn listener() -> (TcpListener, SocketAddr) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        (listener, address)
    }

    #[test]
    fn a_managers_socket_is_known_by_its_address() {
        let ((one, address), (two, other)) = (listener(), listener());
        let mut inherited = Inherited::default();
        inherited.add(one, None).unwrap();
        inherited.add(two, None).unwrap();
        let any = "127.0.0.1:0".parse().unwrap();
        assert!(inherited.take(any, "proxy.listen").is_none());
        let taken = inherited.take(address, "proxy.listen").unwrap();
        assert_eq!(taken.local_addr().unwrap(), address);
        assert!(inherited.take(address, "proxy.listen").is_none());
        assert_eq!(inherited.left().collect::<Vec<_>>(), [other]);
    }

    #[test]
    fn a_predecessors_socket_stays_with_its_key() {
        let (one, address) = listener();
        let mut inherited = Inherited::default();
        inherited
            .add_of("admin.listen".to_owned(), one.into())
            .unwrap();
        let any = "127.0.0.1:0".parse().unwrap();
        assert!(inherited.take(any, "proxy.listen").is_none());
        assert!(inherited.take(address, "proxy.listen").is_none());
        assert!(
            inherited
                .take("[::1]:0".parse().unwrap(), "admin.listen")
                .is_none()
        );
        assert!(inherited.take(any, "admin.listen").is_some());
    }

    #[test]
    fn a_predecessors_unix_socket_is_known_by_path_and_key() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("s");
        let mut inherited = Inherited::default();
        let socket = UnixListener::bind(&path).unwrap();
        inherited
            .add_of("base_url.listen".to_owned(), socket.into())
            .unwrap();
        assert_eq!(inherited.left().count(), 0);
        assert!(inherited.take_unix(&path, "proxy.listen").is_none());
        assert!(
            inherited
                .take_unix(directory.path(), "base_url.listen")
                .is_none()
        );
        assert!(inherited.take_unix(&path, "base_url.listen").is_some());
        assert!(inherited.take_unix(&path, "base_url.listen").is_none());
    }

    #[test]
    fn a_managers_unix_socket_is_known_by_its_path_and_stays_the_managers() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("s");
        let key = "base_url.listen";
        let mut inherited = Inherited::default();
        let socket = UnixListener::bind(&path).unwrap();
        inherited.add_unix(socket.into(), None, true).unwrap();
        assert!(inherited.take_unix(directory.path(), key).is_none());
        let taken = inherited.take_unix(&path, key).unwrap();
        assert!(taken.is_managed);
        // And in the server that follows.
        let key_of = format!("{MANAGED}{key}");
        inherited
            .add_of(key_of, OwnedFd::from(taken.listener))
            .unwrap();
        assert!(inherited.take_unix(&path, "proxy.listen").is_none());
        assert!(inherited.take_unix(&path, key).unwrap().is_managed);
    }

    #[test]
    fn a_socket_that_does_not_listen_is_refused() {
        let (_listening, address) = listener();
        let connected = std::net::TcpStream::connect(address).unwrap();
        let added = Inherited::default().add_of("proxy.listen".to_owned(), connected.into());
        assert!(added.is_err());
    }
}
