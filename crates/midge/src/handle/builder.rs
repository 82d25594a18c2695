//! Settings before the start.

use std::fmt;
use std::sync::Arc;

use midge_core::{Config, Handover, Hooks, Hub, Limits, Store};
use tokio::runtime::Handle;

use super::broker::{Broker, WeakBroker};
use crate::clock::{Clock, TimeSource};
use crate::engine::{Accept, Background, Engine, HostLoop, ThreadHook, Workers};
use crate::error::{OptionError, StartError};
use crate::listener::{Bound, Listener, ListenerOptions, bind_all};
use crate::settings::Settings;

type MakeHooks = Box<dyn FnOnce(WeakBroker) -> Arc<dyn Hooks> + Send>;

/// A listener to be started, with its name, if it has one.
type Named = (Option<String>, Source);

/// Where a listener comes from.
enum Source {
    Bound(ListenerOptions),
    Own(Box<dyn Accept>),
}

/// Builds a [`Broker`].
#[derive(Default)]
#[must_use]
pub struct Builder {
    settings: Settings,
    listeners: Vec<Named>,
    hooks: Vec<MakeHooks>,
    store: Option<Arc<dyn Store>>,
    handover: Option<Arc<Handover>>,
    runtime: Option<Handle>,
    thread_hook: ThreadHook,
}

impl Broker {
    /// Settings for a new broker.
    pub fn builder() -> Builder {
        Builder::default()
    }
}

impl Builder {
    /// Takes all settings, in place of options that were set before. Their addresses come before those
    /// of [`Builder::listen`].
    pub fn settings(mut self, settings: Settings) -> Self {
        self.settings = settings;
        self
    }

    /// Adds a listener: `tcp://host:port`, `unix:///path`, or `unix:///path?mode=0660` to set the
    /// permissions of the socket file, which are those of the umask otherwise. Without any listener,
    /// clients connect in memory only.
    ///
    /// Port 0 takes a free port. A host name gets a listener on each of its addresses that this machine
    /// has, all on one port. `[::]` also accepts IPv4 where the operating system does so by default,
    /// unless an IPv4 address with the same port is listed.
    ///
    /// A socket file without a listening process is replaced. At the end the file is removed only if
    /// it is still this broker's own.
    pub fn listen(mut self, address: impl Into<String>) -> Self {
        let options = ListenerOptions::new(address);
        self.listeners.push((None, Source::Bound(options)));
        self
    }

    /// Adds a listener with a name and options of its own. The name is what hooks see as a connection's
    /// listener; without one, as with [`Builder::listen`], it is the address.
    ///
    /// ```
    /// use midge::{Broker, ListenAddr, ListenerOptions};
    ///
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let broker = Broker::builder()
    ///     .listener("devices", "tcp://127.0.0.1:0")
    ///     .listener("metrics", ListenerOptions::new("tcp://127.0.0.1:0"))
    ///     .start()?;
    /// assert!(matches!(broker.addrs_of("metrics")[..], [ListenAddr::Tcp(_)]));
    /// # Ok(())
    /// # }
    /// ```
    pub fn listener(
        mut self,
        name: impl Into<String>,
        options: impl Into<ListenerOptions>,
    ) -> Self {
        let source = Source::Bound(options.into());
        self.listeners.push((Some(name.into()), source));
        self
    }

    /// Adds a listener of the caller's own, for another kind of transport.
    pub fn listener_of(mut self, name: impl Into<String>, listener: impl Listener) -> Self {
        let source = Source::Own(Box::new(listener));
        self.listeners.push((Some(name.into()), source));
        self
    }

    /// Sets an option by its key, as in `docs/configuration.md`.
    ///
    /// # Errors
    /// An unknown key, or a value that the option does not take.
    pub fn set(mut self, key: &str, value: &str) -> Result<Self, OptionError> {
        self.settings.set(key, value)?;
        Ok(self)
    }

    /// Sets all limits for a device with a few MiB to spare, as the option `limits.preset` does; what
    /// is set later changes single ones. The default is for a server.
    pub fn device(mut self) -> Self {
        self.settings.config.limits = Limits::device();
        self
    }

