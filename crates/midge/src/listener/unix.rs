//! Unix sockets, and their files.

use std::fs;
use std::io;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::task::{Context, Poll, ready};

use socket2::{Domain, SockAddr, Socket, Type};

use super::{Incoming, ListenAddr, Listener};
use crate::transport::Unix;

/// Accepts on a Unix socket.
pub(crate) struct UnixSocket {
    /// Dropped before the listener.
    file: SocketFile,
    listener: tokio::net::UnixListener,
}

impl UnixSocket {
    /// On the runtime that has been entered.
    pub(crate) fn new(file: SocketFile, listener: UnixListener) -> io::Result<Self> {
        let listener = tokio::net::UnixListener::from_std(listener)?;

        Ok(Self { file, listener })
    }
}

impl Listener for UnixSocket {
    type Transport = Unix;

    fn address(&self) -> Option<ListenAddr> {
        Some(ListenAddr::Unix(self.file.path.clone()))
    }

    fn poll_accept(&mut self, cx: &mut Context<'_>) -> Poll<Option<io::Result<Incoming<Unix>>>> {
        let accepted = ready!(self.listener.poll_accept(cx));
        let incoming = accepted.map(|(stream, _)| Incoming::new(Unix::new(stream), "unix"));
        Poll::Ready(Some(incoming))
    }
}

/// Binds a socket file.
pub(super) fn bind(path: &Path, mode: Option<u32>) -> io::Result<(SocketFile, UnixListener)> {
    remove_stale(path);

    let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
    socket.bind(&SockAddr::unix(path)?)?;
    let file = SocketFile::new(path)?;
    if let Some(mode) = mode {
        // Before `listen`: until then no client can connect.
        fs::set_permissions(path, fs::Permissions::from_mode(mode))?;
    }
    socket.listen(libc::SOMAXCONN)?;
    socket.set_nonblocking(true)?;
    Ok((file, socket.into()))
}

/// Removes a socket file that no process listens on. A listener whose backlog is full is alive, so only
/// a refused connection counts; in all other cases the file stays, and binding fails.
fn remove_stale(path: &Path) {
    let is_socket = fs::metadata(path).is_ok_and(|meta| meta.file_type().is_socket());
    let refused = |error: io::Error| error.kind() == io::ErrorKind::ConnectionRefused;
    if is_socket && ask(path).is_err_and(refused) {
        let _ = fs::remove_file(path);
    }
}

/// Connects without blocking.
fn ask(path: &Path) -> io::Result<()> {
    let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
    socket.set_nonblocking(true)?;
    socket.connect(&SockAddr::unix(path)?)
}

/// The file of a Unix socket, removed on drop if device and inode are still those that were bound. Must
/// be dropped before its listener is closed: until then the inode cannot be reused.
pub(crate) struct SocketFile {
    path: PathBuf,
    id: (u64, u64),
}

impl SocketFile {
    fn new(path: &Path) -> io::Result<Self> {
        Ok(Self {
            id: id_of(path)?,
            path: path.to_owned(),
        })
    }
}

/// Device and inode.
fn id_of(path: &Path) -> io::Result<(u64, u64)> {
    fs::symlink_metadata(path).map(|meta| (meta.dev(), meta.ino()))
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        if id_of(&self.path).is_ok_and(|id| id == self.id) {
            let _ = fs::remove_file(&self.path);
        }
    }
}
