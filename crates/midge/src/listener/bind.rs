//! Binds listeners, and removes the files of Unix sockets.

use std::fmt;
use std::fs;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};

use socket2::{Domain, Protocol, SockAddr, Socket, Type};

use super::address::{Address, read, shares_port_with_v4};
use crate::error::StartError;

/// Where a broker listens.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ListenAddr {
    /// A TCP address; the port is the real one.
    Tcp(SocketAddr),
    /// A Unix socket.
    Unix(PathBuf),
}

impl fmt::Display for ListenAddr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(addr) => write!(f, "mqtt://{addr}"),
            Self::Unix(path) => write!(f, "unix://{}", path.display()),
        }
    }
}

/// A bound listener that does not accept yet.
pub(crate) enum Bound {
    Tcp(TcpListener),
    /// The file is dropped first: see [`SocketFile`].
    Unix(SocketFile, UnixListener),
}

impl Bound {
    pub(crate) fn address(&self) -> io::Result<ListenAddr> {
        match self {
            Self::Tcp(listener) => listener.local_addr().map(ListenAddr::Tcp),
            Self::Unix(file, _) => Ok(ListenAddr::Unix(file.path.clone())),
        }
    }
}

/// Bound of the free ports tried to get the same one on all addresses of a host.
const ATTEMPTS: usize = 32;

/// Binds all listeners, one on each address of a host. Port 0 takes a free port.
///
/// # Errors
/// An address that cannot be parsed, resolved or bound. Nothing is left behind then.
pub(crate) fn bind_all(addresses: &[String]) -> Result<Vec<Bound>, StartError> {
    let read: Vec<Address> = addresses
        .iter()
        .map(|text| read(text))
        .collect::<Result<_, _>>()?;
    let mut bound = Vec::with_capacity(read.len());
    for (text, address) in addresses.iter().zip(&read) {
        let result = match address {
            Address::Tcp(all) => bind_host(all, &read).map(|all| bound.extend(all)),
            Address::Unix(path, mode) => bind_unix(path, *mode).map(|one| bound.push(one)),
        };
        result.map_err(|source| StartError::Bind {
            address: text.clone(),
            source,
        })?;
    }
    Ok(bound)
}

/// Binds all addresses of a host to one port. Skips addresses that this machine does not have, such as
/// IPv6 where it is switched off, unless none is left.
fn bind_host(all: &[SocketAddr], listed: &[Address]) -> io::Result<Vec<Bound>> {
    let mut attempts = 0;
    loop {
        attempts += 1;
        match bind_each(all, listed) {
            // The port that was free on the first address is in use on another one.
            Err(error)
                if error.kind() == io::ErrorKind::AddrInUse
                    && all.len() > 1
                    && all.first().is_some_and(|address| address.port() == 0)
                    && attempts < ATTEMPTS => {}
            other => return other,
        }
    }
}

fn bind_each(all: &[SocketAddr], listed: &[Address]) -> io::Result<Vec<Bound>> {
    let mut bound = Vec::with_capacity(all.len());
    let mut missing = None;
    let mut port = None;

    for address in all {
        let mut at = *address;
        at.set_port(port.unwrap_or(address.port()));
        match bind_tcp(at, shares_port_with_v4(address, listed)) {
            Ok(listener) => {
                port = Some(listener.local_addr()?.port());
                bound.push(Bound::Tcp(listener));
            }
            Err(error) if is_missing(&error) => missing = Some(error),
            Err(error) if all.len() > 1 => {
                return Err(io::Error::new(error.kind(), format!("{at}: {error}")));
            }
            Err(error) => return Err(error),
        }
    }

    match missing {
        Some(error) if bound.is_empty() => Err(error),
        _ => Ok(bound),
    }
}

/// Whether this machine has no such address.
fn is_missing(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::AddrNotAvailable
        || error.raw_os_error() == Some(libc::EAFNOSUPPORT)
}

fn bind_tcp(address: SocketAddr, only_v6: bool) -> io::Result<TcpListener> {
    let socket = Socket::new(
        Domain::for_address(address),
        Type::STREAM,
        Some(Protocol::TCP),
    )?;
    // Connections of an earlier run in TIME-WAIT must not block the port.
    socket.set_reuse_address(true)?;
    if only_v6 {
        socket.set_only_v6(true)?;
    }
    socket.bind(&address.into())?;
    socket.listen(libc::SOMAXCONN)?;
    socket.set_nonblocking(true)?;
    Ok(socket.into())
}

fn bind_unix(path: &Path, mode: Option<u32>) -> io::Result<Bound> {
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
    Ok(Bound::Unix(file, socket.into()))
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
