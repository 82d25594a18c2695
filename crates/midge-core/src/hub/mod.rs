//! The only place with locks (but for each session's own), and the synchronous API that everything
//! calls. See `LOCKS.md` for the order of the locks.

mod account;
mod ask;
mod batch;
mod fast_path;
mod filtered;
mod handover;
mod host;
mod inspect;
mod life;
mod offer;
mod order;
mod output;
mod publish;
mod recover;
mod routed_message;
mod routes;
mod rules;

mod session_end;
mod stop;
mod subscribe;
mod sys;
mod teardown;
mod timers;
mod work;

use crate::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::Arc;

use crate::sync::{Hashing, Mutex, ProcessWide, RwLock};
use hashbrown::HashMap;
use midge_codec::ReasonCode;

pub(crate) use account::no_memory;
pub use batch::Batch;
pub(crate) use batch::{Detour, Lent};
pub use handover::Handover;
pub use output::NextOutput;

pub use host::{ObserverHandle, PublishError, SendError};
pub use inspect::{ClientView, SessionView, SubscriptionView};
pub(crate) use life::AttachPlan;
#[cfg(shuttle)]
pub(crate) use order::Turn;

pub(crate) use fast_path::run::RunPublisher;
pub(crate) use publish::{ClientPublisher, Publisher, Unpublished};
pub(crate) use routes::RouteCache;
use rules::FastPath;
pub(crate) use rules::{Consequence, Eligible};
pub(crate) use subscribe::{Grant, Subscribing, slice};

use crate::budget::{Budget, Part};
use crate::client::ClientInfo;
use crate::config::Config;
use crate::event::{Event, EventMask, Observed};
use crate::flush::Flush;
use crate::hook_depth::{Hook, Running};
use crate::hooks::{Chain, Hooks};
use crate::queue::Queue;
use crate::reason::DisconnectReason;
use crate::retained::Retained;
use crate::router::Router;
use crate::session::{Due, Env, Link, Session, Sessions, Subscriptions, Will};
use crate::store::Store;
use crate::time::{Tick, TimerKey};

/// For [`crate::prepare_thread`].
pub(crate) fn prepare_thread() {
    batch::prepare_thread();
    host::prepare_thread();
}

static INSTANCES: ProcessWide = ProcessWide::new(1);

/// The rules of MQTT for all clients of one broker. Every method may be called from any thread.
///
/// The hub does no IO and reads no clock: time comes in with each call, output is taken with
/// [`Hub::next_output`] when a connection is to [`Flush`].
pub struct Hub {
    pub(crate) env: Env,
    pub(crate) hooks: Chain,
    /// Which packets may come in runs.
    pub(crate) fast_path: FastPath,
    running: Running,
    sessions: Mutex<Sessions>,
    /// Connections that have no session yet, by address.
    fresh: Mutex<HashMap<usize, Arc<Link>, Hashing>>,
    router: RwLock<Router>,
    retained: RwLock<Retained>,
    retained_order: order::TopicOrder,
    /// Unlike an address never the same for two hubs of a process.
    pub(crate) instance: u64,
    next_message: AtomicU64,
    next_client: AtomicU64,
    next_session: AtomicU64,
    next_connection: AtomicU64,
    client_prefix: Box<str>,
    connect_bucket: Mutex<crate::rate::Bucket>,
    teardowns: teardown::Teardowns,
    /// Where to leave what the next hub goes on with.
    handover: Mutex<Option<Arc<Handover>>>,
    pub(crate) stopping: AtomicBool,
    horizon: AtomicU64,
}

/// Work of a batch for after its locks are released.
#[derive(Debug)]
pub(crate) enum After {
    Will {
        session: Arc<Session>,
        will: Box<Will>,
    },
    Teardown {
        session: Arc<Session>,
        subscriptions: Subscriptions,
        /// Messages still wait for it.
        has_messages: bool,
    },
    Connected {
        info: Arc<ClientInfo>,
        session_present: bool,
    },
    Disconnected {
        info: Arc<ClientInfo>,
        reason: DisconnectReason,
    },
    SessionStarted(Arc<str>),
    SessionEnded(Arc<str>),
}

impl After {
    /// Whether a crash must not come in between that and the end of the session.
    fn belongs_to_unit(&self) -> bool {
        matches!(self, Self::Will { .. })
    }
}

