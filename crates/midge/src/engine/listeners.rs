//! The listeners of a running broker, by name.

use std::io;
use std::sync::Arc;

use midge_core::TcpSettings;
use parking_lot::Mutex;
use socket2::SockRef;
use tokio_util::sync::CancellationToken;

use super::{Accept, Engine};
use crate::error::StartError;
use crate::listener::{Bound, ListenAddr, Listener, PolledPort, TcpPort};
#[cfg(all(unix, feature = "unix"))]
use crate::listener::{SocketFile, UnixSocket};
use crate::reactor::Reactor;
use crate::transport::prepare;

/// A listener that accepts, or will.
#[derive(Debug)]
struct Running {
    name: Arc<str>,
    address: Option<ListenAddr>,
    stop: CancellationToken,
}

/// The listeners of a broker, in the order in which they were added.
#[derive(Clone, Debug, Default)]
pub(crate) struct Listeners(Arc<Mutex<Vec<Running>>>);

/// A listener that has a place in the list and does not accept yet.
pub(crate) struct Registered {
    listener: Box<dyn Accept>,
    name: Arc<str>,
    stop: CancellationToken,
}

impl Listeners {
    /// Adds listeners. One name may have several, if they are added together: the addresses of a host.
    /// Without a name each has that of its address.
    ///
    /// # Errors
    /// The name is in use.
    pub(crate) fn register(
        &self,
        name: Option<&str>,
        listeners: Vec<Box<dyn Accept>>,
        engine: &Engine,
    ) -> Result<Vec<Registered>, StartError> {
        // Before the lock: a listener of the host's own says where it listens.
        let prepare = |listener: Box<dyn Accept>| {
            let address = listener.address();
            let of_address = || address.as_ref().map(ToString::to_string);
            let name: Arc<str> = (name.map(str::to_owned).or_else(of_address))
                .unwrap_or_default()
                .into();
            let stop = engine.context.closing.child_token();

            let running = Running {
                name: name.clone(),
                address,
                stop: stop.clone(),
            };
            let registered = Registered {
                listener,
                name,
                stop,
            };
            (registered, running)
        };
        let (registered, running): (Vec<_>, Vec<_>) = listeners.into_iter().map(prepare).unzip();

        let mut all = self.0.lock();
        if let Some(name) = name
            && all.iter().any(|running| &*running.name == name)
        {
            return Err(StartError::Address {
                address: name.to_owned(),
                what: "another listener has this name",
            });
        }
        all.extend(running);
        Ok(registered)
    }

    /// Has a listener accept, until it is removed, ends, or the broker stops.
    pub(crate) fn start(&self, registered: Registered, engine: &Arc<Engine>) {
        let Registered {
            listener,
            name,
            stop,
        } = registered;
        let place = Place(self.clone(), stop.clone());
        let accepting = listener.run(engine.clone(), name, stop);

        engine.spawn(async move {
            let _place = place;
            accepting.await;
        });
    }

    /// Has the listeners of this name end soon. Returns whether there were any.
    pub(crate) fn remove(&self, name: &str) -> bool {
        let mut all = self.0.lock();
        let (gone, left) = (std::mem::take(&mut *all).into_iter())
            .partition::<Vec<_>, _>(|running| &*running.name == name);
        *all = left;
        drop(all);

        gone.iter().for_each(|running| running.stop.cancel());
        !gone.is_empty()
    }

    /// The addresses, of all listeners or of those with a name.
    pub(crate) fn addresses(&self, name: Option<&str>) -> Vec<ListenAddr> {
        let all = self.0.lock();
        let named = all
            .iter()
            .filter(|running| name.is_none_or(|name| &*running.name == name));
        named
            .filter_map(|running| running.address.clone())
            .collect()
    }
}

impl Engine {
    /// Makes a bound listener one of the broker's runtime.
    ///
    /// # Errors
    /// It cannot be registered there.
    pub(crate) fn open(&self, bound: Bound) -> io::Result<Box<dyn Accept>> {
        let config = self.context.hub.config();
        let or_default =
            |settings: Option<TcpSettings>| settings.unwrap_or_else(|| config.tcp.clone());

        if let Some(host) = self.workers.host() {
            let reactor = host.reactor();
            return Ok(match bound {
                Bound::Tcp(socket, settings) => {
                    Box::new(polled_tcp(socket, or_default(settings), reactor)?)
                }
                #[cfg(all(unix, feature = "unix"))]
                Bound::Unix(file, socket) => Box::new(polled_unix(file, socket, reactor)?),
            });
        }

        let _entered = self.workers.first().runtime.enter();
        Ok(match bound {
            Bound::Tcp(socket, settings) => Box::new(TcpPort::new(socket, or_default(settings))?),
            #[cfg(all(unix, feature = "unix"))]
            Bound::Unix(file, socket) => Box::new(UnixSocket::new(file, socket)?),
        })
    }
}

/// Listens with TCP on a reactor.
fn polled_tcp(
    socket: std::net::TcpListener,
    settings: TcpSettings,
    reactor: &Arc<Reactor>,
) -> io::Result<impl Listener> {
    let address = socket.local_addr().ok().map(ListenAddr::Tcp);
    let socket = mio::net::TcpListener::from_std(socket);
    let options = |settings: &TcpSettings, stream: &mio::net::TcpStream| {
        prepare(SockRef::from(stream), settings);
    };
    PolledPort::new(socket, address, settings, options, reactor)
}

/// Listens on a Unix socket on a reactor.
#[cfg(all(unix, feature = "unix"))]
fn polled_unix(
    file: SocketFile,
    socket: std::os::unix::net::UnixListener,
    reactor: &Arc<Reactor>,
) -> io::Result<impl Listener> {
    let address = Some(ListenAddr::Unix(file.path().to_owned()));
    let socket = mio::net::UnixListener::from_std(socket);
    PolledPort::new(socket, address, file, |_, _| (), reactor)
}

/// Takes a listener that has ended off the list: by itself, or with a panic. The list of a broker that
/// stops stays.
struct Place(Listeners, CancellationToken);

impl Drop for Place {
    fn drop(&mut self) {
        if !self.1.is_cancelled() {
            self.1.cancel();
            self.0
                .0
                .lock()
                .retain(|running| !running.stop.is_cancelled());
        }
    }
}
