//! The host's side: publish without a connection, watch without a client.

use crate::sync::atomic::Ordering;
use std::cell::RefCell;
use std::sync::Arc;

use midge_codec::{QoS, ReasonCode, TopicError, TopicFilter};

use super::{Hub, Publisher, RouteCache, Unpublished};
use crate::client::ClientInfo;
use crate::event::{Lost, Whom};
use crate::hooks::{FIRST, HookSet, Refusal, Said};
use crate::hub::Batch;
use crate::message::{MessageRef, Origin, OwnedMessage, Receipt, SharedMessage, Tracker};
use crate::observer::{Observer, ObserverKey, Received, Sink};
use crate::reason::DropReason;
use crate::retained::Place;
use crate::router::Subscriber;
use crate::subscription::{SubRecord, is_shared};
use crate::time::{Tick, TimerKey};

/// Why a message of the host was not published. Nothing has happened then.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum PublishError {
    /// The topic name is not valid: empty, with wildcards, too long, too many levels.
    InvalidTopic(&'static str),
    /// The message is larger than `limits.packet_bytes`.
    TooLarge,
    /// A property is not valid.
    InvalidProperty(&'static str),
    /// A hook refused it.
    Refused(Refusal),
    /// Hooks publish messages that call hooks that publish, too many levels deep.
    TooDeep,
    /// The broker has stopped.
    Stopped,
}

impl std::fmt::Display for PublishError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::InvalidTopic(what) => f.write_str(what),
            Self::TooLarge => f.write_str("the message is larger than limits.packet_bytes"),
            Self::InvalidProperty(what) => f.write_str(what),
            Self::Refused(refusal) => write!(f, "refused by a hook: {}", refusal.reason.name()),
            Self::TooDeep => f.write_str("hooks publish from inside hooks without end"),
            Self::Stopped => f.write_str("the broker has stopped"),
        }
    }
}

impl std::error::Error for PublishError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Refused(refusal) => Some(refusal),
            Self::InvalidTopic(_)
            | Self::TooLarge
            | Self::InvalidProperty(_)
            | Self::TooDeep
            | Self::Stopped => None,
        }
    }
}

impl PublishError {
    /// The reason code with which a publisher hears of it.
    pub fn reason(&self) -> ReasonCode {
        match self {
            Self::InvalidTopic(_) => ReasonCode::TopicNameInvalid,
            Self::TooLarge => ReasonCode::PacketTooLarge,
            Self::Refused(refusal) => refusal.reason,
            Self::Stopped => ReasonCode::ServerShuttingDown,
            Self::InvalidProperty(_) | Self::TooDeep => ReasonCode::ImplementationSpecificError,
        }
    }
}

/// Why a message could not be handed to one session.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum SendError {
    /// The message itself is at fault.
    Publish(PublishError),
    /// There is no session with this client identifier.
    NoSession,
}

impl std::fmt::Display for SendError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Publish(error) => error.fmt(f),
            Self::NoSession => f.write_str("no session with this client identifier"),
        }
    }
}

impl std::error::Error for SendError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Publish(error) => Some(error),
            Self::NoSession => None,
        }
    }
}

impl From<PublishError> for SendError {
    fn from(error: PublishError) -> Self {
        Self::Publish(error)
    }
}

/// An in-process subscription. Dropping it ends it.
pub struct ObserverHandle {
    hub: std::sync::Weak<Hub>,
    key: Option<ObserverKey>,
    filters: Vec<(Arc<str>, bool)>,
}

impl Drop for ObserverHandle {
    fn drop(&mut self) {
        let (Some(hub), Some(key)) = (self.hub.upgrade(), self.key) else {
            return;
        };
        let subscriber = Subscriber::Observer(key);
        let mut emptied = Vec::new();

        let mut router = hub.router.write();
        for (filter, shared) in &self.filters {
            emptied.extend(router.remove(filter, &subscriber, *shared));
        }
        let observer = router.observers.remove(key);
        drop(router);

        if let Some(observer) = observer {
            observer.close();
        }
        hub.throw_away(emptied);
    }
}

impl std::fmt::Debug for ObserverHandle {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ObserverHandle")
            .field("filters", &self.filters)
            .finish_non_exhaustive()
    }
}