impl Hub {
    /// A hub with these settings. `instance` makes assigned client identifiers unique between
    /// brokers: any text. The sets of `hooks` are asked in this order, see [`Hooks`]. A `store` gives
    /// back what it has.
    pub fn new(
        config: Config,
        hooks: impl IntoIterator<Item = Arc<dyn Hooks>>,
        store: Option<Arc<dyn Store>>,
        instance: &str,
        now: Tick,
    ) -> Arc<Self> {
        let hooks = Chain::new(hooks);
        let budget = Budget::new(config.limits.total_bytes);
        let connect_bucket = crate::rate::Bucket::new(config.limits.connect_rate, now);

        let hub = Arc::new(Self {
            fast_path: FastPath::new(&config, hooks.set(), store.is_some()),
            env: Env::new(config, budget.clone(), store.clone()),
            hooks,
            running: Running::default(),
            sessions: Mutex::default(),
            fresh: Mutex::default(),
            router: RwLock::new(Router::new(&budget)),
            retained: RwLock::new(Retained::new(&budget)),
            retained_order: order::TopicOrder::default(),
            instance: INSTANCES.fetch_add(1, Ordering::Relaxed),
            next_message: AtomicU64::new(1),
            next_client: AtomicU64::new(1),
            next_session: AtomicU64::new(1),
            next_connection: AtomicU64::new(1),
            client_prefix: format!("midge-{instance}-").into(),
            connect_bucket: Mutex::new(connect_bucket),
            teardowns: teardown::Teardowns::default(),
            handover: Mutex::default(),
            stopping: AtomicBool::new(false),
            horizon: AtomicU64::new(0),
        });

        if let Some(store) = store {
            hub.resume(store.load(), now);
            let committed = Arc::downgrade(&hub);
            store.on_commit(Arc::new(move || {
                if let Some(hub) = committed.upgrade() {
                    hub.committed();
                }
            }));
        }

        hub.start_sys(now);
        hub
    }

    /// The settings.
    pub fn config(&self) -> &Config {
        &self.env.config
    }

    /// Runs a hook and counts it.
    pub(crate) fn in_hook<T>(&self, hook: Hook, run: impl FnOnce() -> T) -> T {
        self.running.call(hook, run)
    }

    /// Lists the hooks that have not returned, by name, with their running calls.
    pub fn running_hooks(&self) -> Vec<(&'static str, u32)> {
        self.running.names()
    }

    /// Whether any hook is running.
    pub fn is_in_hooks(&self) -> bool {
        !self.running.names().is_empty()
    }

    /// Counts abandoned hooks and callbacks, in [`crate::Stats::left_running`].
    pub fn count_abandoned(&self, count: u32) {
        let counters = &self.env.counters;
        counters
            .left_running
            .fetch_add(count.into(), Ordering::Relaxed);
    }

    /// Accepts a connection. `io` is flushed whenever there is something to do for it.
    /// `None` if `limits.connections` are open, `limits.total_bytes` are held, or
    /// `limits.connect_rate` is exceeded.
    pub fn accept(
        &self,
        peer: Arc<str>,
        listener: Arc<str>,
        io: Arc<dyn Flush>,
        now: Tick,
    ) -> Option<Arc<Link>> {
        let counters = &self.env.counters;
        let number = self.next_connection.fetch_add(1, Ordering::Relaxed);
        let limit = i64::try_from(self.config().limits.connections).unwrap_or(i64::MAX);
        let open = counters.connections.fetch_add(1, Ordering::AcqRel);
        let size = account::CONNECTION + peer.len();
        let charged = open < limit && self.env.budget.admit(Part::Connections, size);
        let allowed = charged && self.connect_bucket.lock().take(now);
        let mut fresh = self.fresh.lock();

        // Looked at under the lock: a stop collects there the connections to end.
        if !allowed || self.stopping.load(Ordering::Acquire) {
            drop(fresh);
            if charged {
                self.env.budget.release(Part::Connections, size);
            }
            counters.connections.fetch_sub(1, Ordering::AcqRel);
            counters.refused.fetch_add(1, Ordering::Relaxed);

            let mut batch = self.begin(now);
            if batch.wants(EventMask::CONNECTION_REFUSED) {
                let reason = if charged {
                    ReasonCode::ConnectionRateExceeded
                } else {
                    ReasonCode::QuotaExceeded
                };
                batch.event(Event::ConnectionRefused {
                    client_id: "".into(),
                    username: None,
                    peer,
                    reason: DisconnectReason::Refused(reason),
                    text: None,
                    connection: number,
                });
            }
            return None;
        }

        counters.connects.fetch_add(1, Ordering::Relaxed);

        let link = Arc::new(Link::new(number, peer, listener, io, now));
        fresh.insert(Arc::as_ptr(&link).addr(), link.clone());
        drop(fresh);
        link.set_silence(self.config().limits.connect_timeout_ms);
        self.watch(&link);
        Some(link)
    }

