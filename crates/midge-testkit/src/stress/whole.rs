//! A whole broker, with threads of its own or on a runtime of the host.

use std::fmt;
use std::sync::Arc;

use midge::{Broker, Clock as BrokerClock, Hooks, Stop};
use tokio::runtime::{Builder, Runtime};
use tokio::sync::oneshot;

use super::script::Script;

/// Where a broker runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// There is no broker: the threads of the script drive the core.
    Core,
    /// On so many threads of its own.
    Threads(usize),
    /// On a runtime of the host that has one thread.
    HostOfOne,
    /// On a runtime of the host with two threads.
    HostOfMany,
}

impl Place {
    /// Its name on the command line.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        match name {
            "core" => Some(Self::Core),
            "host" => Some(Self::HostOfOne),
            "host-multi" => Some(Self::HostOfMany),
            other => other
                .parse()
                .ok()
                .filter(|threads| *threads > 0)
                .map(Self::Threads),
        }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Core => f.write_str("core"),
            Self::Threads(threads) => threads.fmt(f),
            Self::HostOfOne => f.write_str("host"),
            Self::HostOfMany => f.write_str("host-multi"),
        }
    }
}

/// The runtime of a host.
enum Host {
    /// One thread that drives it until it is told to end.
    One(std::thread::JoinHandle<()>, oneshot::Sender<()>),
    Many(Runtime),
}

/// A running broker.
pub(super) struct Whole {
    pub(super) broker: Broker,
    host: Option<Host>,
}

impl Whole {
    pub(super) fn start(
        place: Place,
        script: &Script,
        hooks: Vec<Arc<dyn Hooks>>,
    ) -> std::io::Result<Self> {
        let mut builder = Broker::builder()
            .clock(BrokerClock::Manual)
            .config(|config| script.configure(config));

        // Where there are no socket pairs, clients come over TCP.
        if cfg!(not(unix)) {
            builder = builder.listen("tcp://127.0.0.1:0");
        }

        for hooks in hooks {
            builder = builder.shared_hooks(hooks);
        }

        let mut host = None;
        match place {
            Place::Core => {}
            Place::Threads(threads) => builder = builder.threads(threads),
            Place::HostOfOne => {
                let runtime = Builder::new_current_thread().enable_all().build()?;
                builder = builder.runtime(runtime.handle().clone());
                let (end, ended) = oneshot::channel::<()>();
                let thread = std::thread::spawn(move || {
                    let _ = runtime.block_on(ended); // also when the other side is gone
                });
                host = Some(Host::One(thread, end));
            }
            Place::HostOfMany => {
                let runtime = Builder::new_multi_thread()
                    .worker_threads(2)
                    .enable_all()
                    .build()?;
                builder = builder.runtime(runtime.handle().clone());
                host = Some(Host::Many(runtime));
            }
        }

        let broker = builder.start().map_err(std::io::Error::other)?;
        Ok(Self { broker, host })
    }

    /// Stops the broker; the connections that are left then.
    pub(super) fn stop(self) -> u64 {
        let Self { broker, host } = self;
        let stopped = broker.stop(Stop::Now).is_ok();
        let left = broker.stats().connections + u64::from(!stopped);
        drop(broker);
        match host {
            Some(Host::One(thread, end)) => {
                let _ = end.send(()); // it ends with the sender anyhow
                let _ = thread.join();
            }
            Some(Host::Many(runtime)) => drop(runtime),
            None => {}
        }
        left
    }
}