/// Memory that a publishing thread keeps for the next time: a batch's buffers, the last routes.
#[derive(Default)]
pub(super) struct HostScratch {
    /// The hub that the routes belong to.
    instance: u64,
    pub(super) batch: Batch,
    pub(super) cache: RouteCache,
}

crate::sync::thread_local! {
    static SCRATCH: RefCell<Option<Box<HostScratch>>> = const { RefCell::new(None) };
}

/// For [`crate::prepare_thread`].
pub(super) fn prepare_thread() {
    let _ = SCRATCH.try_with(|_| ());
}

/// The thread's scratch, taken because a hook or a notified reader may publish meanwhile, too. It is
/// given back at the end, unless something panicked.
struct TakenScratch(Option<Box<HostScratch>>);

impl TakenScratch {
    fn take(instance: u64) -> Self {
        let kept = SCRATCH.try_with(|scratch| scratch.borrow_mut().take());
        let mut own = Self(kept.ok().flatten());
        let scratch = own.scratch();
        if scratch.instance != instance {
            scratch.instance = instance;
            scratch.cache = RouteCache::default();
        }
        own
    }

    fn scratch(&mut self) -> &mut HostScratch {
        self.0.get_or_insert_default()
    }
}

impl Drop for TakenScratch {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            // A scratch that a publish inside this one has left is dropped after the borrow: that
            // may run code of the host, which may publish.
            drop(SCRATCH.try_with(|scratch| scratch.replace(self.0.take())));
        }
    }
}

impl Hub {
    /// Publishes a message of the host, on the calling thread. When it returns, every matching
    /// session has it, or a counted drop. `now` is called at most once: before the message
    /// goes to anything else than subscriptions of the host.
    pub fn publish_from_host(
        self: &Arc<Self>,
        message: MessageRef<'_>,
        client_id: Option<&str>,
        now: impl FnOnce() -> Tick,
        want_receipt: bool,
    ) -> Result<Receipt, PublishError> {
        let mut own = TakenScratch::take(self.instance);
        self.publish_at(own.scratch(), message, client_id, now, want_receipt, None)
    }

    /// Publishes a message that was made before. If it is one of the host, subscriptions of the host
    /// get this very message: nothing is copied or allocated for them.
    pub fn publish_prepared(
        self: &Arc<Self>,
        message: &SharedMessage,
        now: impl FnOnce() -> Tick,
    ) -> Result<Receipt, PublishError> {
        let mut own = TakenScratch::take(self.instance);
        let parts = message.parts(Tick::default());
        // One that was received says where it came from: it is made anew, as the host's.
        let prepared = Some(message).filter(|message| *message.origin() == Origin::Host);
        self.publish_at(own.scratch(), parts, None, now, false, prepared)
    }

    fn publish_at(
        &self,
        scratch: &mut HostScratch,
        message: MessageRef<'_>,
        client_id: Option<&str>,
        now: impl FnOnce() -> Tick,
        want_receipt: bool,
        prepared: Option<&SharedMessage>,
    ) -> Result<Receipt, PublishError> {
        self.check_host_message(&message, scratch.cache.knows(message.topic))?;

        let acknowledged = message.qos != QoS::AtMostOnce;
        let mut receipt = Receipt {
            tracker: (want_receipt && acknowledged).then(|| Arc::new(Tracker::default())),
            ..Receipt::default()
        };
        if client_id.is_none()
            && let Some(matched) = self.publish_inside(scratch, &message, prepared)
        {
            receipt.matched = matched;
            return Ok(receipt);
        }

        let slot = want_receipt.then_some(&mut receipt);
        let matched = self.publish_outside(scratch, message, client_id, now, slot);
        scratch.batch.tidy();
        receipt.matched = matched?;
        Ok(receipt)
    }

