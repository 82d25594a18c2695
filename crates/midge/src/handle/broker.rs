//! The handle of a running broker.

use std::fmt;
use std::net::SocketAddr;
#[cfg(unix)]
use std::os::fd::OwnedFd;
#[cfg(windows)]
use std::os::windows::io::OwnedSocket as OwnedFd;
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use bytes::Bytes;
use midge_codec::{QoS, ReasonCode};
use midge_core::{
    ClientView, EventMask, Hub, MessageRef, OwnedMessage, PublishError, Queue, QueueLimits,
    Receipt, SendError, SessionView, SharedMessage, Stats, SubscriptionView, Tick,
};
#[cfg(windows)]
use mio::net::TcpStream as PairedStream;
#[cfg(all(unix, feature = "unix"))]
use mio::net::UnixStream as PairedStream;
use parking_lot::Mutex;

use crate::clock::{ClockHandle, Mover};
use crate::engine::{Accept, Background, BrokerState, Engine, HostLoop, Later, Listeners, Stop};
use crate::error::{ConnectError, FilterError, PollError, StartError, StopError, Timeout};
#[cfg(all(unix, not(feature = "unix")))]
use crate::feature::{Feature, LeftOut};
use crate::listener::{Incoming, ListenAddr, Listener, ListenerOptions, bind_all};
use crate::observe::{self, Events, Feed, Message, Sink, SubscribeOptions, Subscription};
#[cfg(any(windows, feature = "unix"))]
use crate::transport::Polled;
use crate::transport::{MemoryStream, Transport, memory_pair};
#[cfg(windows)]
use crate::transport::{Tcp as Paired, tcp_pair as pair};
#[cfg(all(unix, feature = "unix"))]
use crate::transport::{Unix as Paired, unix_pair as pair};

/// Events that wait for their reader by default.
const EVENT_CAPACITY: usize = 4096;

/// A running broker. A cheap handle: clone it and use it from any thread.
///
/// When the last one is dropped, the broker stops at once. On threads of its own the drop waits as
/// [`Broker::stop`] does; on a runtime of the host ([`Builder::runtime`](crate::Builder::runtime)), which may stand still, the
/// clients are disconnected and everything is released, and what remains to be written is left to
/// the runtime. [`Broker::stop`] waits, and says what could not be waited for.
#[derive(Clone)]
pub struct Broker {
    pub(crate) inner: Arc<BrokerState>,
}

/// A broker that does not keep itself running: for hooks, callbacks and tasks that would otherwise
/// keep their own broker alive. See [`Builder::hooks_with`](crate::Builder::hooks_with).
#[derive(Clone)]
pub struct WeakBroker {
    inner: Weak<BrokerState>,
}

impl WeakBroker {
    /// The broker, if it has been started and a handle is left. A handle that is gained in this way
    /// is as good as any: if it is the last one to be dropped, it stops the broker.
    pub fn upgrade(&self) -> Option<Broker> {
        self.inner.upgrade().map(|inner| Broker { inner })
    }
}

impl fmt::Debug for WeakBroker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("WeakBroker")
    }
}

impl Broker {
    /// A broker around the engine that `engine` makes, which may keep a [`WeakBroker`].
    pub(crate) fn new(
        background: Option<Background>,
        engine: impl FnOnce(WeakBroker) -> Arc<Engine>,
    ) -> Self {
        let inner = Arc::new_cyclic(|weak| BrokerState {
            engine: engine(WeakBroker {
                inner: weak.clone(),
            }),
            background,
            listeners: Listeners::default(),
            mover: Mover::default(),
            stopped: Mutex::default(),
        });
        Self { inner }
    }

    /// A reference that does not keep the broker running.
    pub fn downgrade(&self) -> WeakBroker {
        WeakBroker {
            inner: Arc::downgrade(&self.inner),
        }
    }

    pub(crate) fn engine(&self) -> &Arc<Engine> {
        &self.inner.engine
    }

    fn hub(&self) -> &Arc<Hub> {
        &self.inner.engine.context.hub
    }

    fn now(&self) -> Tick {
        self.inner.engine.context.now()
    }

    /// Where it listens, in the order of [`Builder::listen`](crate::Builder::listen); a host's name may
    /// stand for several addresses.
    pub fn addrs(&self) -> Vec<ListenAddr> {
        self.inner.listeners.addresses(None)
    }

