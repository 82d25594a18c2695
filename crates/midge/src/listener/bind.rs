//! Binds listeners of all kinds.

use std::io;
use std::net::{SocketAddr, TcpListener};

use midge_core::TcpSettings;

use super::ListenerOptions;
use super::address::{Address, read, shares_port_with_v4};
use crate::error::StartError;

/// A bound listener that does not accept yet. It belongs to no runtime.
pub(crate) enum Bound {
    Tcp(TcpListener, Option<TcpSettings>),
    /// The file is dropped first: see `SocketFile`.
    #[cfg(all(unix, feature = "unix"))]
    Unix(super::unix::SocketFile, std::os::unix::net::UnixListener),
}

/// Bound of the free ports tried to get the same one on all addresses of a host.
const ATTEMPTS: usize = 32;

/// Binds listeners, each on all addresses of its host. Port 0 takes a free port.
///
/// # Errors
/// An address that cannot be parsed, resolved or bound. Nothing is left behind then.
pub(crate) fn bind_all(listeners: &[&ListenerOptions]) -> Result<Vec<Vec<Bound>>, StartError> {
    let addresses: Vec<Address> = listeners
        .iter()
        .map(|options| read(&options.address))
        .collect::<Result<_, _>>()?;

    let mut all = Vec::with_capacity(addresses.len());
    for (options, address) in listeners.iter().zip(&addresses) {
        let bound = match address {
            Address::Tcp(hosts) => bind_host(hosts, &addresses).map(|sockets| {
                let bound = |socket| Bound::Tcp(socket, options.tcp.clone());
                sockets.into_iter().map(bound).collect()
            }),
            #[cfg(all(unix, feature = "unix"))]
            Address::Unix(path, mode) => super::unix::bind(path, options.mode.or(*mode))
                .map(|(file, socket)| vec![Bound::Unix(file, socket)]),
        };
        all.push(bound.map_err(|source| StartError::Bind {
            address: options.address.clone(),
            source,
        })?);
    }
    Ok(all)
}

/// Binds all addresses of a host to one port. Skips addresses that this machine does not have, such as
/// IPv6 where it is switched off, unless none is left.
fn bind_host(all: &[SocketAddr], listed: &[Address]) -> io::Result<Vec<TcpListener>> {
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

fn bind_each(all: &[SocketAddr], listed: &[Address]) -> io::Result<Vec<TcpListener>> {
    let mut bound = Vec::with_capacity(all.len());
    let mut missing = None;
    let mut port = None;

    for address in all {
        let mut at = *address;
        at.set_port(port.unwrap_or(address.port()));
        match super::tcp::bind(at, shares_port_with_v4(address, listed)) {
            Ok(listener) => {
                port = Some(listener.local_addr()?.port());
                bound.push(listener);
            }
            Err(error) if super::tcp::is_missing(&error) => missing = Some(error),
            Err(error) if all.len() > 1 => {
                let kind = error.kind();
                return Err(io::Error::new(kind, Refused { at, error }));
            }
            Err(error) => return Err(error),
        }
    }

    match missing {
        Some(error) if bound.is_empty() => Err(error),
        _ => Ok(bound),
    }
}

/// An address that could not be bound, of a host that has several.
#[derive(Debug)]
struct Refused {
    at: SocketAddr,
    error: io::Error,
}

impl std::fmt::Display for Refused {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { at, error } = self;
        write!(f, "{at}: {error}")
    }
}

impl std::error::Error for Refused {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&self.error)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[cfg(target_os = "linux")] // where all of 127.0.0.0/8 is this machine
    fn the_address_that_is_taken_is_named_and_the_system_s_error_kept() {
        let taken = TcpListener::bind("127.0.0.2:0").expect("a free port");
        let at = taken.local_addr().expect("its address");
        let all = [SocketAddr::new([127, 0, 0, 1].into(), at.port()), at];

        let error = bind_each(&all, &[]).expect_err("it is taken");
        assert_eq!(error.kind(), io::ErrorKind::AddrInUse);
        assert!(error.to_string().starts_with(&at.to_string()), "{error}");

        let inner = error.get_ref().and_then(|inner| inner.source());
        let inner = inner.and_then(|inner| inner.downcast_ref::<io::Error>());
        let number = inner.and_then(io::Error::raw_os_error);
        assert_eq!(number, Some(libc::EADDRINUSE));
    }
}