    /// Publishes a message that does not only concern the host: the number of receivers.
    fn publish_outside(
        &self,
        scratch: &mut HostScratch,
        message: MessageRef<'_>,
        client_id: Option<&str>,
        now: impl FnOnce() -> Tick,
        receipt: Option<&mut Receipt>,
    ) -> Result<usize, PublishError> {
        let HostScratch { batch, cache, .. } = scratch;
        let (origin, cache) = match client_id {
            Some(id) => {
                if let Err(refusal) = self.authorize_host(id, &message) {
                    let client_id = id.into();
                    let reason = DropReason::NotAuthorized;
                    self.begin_with(batch, now()).report_drop(
                        &self.env,
                        Whom::client(&client_id),
                        Lost::untaken(message.topic),
                        reason,
                    );
                    return Err(PublishError::Refused(refusal));
                }
                // No Local may hide it from some: what is remembered is for the host's own.
                (Origin::Client(id.into()), None)
            }
            None => (Origin::Host, Some(cache)),
        };

        let mut batch = self.begin_with(batch, now());
        batch.local.publish_received += 1;
        batch.local.publish_bytes_received += message.payload.len() as u64;

        let publisher = Publisher::Other(origin);
        self.publish(&publisher, &message, cache, receipt, &mut batch)
            .map_err(|unpublished| match unpublished {
                Unpublished::Refused(refusal) => PublishError::Refused(refusal),
                Unpublished::Detached => PublishError::Stopped,
            })
    }

    /// Hands a message to one session, whatever it subscribed to.
    pub fn send_to(
        self: &Arc<Self>,
        client_id: &str,
        message: MessageRef<'_>,
        now: Tick,
    ) -> Result<Receipt, SendError> {
        self.check_host_message(&message, false)
            .map_err(SendError::Publish)?;
        let session = self.session_of(client_id).ok_or(SendError::NoSession)?;
        let mut receipt = Receipt {
            tracker: Some(Arc::new(Tracker::default())),
            ..Receipt::default()
        };
        let mut batch = self.begin(now);
        self.offer_direct(&session, message, Origin::Host, &mut receipt, &mut batch);
        drop(batch);
        Ok(receipt)
    }

    fn check_host_message(
        &self,
        message: &MessageRef<'_>,
        topic_is_valid: bool,
    ) -> Result<(), PublishError> {
        if self.stopping.load(Ordering::Acquire) {
            return Err(PublishError::Stopped);
        }
        if crate::hook_depth::too_deep() {
            return Err(PublishError::TooDeep);
        }
        self.check_parts(message, topic_is_valid)
    }

    /// Whether a message of the host, or of a hook, can be sent as it is.
    pub(super) fn check_parts(
        &self,
        message: &MessageRef<'_>,
        topic_is_valid: bool,
    ) -> Result<(), PublishError> {
        if !topic_is_valid {
            self.check_topic(message.topic)
                .map_err(PublishError::InvalidTopic)?;
        }

        let size = message.payload.len() + message.topic.len() + message.properties.block_len();
        if size > self.config().limits.packet_bytes as usize {
            return Err(PublishError::TooLarge);
        }
        if message.properties.block_len() > 0
            && let Some(what) = message.properties.fault()
        {
            return Err(PublishError::InvalidProperty(what));
        }
        Ok(())
    }

    /// A message in the name of a client passes the same authorization as the client's own.
    fn authorize_host(&self, client_id: &str, message: &MessageRef<'_>) -> Result<(), Refusal> {
        if !self.hooks.intersects(HookSet::AUTHORIZE_PUBLISH) {
            return Ok(());
        }

        let client = self.info_of(client_id);
        let timeout = std::time::Duration::from_millis(self.config().hooks.timeout_ms);
        let mut place = FIRST;
        loop {
            match self.authorize_publish(&client, message, place) {
                Said::Yes => return Ok(()),
                Said::No(refusal) => return Err(refusal),
                Said::Later(deferred, behind) => {
                    deferred.wait(timeout).objection().map_or(Ok(()), Err)?;
                    place = behind;
                }
            }
        }
    }

    fn info_of(&self, client_id: &str) -> Arc<ClientInfo> {
        self.session_of(client_id)
            .map(|session| session.info())
            .unwrap_or_else(|| {
                Arc::new(ClientInfo {
                    client_id: client_id.into(),
                    username: None,
                    peer: "host".into(),
                    listener: "host".into(),
                    version: midge_codec::Version::V5,
                    connection: 0,
                })
            })
    }