    /// Changes the settings directly. [`Builder::start`] refuses what an option does not take.
    pub fn config(mut self, change: impl FnOnce(&mut Config)) -> Self {
        change(&mut self.settings.config);
        self
    }

    /// Registers a set of hooks, behind those that are registered already. [`Hooks`] says what several
    /// sets say together.
    pub fn hooks(self, hooks: impl Hooks) -> Self {
        self.shared_hooks(Arc::new(hooks))
    }

    /// As [`Builder::hooks`], with hooks that are shared.
    pub fn shared_hooks(mut self, hooks: Arc<dyn Hooks>) -> Self {
        self.hooks.push(Box::new(|_| hooks));
        self
    }

    /// As [`Builder::hooks`], with hooks that use their broker. `make` gets a reference that does not keep the broker
    /// running: with a [`Broker`] in its own hooks it would never stop by itself. It can be upgraded
    /// once the broker has been started, which is before the first client can connect.
    ///
    /// ```
    /// use midge::{Broker, ClientInfo, HookSet, Hooks, WeakBroker};
    ///
    /// struct Greeter(WeakBroker);
    ///
    /// impl Hooks for Greeter {
    ///     fn set(&self) -> HookSet {
    ///         HookSet::LIFE
    ///     }
    ///
    ///     fn connected(&self, client: &ClientInfo, _session_present: bool) {
    ///         if let Some(broker) = self.0.upgrade() {
    ///             let _ = broker.publish("connected", client.client_id.to_string());
    ///         }
    ///     }
    /// }
    ///
    /// # fn main() -> Result<(), midge::StartError> {
    /// let broker = Broker::builder().hooks_with(Greeter).start()?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn hooks_with<H: Hooks>(
        mut self,
        make: impl FnOnce(WeakBroker) -> H + Send + 'static,
    ) -> Self {
        self.hooks.push(Box::new(|broker| Arc::new(make(broker))));
        self
    }

    /// Keeps sessions and retained messages in a store; without one they end with the broker.
    pub fn store(mut self, store: Arc<dyn Store>) -> Self {
        self.store = Some(store);
        self
    }

    /// Goes on with the sessions and retained messages that another broker of this process has left
    /// when it stopped, and leaves its own when it stops. Costs nothing in between: for restarts, where
    /// [`Builder::store`] is for what must survive the process. One broker at a time uses a handover.
    pub fn handover(mut self, handover: Arc<Handover>) -> Self {
        self.handover = Some(handover);
        self
    }

    /// Chooses the clock; the system's by default.
    pub fn clock(mut self, clock: Clock) -> Self {
        self.settings.clock = clock;
        self
    }

    /// Number of threads in the background, 1 by default, 1,024 at most. A connection stays with one of them, the
    /// one that has the fewest when it begins. With [`Builder::runtime`] this has no meaning.
    ///
    /// With 0 the broker starts no thread: everything that it does happens where the host calls
    /// [`Broker::poll`].
    pub fn threads(mut self, threads: usize) -> Self {
        self.settings.threads = threads;
        self
    }

    /// Runs on this runtime instead of one of its own. Its IO and time drivers must be enabled.
    pub fn runtime(mut self, handle: Handle) -> Self {
        self.runtime = Some(handle);
        self
    }

    /// Runs `start` first and `stop` last on every thread in the background.
    pub fn on_thread(
        mut self,
        start: impl Fn() + Send + Sync + 'static,
        stop: impl Fn() + Send + Sync + 'static,
    ) -> Self {
        self.thread_hook = ThreadHook::new(start, stop);
        self
    }

    /// Starts the broker. All listeners are bound when this returns.
    ///
    /// # Errors
    /// An option that does not take its value, an address that cannot be read or bound, or no
    /// resources for a thread. Nothing is left behind then.
    pub fn start(self) -> Result<Broker, StartError> {
        self.start_with(|_| ()).map(|(broker, ())| broker)
    }

    /// As [`Builder::start`], with something to do before the first client can connect: what
    /// `first` subscribes to or observes misses nothing.
    ///
    /// # Errors
    /// As [`Builder::start`].
    pub fn start_with<T>(
        self,
        first: impl FnOnce(&Broker) -> T,
    ) -> Result<(Broker, T), StartError> {
        self.settings.check().map_err(StartError::Option)?;

        let Self {
            settings,
            listeners,
            hooks,
            store,
            handover,
            runtime,
            thread_hook,
        } = self;

        let Settings {
            config,
            listen,
            threads,
            clock,
        } = settings;

        let unnamed = |address| (None, Source::Bound(ListenerOptions::new(address)));
        let listeners = listen.into_iter().map(unnamed).chain(listeners);
        let named = bind_named(listeners.collect())?;
        let (workers, background) = match (runtime, threads) {
            (Some(handle), _) => (Workers::of_host(handle), None),
            (None, 0) => {
                let host = HostLoop::new().map_err(StartError::Runtime)?;
                host.drive_here();
                (Workers::of_loop(host), None)
            }
            (None, _) => {
                let background = Background::start(threads, &thread_hook);
                let background = background.map_err(StartError::Runtime)?;
                (background.workers().clone(), Some(background))
            }
        };

        let time = TimeSource::new(clock);
        let broker = Broker::new(background, |weak| {
            let hooks = hooks.into_iter().map(|make| make(weak.clone()));
            let hub = Hub::new(config, hooks, store, &instance_name(), time.now());
            if let Some(handover) = handover {
                hub.hand_over(&handover, time.now());
            }
            Engine::new(hub, time, workers)
        });

        let (engine, listeners) = (broker.engine(), &broker.inner.listeners);
        let mut registered = Vec::new();
        for (name, opened) in named {
            let accepting = opened.open(engine).map_err(StartError::Runtime)?;
            registered.extend(listeners.register(name.as_deref(), accepting, engine)?);
        }

        let value = first(&broker);
        for listener in registered {
            listeners.start(listener, engine);
        }
        Ok((broker, value))
    }
}