    /// Where the listener of this name listens: empty if there is none, or if it has no address.
    pub fn addrs_of(&self, listener: &str) -> Vec<ListenAddr> {
        self.inner.listeners.addresses(Some(listener))
    }

    /// The first TCP address.
    pub fn addr(&self) -> Option<SocketAddr> {
        let tcp = |address| match address {
            ListenAddr::Tcp(addr) => Some(addr),
            ListenAddr::Unix(_) => None,
        };
        self.addrs().into_iter().find_map(tcp)
    }

    /// The port of the first TCP address, 0 without any.
    pub fn port(&self) -> u16 {
        self.addr().map_or(0, |addr| addr.port())
    }

    /// The first address as a URL, empty without any.
    pub fn url(&self) -> String {
        let first = self.addrs().into_iter().next();
        first.map(|address| address.to_string()).unwrap_or_default()
    }

    /// Adds a listener while the broker runs, as [`Builder::listener`](crate::Builder::listener) does
    /// before. Returns where it listens. Blocks while a host's name is resolved.
    ///
    /// # Errors
    /// Another listener has this name, or the address cannot be read or bound, or the broker has
    /// stopped.
    pub fn add_listener(
        &self,
        name: &str,
        options: impl Into<ListenerOptions>,
    ) -> Result<Vec<ListenAddr>, StartError> {
        if self.is_stopped() {
            return Err(StartError::Stopped);
        }

        let bound = bind_all(&[&options.into()])?;
        let open = |bound| self.engine().open(bound);
        let opened: std::io::Result<_> = bound.into_iter().flatten().map(open).collect();

        self.start_listeners(name, opened.map_err(StartError::Runtime)?)
    }

    /// Adds a listener of the caller's own while the broker runs, as
    /// [`Builder::listener_of`](crate::Builder::listener_of) does before.
    ///
    /// # Errors
    /// Another listener has this name, or the broker has stopped.
    pub fn add_listener_of(&self, name: &str, listener: impl Listener) -> Result<(), StartError> {
        self.engine().note_foreign();
        self.start_listeners(name, vec![Box::new(listener)])
            .map(drop)
    }

    fn start_listeners(
        &self,
        name: &str,
        opened: Vec<Box<dyn Accept>>,
    ) -> Result<Vec<ListenAddr>, StartError> {
        if self.is_stopped() {
            return Err(StartError::Stopped);
        }

        let BrokerState {
            engine, listeners, ..
        } = &*self.inner;
        let registered = listeners.register(Some(name), opened, engine)?;
        let addresses = listeners.addresses(Some(name));
        for listener in registered {
            listeners.start(listener, engine);
        }
        Ok(addresses)
    }

    /// Ends a listener: no connection is accepted any more, and its port is free soon after. The
    /// connections that it has accepted stay. Returns `false` if no listener has this name, which is
    /// the address, as [`Broker::addrs`] has it, of one without a name. Never blocks.
    pub fn remove_listener(&self, name: &str) -> bool {
        self.inner.listeners.remove(name)
    }