    /// Subscribes the host itself. Retained messages that match come first if `retained` says so.
    /// `Err` names the filter that is not valid and says why. Once the hub has ended the sink is
    /// closed at once.
    pub fn observe_messages(
        self: &Arc<Self>,
        filters: &[&str],
        qos: QoS,
        retained: bool,
        sink: impl Sink + 'static,
        now: Tick,
    ) -> Result<ObserverHandle, (String, &'static str)> {
        for filter in filters {
            let valid = TopicFilter::new(filter).map_err(TopicError::what);
            valid
                .and_then(|_| self.check_filter(filter))
                .map_err(|what| ((*filter).to_owned(), what))?;
        }

        let observer: Arc<Observer> = Arc::new(Observer::new(sink));
        let mut handle = ObserverHandle {
            hub: Arc::downgrade(self),
            key: None,
            filters: Vec::new(),
        };
        let mut router = self.router.write();
        if !router.is_closed() {
            handle.key = router.observers.add(observer.clone());
        }
        let Some(key) = handle.key else {
            drop(router);
            observer.close();
            return Ok(handle);
        };

        let store = self.retained.read();
        for filter in filters {
            let shared = is_shared(filter);
            let options = Self::observer_options(qos);
            let record = SubRecord {
                options,
                id: 0,
                shared,
            };

            let filter: Arc<str> = (*filter).into();
            router.insert(&filter, Subscriber::Observer(key), record, shared);

            if retained && !shared {
                let mut from = None;
                loop {
                    let page = store.page(&filter, from.as_ref(), u64::MAX);
                    for message in page.messages {
                        if !message.is_expired(now) {
                            let qos = qos.min(message.qos());
                            let expiry = message.remaining_expiry(now);
                            observer.push(Received::new(message, true, qos, expiry));
                        }
                    }
                    from = page.next;
                    if from.is_none() {
                        break;
                    }
                }
            }
            handle.filters.push((filter, shared));
        }

        drop(store);
        drop(router);

        observer.wake();
        Ok(handle)
    }

    /// The retained messages that match a filter. They are looked up page by page: of messages that
    /// are retained or removed meanwhile some may be among them.
    pub fn retained(&self, filter: &str, now: Tick) -> Vec<SharedMessage> {
        let mut found = Vec::new();
        let mut from = None;
        loop {
            let page = (self.retained.read()).page(filter, from.as_ref(), u64::MAX);
            let there = |message: &SharedMessage| !message.is_expired(now);
            found.extend(page.messages.into_iter().filter(there));
            from = page.next;
            if from.is_none() {
                return found;
            }
        }
    }

    /// The retained message of a topic.
    pub fn retained_on(&self, topic: &str, now: Tick) -> Option<SharedMessage> {
        self.retained
            .read()
            .get(topic)
            .filter(|message| !message.is_expired(now))
            .cloned()
    }

    /// Sets the retained message of a topic without delivering it; an empty payload
    /// removes it.
    pub fn set_retained(&self, message: &OwnedMessage, now: Tick) -> Result<(), PublishError> {
        let parts = MessageRef {
            retain: true,
            ..message.parts()
        };
        self.check_host_message(&parts, false)?;
        let mut batch = self.begin(now);
        let stored = self.store_retained(parts, Origin::Host, &mut batch);
        drop(batch);
        if stored {
            Ok(())
        } else {
            Err(PublishError::Refused(Refusal::new(
                ReasonCode::QuotaExceeded,
            )))
        }
    }

    /// Removes the retained messages that match a filter; how many they were. `$SYS` stays unless
    /// the filter names it. Messages that are retained while it runs stay.
    pub fn clear_retained(&self, filter: &str, now: Tick) -> usize {
        let until = self.retained.read().stamp();
        let mut count = 0;
        let mut from = None;
        loop {
            let (timers, removed, next) = self.clear_page(filter, from.as_ref(), until);
            count += removed;
            timers
                .into_iter()
                .for_each(|timer| self.env.timers.cancel(timer));
            drop(self.begin(now));
            from = next;
            if from.is_none() {
                return count;
            }
        }
    }

    /// Removes one page of retained messages: their deadlines, their number, where to go on.
    fn clear_page(
        &self,
        filter: &str,
        from: Option<&Place>,
        until: u64,
    ) -> (Vec<TimerKey>, usize, Option<Place>) {
        let mut store = self.retained.write();
        let page = store.page(filter, from, until);
        let mut timers = Vec::new();
        for message in &page.messages {
            let topic = message.topic();
            if let Some(journal) = self.env.journal() {
                let topic = topic.into();
                journal.record(crate::store::Op::RetainedRemoved { topic });
            }
            let removed = store.remove(topic);
            timers.extend(removed.and_then(|removed| removed.timer));
        }

        (timers, page.messages.len(), page.next)
    }
}
