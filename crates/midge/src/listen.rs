//! Listeners: addresses, binding, accepting.

use std::fmt;
use std::net::{SocketAddr, ToSocketAddrs};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::net::{TcpListener, UnixListener};

use crate::error::StartError;
use crate::runtime::Core;
use crate::transport::{Tcp, Unix, prepare_tcp};

/// Connections accepted before everybody else gets a turn.
const ACCEPTS: u32 = 16;
/// Pause after an error of accept (no descriptors left, for example).
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

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
    Tcp(std::net::TcpListener),
    Unix(std::os::unix::net::UnixListener, SocketFile),
}

/// The file of a Unix socket; removed with the listener.
pub(crate) struct SocketFile(PathBuf);

impl Drop for SocketFile {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

/// Binds a listener. Port 0 takes a free port.
pub(crate) fn bind(address: &str) -> Result<Bound, StartError> {
    let failed = |source| StartError::Bind {
        address: address.to_owned(),
        source,
    };
    let unreadable = |what| StartError::Address {
        address: address.to_owned(),
        what,
    };
    let Some((scheme, rest)) = address.split_once("://") else {
        return Err(unreadable("expected tcp://host:port or unix:///path"));
    };
    match scheme {
        "tcp" | "mqtt" => {
            let addresses = rest
                .to_socket_addrs()
                .map_err(|_| unreadable("expected host:port, with port 0 for a free one"))?;
            let addresses: Vec<SocketAddr> = addresses.collect();
            let listener = std::net::TcpListener::bind(&addresses[..]).map_err(failed)?;
            listener.set_nonblocking(true).map_err(failed)?;
            Ok(Bound::Tcp(listener))
        }
        "unix" => {
            let path = Path::new(rest);
            if rest.is_empty() {
                return Err(unreadable("expected unix:///path"));
            }
            remove_stale(path);
            let listener = std::os::unix::net::UnixListener::bind(path).map_err(failed)?;
            let file = SocketFile(path.to_owned());
            listener.set_nonblocking(true).map_err(failed)?;
            Ok(Bound::Unix(listener, file))
        }
        _ => Err(unreadable(
            "unknown scheme; this build has tcp:// and unix://",
        )),
    }
}

/// Removes the socket file that a process which is gone has left behind. One that still answers
/// stays, and binding fails.
fn remove_stale(path: &Path) {
    use std::os::unix::fs::FileTypeExt;
    let is_socket = std::fs::metadata(path).is_ok_and(|meta| meta.file_type().is_socket());
    if is_socket && std::os::unix::net::UnixStream::connect(path).is_err() {
        let _ = std::fs::remove_file(path);
    }
}

impl Bound {
    pub(crate) fn address(&self) -> Result<ListenAddr, std::io::Error> {
        match self {
            Self::Tcp(listener) => listener.local_addr().map(ListenAddr::Tcp),
            Self::Unix(_, file) => Ok(ListenAddr::Unix(file.0.clone())),
        }
    }

    /// Accepts until the broker stops. To be called on the runtime.
    pub(crate) async fn serve(self, core: Arc<Core>) -> std::io::Result<()> {
        let name: Arc<str> = self.address()?.to_string().into();
        let mut turn = Turn::default();
        match self {
            Self::Tcp(listener) => {
                let listener = TcpListener::from_std(listener)?;
                while let Some(accepted) = core.until_closing(listener.accept()).await {
                    let taken = accepted.and_then(|(stream, peer)| {
                        prepare_tcp(&stream);
                        let home = core.runtimes.emptiest();
                        let ends = Tcp::new(stream, &home.runtime)?;
                        core.connect(home, ends, peer.to_string().into(), name.clone());
                        Ok(())
                    });
                    turn.end(taken, &core, &name).await;
                }
            }
            Self::Unix(listener, _file) => {
                let listener = UnixListener::from_std(listener)?;
                while let Some(accepted) = core.until_closing(listener.accept()).await {
                    let taken = accepted.and_then(|(stream, _)| {
                        let home = core.runtimes.emptiest();
                        let ends = Unix::new(stream, &home.runtime)?;
                        core.connect(home, ends, "unix".into(), name.clone());
                        Ok(())
                    });
                    turn.end(taken, &core, &name).await;
                }
            }
        }
        Ok(())
    }
}

/// Gives way now and then, so that many who come at once do not hold up those who are there.
#[derive(Default)]
struct Turn(u32);

impl Turn {
    async fn end(&mut self, taken: std::io::Result<()>, core: &Core, name: &str) {
        if let Err(error) = taken {
            tracing::warn!(listener = name, %error, "accept failed");
            core.until_closing(tokio::time::sleep(ACCEPT_PAUSE)).await;
            return;
        }
        self.0 = self.0.wrapping_add(1);
        if self.0.is_multiple_of(ACCEPTS) {
            tokio::task::yield_now().await;
        }
    }
}