/// A listener that is bound, on all addresses of its host, or needs not be.
enum Ready {
    Bound(Vec<Bound>),
    Own(Box<dyn Accept>),
}

impl Ready {
    fn open(self, engine: &Engine) -> std::io::Result<Vec<Box<dyn Accept>>> {
        match self {
            Self::Bound(all) => all.into_iter().map(|bound| engine.open(bound)).collect(),
            Self::Own(listener) => {
                engine.note_foreign();
                Ok(vec![listener])
            }
        }
    }
}

/// Binds the listeners that have an address: all before anything else is done, since they know of each
/// other.
fn bind_named(listeners: Vec<Named>) -> Result<Vec<(Option<String>, Ready)>, StartError> {
    let options: Vec<&ListenerOptions> = listeners
        .iter()
        .filter_map(|(_, source)| match source {
            Source::Bound(options) => Some(options),
            Source::Own(_) => None,
        })
        .collect();
    let mut bound = bind_all(&options)?.into_iter();

    let ready = |(name, source)| match source {
        Source::Bound(_) => (name, Ready::Bound(bound.next().unwrap_or_default())),
        Source::Own(listener) => (name, Ready::Own(listener)),
    };
    Ok(listeners.into_iter().map(ready).collect())
}

/// Tells the client identifiers that this broker assigns from those of other runs.
fn instance_name() -> String {
    use std::hash::{BuildHasher, Hasher};
    let random = std::collections::hash_map::RandomState::new()
        .build_hasher()
        .finish();
    format!("{random:016x}")
}

impl fmt::Debug for Builder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let named = self.listeners.iter();
        let names = named.map(|(name, source)| match (name, source) {
            (Some(name), _) => name.as_str(),
            (None, Source::Bound(options)) => options.address.as_str(),
            (None, Source::Own(_)) => "",
        });
        f.debug_struct("Builder")
            .field("listeners", &names.collect::<Vec<_>>())
            .finish_non_exhaustive()
    }
}