    /// The clock; a manual one can be moved.
    pub fn clock(&self) -> ClockHandle<'_> {
        let BrokerState { engine, mover, .. } = &*self.inner;
        ClockHandle {
            hub: &engine.context.hub,
            time: &engine.context.time,
            mover,
        }
    }

    /// Publishes at QoS 0. Routed on the calling thread: when this returns, every matching session
    /// has the message, or a counted drop.
    ///
    /// # Errors
    /// A topic name that is not valid, a message that is too large, a hook's refusal, a stopped
    /// broker. Nothing has happened then.
    pub fn publish(
        &self,
        topic: impl AsRef<str>,
        payload: impl Into<Bytes>,
    ) -> Result<Receipt, PublishError> {
        let payload = payload.into();
        let mut message = MessageRef::new(topic.as_ref(), &payload);
        message.backing = Some(&payload);
        self.hub()
            .publish_from_host(message, None, || self.now(), true)
    }

    /// Publishes borrowed parts, without a copy before the routing: what bindings call. Without a
    /// receipt's outcomes, which cost memory, [`Receipt::matched`] is still there.
    ///
    /// # Errors
    /// As [`Broker::publish`].
    pub fn publish_ref(
        &self,
        message: MessageRef<'_>,
        from_client: Option<&str>,
        want_outcomes: bool,
    ) -> Result<Receipt, PublishError> {
        self.hub()
            .publish_from_host(message, from_client, || self.now(), want_outcomes)
    }

    /// As [`Broker::publish_ref`]. `guard` is called if the message goes further than to subscriptions
    /// of the host, and what it gives is kept meanwhile: connections may be written to.
    ///
    /// # Errors
    /// As [`Broker::publish`].
    pub fn publish_ref_guarded<G>(
        &self,
        message: MessageRef<'_>,
        from_client: Option<&str>,
        want_outcomes: bool,
        guard: impl FnOnce() -> G,
    ) -> Result<Receipt, PublishError> {
        let mut held = None;
        let now = || {
            held = Some(guard());
            self.now()
        };
        self.hub()
            .publish_from_host(message, from_client, now, want_outcomes)
    }

    /// Publishes a message that was prepared ([`OwnedMessage::prepare`]) or received, as often as
    /// wanted: for subscriptions of the host nothing is copied or allocated. One that expires is to
    /// be published in another way: its time would not begin anew.
    ///
    /// # Errors
    /// As [`Broker::publish`].
    pub fn publish_prepared(&self, message: &SharedMessage) -> Result<Receipt, PublishError> {
        self.hub().publish_prepared(message, || self.now())
    }

    /// As [`Broker::publish_prepared`], with a `guard` as that of [`Broker::publish_ref_guarded`].
    ///
    /// # Errors
    /// As [`Broker::publish`].
    pub fn publish_prepared_guarded<G>(
        &self,
        message: &SharedMessage,
        guard: impl FnOnce() -> G,
    ) -> Result<Receipt, PublishError> {
        let mut held = None;
        let now = || {
            held = Some(guard());
            self.now()
        };
        self.hub().publish_prepared(message, now)
    }

    /// Open connections, those before CONNECT included. Cheaper than [`Broker::stats`].
    pub fn connections(&self) -> usize {
        self.hub().connections()
    }

    /// Counts a panic that a binding has caught, in [`Stats::panics`].
    pub fn report_panic(&self) {
        self.hub().report_panic();
    }

    /// Counts callbacks that a binding does not wait for any longer, in [`Stats::left_running`].
    pub fn count_abandoned(&self, calls: u32) {
        self.hub().count_abandoned(calls);
    }

    /// For work that must wait until no lock of the broker is held.
    pub fn later(&self) -> Later {
        Later::new(self.engine())
    }

    pub(crate) fn send(
        &self,
        message: &OwnedMessage,
        client_id: Option<&str>,
    ) -> Result<Receipt, PublishError> {
        self.hub()
            .publish_from_host(message.parts(), client_id, || self.now(), true)
    }

    pub(crate) fn send_to(
        &self,
        client_id: &str,
        message: &OwnedMessage,
    ) -> Result<Receipt, SendError> {
        self.hub().send_to(client_id, message.parts(), self.now())
    }

    /// Subscribes the host, with the default queue: 1,024 messages or 16 MiB, the oldest dropped
    /// first, counted in [`Subscription::lost`].
    ///
    /// # Errors
    /// A filter that is not valid.
    pub fn subscribe(&self, filter: &str) -> Result<Subscription, FilterError> {
        self.subscribe_with(&[filter], SubscribeOptions::default())
    }

    /// Subscribes the host to several filters with one queue.
    ///
    /// # Errors
    /// A filter that is not valid.
    pub fn subscribe_with(
        &self,
        filters: &[&str],
        options: SubscribeOptions,
    ) -> Result<Subscription, FilterError> {
        let limits = QueueLimits::new(options.capacity, options.bytes).overflow(options.overflow);
        let queue = Arc::new(Queue::new(limits));
        let now = self.now();
        self.hub()
            .observe_messages(filters, options.qos, options.retained, queue.clone(), now)
            .map(|handle| {
                let hub = Arc::downgrade(self.hub());
                Subscription::new(handle, queue, hub, self.engine().spawner())
            })
            .map_err(FilterError::new)
    }

    /// Subscribes the host to several filters with a [`Sink`] of its own in place of a queue.
    /// Retained messages that match come first if `retained` says so.
    ///
    /// # Errors
    /// A filter that is not valid.
    pub fn subscribe_to(
        &self,
        filters: &[&str],
        qos: QoS,
        retained: bool,
        sink: impl Sink + 'static,
    ) -> Result<Feed, FilterError> {
        let now = self.now();
        self.hub()
            .observe_messages(filters, qos, retained, observe::bridge(sink), now)
            .map(Feed::new)
            .map_err(FilterError::new)
    }

    /// Observes everything that happens but the events of single messages: at most 4,096 wait, the
    /// oldest are dropped first.
    pub fn events(&self) -> Events {
        self.events_with(EventMask::LIFECYCLE, EVENT_CAPACITY)
    }

    /// Observes the events of the kinds in `mask`; at most `capacity` wait.
    pub fn events_with(&self, mask: EventMask, capacity: usize) -> Events {
        self.events_bounded(mask, capacity, usize::MAX)
    }

    /// As [`Broker::events_with`], with a bound for the bytes of the messages that events carry.
    pub fn events_bounded(&self, mask: EventMask, capacity: usize, bytes: usize) -> Events {
        let queue = Arc::new(Queue::new(QueueLimits::new(capacity, bytes)));
        self.hub().observe(mask, queue.clone());
        Events::new(queue, Arc::downgrade(self.hub()))
    }

    /// The connected clients.
    pub fn clients(&self) -> Vec<ClientView> {
        self.hub().clients()
    }

    /// The sessions, connected or not.
    pub fn sessions(&self) -> Vec<SessionView> {
        self.hub().sessions()
    }

    /// The subscriptions of one client, or of all.
    pub fn subscriptions(&self, client_id: Option<&str>) -> Vec<SubscriptionView> {
        self.hub().subscriptions(client_id)
    }

    /// The retained messages that match a filter, ordered by topic name.
    pub fn retained(&self, filter: &str) -> Vec<Message> {
        let now = self.now();
        let kept = self.hub().retained(filter, now);
        kept.into_iter()
            .map(|message| Message::retained(message, now))
            .collect()
    }

    /// Sets the retained message of a topic without delivering it; an empty payload removes it.
    ///
    /// # Errors
    /// As [`Broker::publish`].
    pub fn set_retained(
        &self,
        topic: impl Into<String>,
        payload: impl Into<Bytes>,
    ) -> Result<(), PublishError> {
        self.hub()
            .set_retained(&OwnedMessage::new(topic, payload), self.now())
    }

    /// Removes the retained messages that match a filter; how many they were.
    pub fn clear_retained(&self, filter: &str) -> usize {
        self.hub().clear_retained(filter, self.now())
    }

    /// A snapshot of all counters.
    pub fn stats(&self) -> Stats {
        self.hub().stats(self.now())
    }

    /// A number that grows from call to call for as long as all of the broker's threads get to
    /// their work: each call asks them to raise it. What a watchdog is fed with; it costs nothing in
    /// between.
    pub fn heartbeat(&self) -> u64 {
        self.inner.engine.heartbeat()
    }

    /// Disconnects a client with a reason code of 0x80 or above, or 0x00; its will is published. A
    /// code that a server's DISCONNECT cannot carry is replaced as that of a
    /// [`Refusal`](crate::Refusal) is. `false` if it is not connected.
    pub fn disconnect(&self, client_id: &str, reason: ReasonCode) -> bool {
        self.hub().disconnect(client_id, reason, self.now())
    }

    /// Ends a session and its connection. `false` if there is none.
    pub fn clear_session(&self, client_id: &str) -> bool {
        self.hub().clear_session(client_id, self.now())
    }

    /// Connects in memory: a stream that speaks MQTT.
    ///
    /// # Errors
    /// No more connections are taken.
    pub fn connect_in_memory(&self) -> Result<MemoryStream, ConnectError> {
        let (client, broker) = memory_pair();
        self.serve(broker, "memory")?;
        Ok(client)
    }

    /// Connects through a socket pair: a connected, blocking socket that speaks MQTT, for code that
    /// needs a file descriptor. It is close-on-exec. On Windows, where there are no socket pairs, it is an
    /// `OwnedSocket`, a TCP connection over the loopback interface.
    ///
    /// # Errors
    /// No more connections are taken, no descriptor is left, or the build has no Unix sockets
    /// ([`Feature::Unix`](crate::Feature::Unix)).
    pub fn connect_fd(&self) -> Result<OwnedFd, ConnectError> {
        self.connect_pair()
    }

    #[cfg(all(unix, not(feature = "unix")))]
    fn connect_pair(&self) -> Result<OwnedFd, ConnectError> {
        Err(ConnectError::LeftOut(LeftOut(Feature::Unix)))
    }

    #[cfg(any(windows, feature = "unix"))]
    fn connect_pair(&self) -> Result<OwnedFd, ConnectError> {
        let workers = &self.engine().workers;
        if let Some(host) = workers.host() {
            let (client, broker) = pair().map_err(ConnectError::Io)?;
            let broker = PairedStream::from_std(broker);
            let broker = Polled::new(broker, host.reactor()).map_err(ConnectError::Io)?;
            self.serve(broker, "memory")?;
            return Ok(client.into());
        }

        // The runtime that the connection will mostly be served on, so that it need not move.
        let _entered = workers.emptiest().runtime.enter();
        let (client, broker) = pair().map_err(ConnectError::Io)?;
        let broker = Paired::of_std_here(broker).map_err(ConnectError::Io)?;
        self.serve(broker, "memory")?;
        Ok(client.into())
    }

    /// Serves a connection that has been made somewhere else: the bytes of a client. `peer` is what hooks
    /// and events see as its address, and hooks as its listener. Never blocks.
    ///
    /// # Errors
    /// No more connections are taken, or the transport cannot be moved to the broker's runtime.
    pub fn attach(&self, transport: impl Transport, peer: &str) -> Result<(), ConnectError> {
        self.engine().note_foreign();
        self.serve(transport, peer)
    }

    fn serve(&self, transport: impl Transport, peer: &str) -> Result<(), ConnectError> {
        let engine = self.engine();
        if engine.context.is_closing() {
            return Err(ConnectError::Refused);
        }

        let incoming = Incoming::new(transport, peer);
        match engine.connect(incoming, &peer.into()) {
            Ok(true) => Ok(()),
            Ok(false) => Err(ConnectError::Refused),
            Err(error) => Err(ConnectError::Io(error)),
        }
    }

    /// Waits until nothing is queued, in flight or unwritten for any connected client. Blocks the
    /// calling thread.
    ///
    /// # Errors
    /// It did not come to rest in time.
    pub fn settle(&self, timeout: Duration) -> Result<(), Timeout> {
        // Without one there is no moment as late as that.
        let deadline = Instant::now().checked_add(timeout);
        if let Some(host) = self.engine().workers.host()
            && host.is_driven_here()
        {
            let settled = host.drive_until(deadline, || self.hub().is_settled());
            return settled.then_some(()).ok_or(Timeout(timeout));
        }

        while !self.hub().is_settled() {
            if deadline.is_some_and(|deadline| Instant::now() >= deadline) {
                return Err(Timeout(timeout));
            }
            std::thread::sleep(Duration::from_micros(100));
        }
        Ok(())
    }

    /// The loop of a broker without threads.
    fn host(&self) -> Result<&Arc<HostLoop>, PollError> {
        self.engine().workers.host().ok_or(PollError::HasThreads)
    }

    /// Does what there is to do for a broker without threads ([`Builder::threads`](crate::Builder::threads)
    /// with 0): accepts, reads, writes, fires deadlines, calls hooks and callbacks, all on the calling
    /// thread. If there is nothing to do it waits up to `timeout` for it; zero does not wait. Returns whether
    /// something was done. May return early without, such as after a signal.
    ///
    /// One thread at a time polls, any thread may. All other calls are still free to come from any thread:
    /// where they give the broker something to do, a poll that waits goes on. One call does a bounded part of
    /// what there is, so that the host gets its turn; the next one goes on.
    ///
    /// What blocks (`recv`, [`Broker::wait_for`], [`Broker::settle`], [`Receipt::wait_acknowledged`],
    /// [`Broker::stop`]) polls meanwhile, if it is called on the thread that has started the broker or has
    /// polled it. Inside a hook or a callback it looks once, as if its time were over.
    ///
    /// ```
    /// use std::time::Duration;
    ///
    /// use midge::Broker;
    ///
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let broker = Broker::builder().listen("tcp://127.0.0.1:0").threads(0).start()?;
    /// while broker.poll(Duration::ZERO)? {}
    /// broker.stop(midge::Stop::Now)?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// See [`PollError`].
    pub fn poll(&self, timeout: Duration) -> Result<bool, PollError> {
        let host = self.host()?;
        let done = host.turn(Instant::now().checked_add(timeout))?;

        host.drive_here();
        Ok(done)
    }

    /// How long a host may wait for [`Broker::poll_fd`] before it polls again: until the broker's next
    /// deadline. `None` without one. At most 10 ms while there are transports or listeners of other crates.
    ///
    /// # Errors
    /// [`PollError::HasThreads`].
    pub fn poll_timeout(&self) -> Result<Option<Duration>, PollError> {
        Ok(self.host()?.timeout())
    }

    /// The descriptor of a broker without threads, for the host's own loop: readable while
    /// [`Broker::poll`] has something to do, but for deadlines: see [`Broker::poll_timeout`]. Only to be
    /// waited for, level-triggered. It is close-on-exec and lives as long as the broker.
    ///
    /// Sockets of other crates ([`Broker::attach`], [`Broker::add_listener_of`]) belong to a runtime, and do not make it
    /// readable; what the broker has itself does.
    ///
    /// # Errors
    /// [`PollError::HasThreads`].
    #[cfg(unix)]
    pub fn poll_fd(&self) -> Result<std::os::fd::BorrowedFd<'_>, PollError> {
        Ok(self.host()?.reactor().as_fd())
    }

    /// Whether it has been told to stop.
    pub fn is_stopped(&self) -> bool {
        self.engine().context.is_closing()
    }

    /// Stops the broker. When this returns its threads and tasks have ended and its ports are free.
    /// Blocks the calling thread: with [`Stop::Drain`] for the time to drain at most, with
    /// [`Stop::Now`] only to disconnect all clients. Clients that do not read delay neither. Stopping
    /// again has no effect, except that [`Stop::Now`] cuts a running drain short.
    ///
    /// A hook that does not return is waited for `shutdown.patience_ms` longer, 10 seconds by default.
    /// Then it is abandoned, with the threads that it blocks: a warning in `tracing` names it,
    /// [`Stats::left_running`] counts it, and later stops do not wait for it again.
    ///
    /// # Errors
    /// Called on a thread of the broker itself (a hook, a task on its runtime): it has been told to
    /// stop, but cannot be waited for. Or something has not ended in time: a hook that does not
    /// return, a runtime of the host that no thread drives.
    pub fn stop(&self, how: Stop) -> Result<(), StopError> {
        self.inner.stop(how)
    }

    /// Begins to stop, and returns at once. No thread is started for it: `then` is called once all
    /// tasks have ended, on a thread of the broker, which ends afterwards (without its runtime, on
    /// this one). It must not block. [`Broker::stop`] waits for the threads.
    pub fn stop_soon(&self, how: Stop, then: impl FnOnce() + Send + 'static) {
        self.inner.stop_soon(how, then);
    }

    /// Cuts the time short that a drain which is under way has left. Nothing otherwise; never
    /// blocks.
    pub fn hurry(&self) {
        self.inner.engine.hurry();
    }

    /// Stops a broker from asynchronous code without blocking its thread, also from a task on the
    /// broker's own runtime. A thread of its own waits, with the time limits of [`Broker::stop`].
    ///
    /// # Errors
    /// As [`Broker::stop`]: tasks have not ended in time, or the call comes from inside a hook.
    pub async fn stop_async(&self, how: Stop) -> Result<(), StopError> {
        if midge_core::is_in_hook() {
            return self.stop(how);
        }
        if self.engine().workers.host().is_some() {
            // The thread that polls does it.
            let ended = self.inner.engine.end_soon(how.drain(), || ());
            let _ = ended.await;
            return Ok(());
        }

        let (tell, told) = tokio::sync::oneshot::channel();
        let broker = self.clone();

        let stopping = std::thread::Builder::new()
            .name("midge-stop".into())
            .spawn(move || {
                let _ = tell.send(broker.inner.stop(how));
            });
        if stopping.is_err() {
            // No thread can be started: wait without a limit.
            let ended = self.inner.engine.end_soon(how.drain(), || ());
            // An error means that the host has ended its runtime: then all tasks are gone too.
            let _ = ended.await;
            return Ok(());
        }
        told.await.unwrap_or(Err(StopError::Unfinished))
    }
}

impl fmt::Debug for Broker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Broker")
            .field("addresses", &self.addrs())
            .finish_non_exhaustive()
    }
}