    /// The transport of a connection is gone. Call it exactly once for each accepted link, last.
    pub fn closed(&self, link: &Arc<Link>, now: Tick) {
        self.lost(link, now);
        self.no_longer_fresh(link);
        self.unwatch(link);
        let size = account::CONNECTION + link.peer.len() + link.charged();
        self.env.budget.release(Part::Connections, size);
        self.env.counters.connections.fetch_sub(1, Ordering::AcqRel);
    }

    /// A connection has a session, or is gone.
    fn no_longer_fresh(&self, link: &Arc<Link>) {
        let gone = self.fresh.lock().remove(&Arc::as_ptr(link).addr());
        drop(gone);
    }

    /// Observes events of the kinds in `mask`.
    pub fn observe(&self, mask: EventMask, queue: Arc<Queue<Observed>>) {
        self.env.taps.add(mask, queue);
    }

    /// Lets go of a queue that was given to [`Hub::observe`].
    pub fn unobserve(&self, queue: &Arc<Queue<Observed>>) {
        self.env.taps.remove(queue);
    }

    /// The transport of a connection broke, or the other side closed it.
    pub fn lost(&self, link: &Arc<Link>, now: Tick) {
        let mut batch = self.begin(now);

        self.end(link, DisconnectReason::ConnectionLost, &mut batch);
    }

    /// Ends a connection whose peer closed without having sent a byte, such as a health check: it is
    /// neither counted as refused nor an event.
    pub fn closed_unheard(&self, link: &Arc<Link>, now: Tick) {
        let mut batch = self.begin(now);
        // The lock under which a connection gets its session or ends.
        let sessions = self.sessions.lock();
        let ended = !link.has_session() && link.set_ended(DisconnectReason::ConnectionLost);
        drop(sessions);
        if ended {
            batch.dirty.push(link.clone());
        }
    }

    /// A panic was caught on the way of a connection: it is counted, and the connection ends.
    pub fn caught_panic(&self, link: &Arc<Link>, now: Tick) {
        self.report_panic();
        let mut batch = self.begin(now);

        self.end(link, DisconnectReason::InternalError, &mut batch);
    }

    /// A panic was caught that concerns no connection: it is counted.
    pub fn report_panic(&self) {
        self.env.counters.panics.fetch_add(1, Ordering::Relaxed);
    }

    /// Counts bytes that were read.
    pub fn count_read(&self, bytes: u64) {
        let counters = &self.env.counters;
        counters.bytes_received.fetch_add(bytes, Ordering::Relaxed);
    }

    /// Counts bytes that were written.
    pub fn count_written(&self, bytes: u64) {
        let counters = &self.env.counters;
        counters.bytes_sent.fetch_add(bytes, Ordering::Relaxed);
    }

    pub(crate) fn next_message_id(&self) -> u64 {
        self.next_message_ids(1)
    }

    /// The first of some numbers in a row.
    pub(crate) fn next_message_ids(&self, count: u64) -> u64 {
        self.next_message.fetch_add(count, Ordering::Relaxed)
    }

    fn new_session(&self, client_id: Arc<str>, username: Option<Arc<str>>) -> Arc<Session> {
        let number = self.next_session.fetch_add(1, Ordering::Relaxed);
        Arc::new(Session::new(client_id, username, number))
    }

    /// A client identifier that no session has (MQTT-3.1.3-6).
    pub(crate) fn assign_client_id(&self) -> Arc<str> {
        loop {
            let number = self.next_client.fetch_add(1, Ordering::Relaxed);
            let id: Arc<str> = format!("{}{number}", self.client_prefix).into();
            if self.sessions.lock().find(&id).is_none() {
                return id;
            }
        }
    }

    /// Sets what is called when an earlier deadline than all others has been armed.
    pub fn on_deadline(&self, notify: Option<Arc<dyn Fn() + Send + Sync>>) {
        self.env.on_deadline(notify);
    }

    pub(crate) fn arm(&self, at: Tick, due: Due) -> TimerKey {
        self.env.arm(at, due)
    }
}

impl std::fmt::Debug for Hub {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Hub").finish_non_exhaustive()
    }
}
