//! Unix sockets, and their files.

use std::fs::{self, File, TryLockError};
use std::io;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use socket2::{Domain, SockAddr, Socket, Type};

use super::{BACKLOG, Incoming, ListenAddr, Listener};
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
    bind_within(path, mode, TRIES)
}

fn bind_within(
    path: &Path,
    mode: Option<u32>,
    tries: u32,
) -> io::Result<(SocketFile, UnixListener)> {
    // Until the socket listens: before that another broker would take it for a stale one.
    let _claim = claim(path, tries)?;
    remove_stale(path);

    let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
    socket.bind(&SockAddr::unix(path)?)?;
    let file = SocketFile::new(path)?;
    if let Some(mode) = mode {
        // Before `listen`: until then no client can connect.
        fs::set_permissions(path, fs::Permissions::from_mode(mode))?;
    }
    socket.listen(BACKLOG)?;
    socket.set_nonblocking(true)?;
    Ok((file, socket.into()))
}

/// Bound of the tries to lock a folder, one a millisecond. Binding takes a fraction of one.
const TRIES: u32 = 2000;

/// Locks the folder of a socket, so that of several brokers that find the same stale file one replaces
/// it and the others find its socket. The lock goes with the process, and leaves no file behind.
///
/// # Errors
/// Another process keeps the folder locked.
fn claim(path: &Path, tries: u32) -> io::Result<Option<File>> {
    let folder = match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    };
    // A folder may take sockets and not be readable; if it is not there binding says so.
    let Ok(file) = File::open(folder) else {
        return Ok(None);
    };

    for _ in 0..tries {
        match file.try_lock() {
            Ok(()) => return Ok(Some(file)),
            Err(TryLockError::WouldBlock) => std::thread::sleep(Duration::from_millis(1)),
            // Such as a file system without locks.
            Err(TryLockError::Error(_)) => return Ok(None),
        }
    }

    let what = format!("another process has locked {}", folder.display());
    Err(io::Error::new(io::ErrorKind::ResourceBusy, what))
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
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

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

#[cfg(test)]
mod tests {
    use super::*;

    /// A folder that no other test has.
    struct Folder(PathBuf);

    impl Folder {
        fn new(name: &str) -> Self {
            let name = format!("midge-unix-{}-{name}", std::process::id());
            let folder = std::env::temp_dir().join(name);
            fs::create_dir_all(&folder).unwrap();
            Self(folder)
        }
    }

    impl Drop for Folder {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    #[test]
    fn a_folder_has_one_claim_at_a_time_and_no_file_of_it() {
        let folder = Folder::new("claims");
        let path = folder.0.join("socket");
        let first = claim(&path, 1).unwrap();
        assert!(first.is_some());
        let refused = claim(&path, 1).unwrap_err();
        assert_eq!(refused.kind(), io::ErrorKind::ResourceBusy);
        drop(first);
        assert!(claim(&path, 1).unwrap().is_some());
        assert_eq!(fs::read_dir(&folder.0).unwrap().count(), 0);
        // Binding tells.
        assert!(
            claim(&folder.0.join("missing/socket"), 1)
                .unwrap()
                .is_none()
        );
    }

    #[test]
    fn a_socket_that_does_not_listen_yet_is_not_taken_for_a_stale_one() {
        let folder = Folder::new("between");
        let path = folder.0.join("socket");

        // Another broker, between `bind` and `listen`.
        let claimed = claim(&path, 1).unwrap();
        let socket = Socket::new(Domain::UNIX, Type::STREAM, None).unwrap();
        socket.bind(&SockAddr::unix(&path).unwrap()).unwrap();
        let before = id_of(&path).unwrap();
        let busy = bind_within(&path, None, 1).map(drop).unwrap_err();
        assert_eq!(busy.kind(), io::ErrorKind::ResourceBusy);

        socket.listen(1).unwrap();
        drop(claimed);
        let in_use = bind_within(&path, None, 1).map(drop).unwrap_err();
        assert_eq!(in_use.kind(), io::ErrorKind::AddrInUse);
        assert_eq!(id_of(&path).unwrap(), before);

        // Left behind, it is stale.
        drop(socket);
        assert!(bind_within(&path, None, 1).is_ok());
    }
}
