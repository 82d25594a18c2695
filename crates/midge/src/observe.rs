//! In-process subscriptions and events.

use std::fmt;
use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::sync::{Arc, Weak};
use std::task::{Context, Poll};
use std::thread::{self, JoinHandle, ThreadId};
use std::time::Duration;

use bytes::Bytes;
use futures_core::Stream;
use midge_codec::{Properties, QoS};
pub use midge_core::Pushed;
use midge_core::{
    Closed, Hub, Observed, ObserverHandle, Origin, Queue, QueueLimits, QueueOverflow, Received,
    RecvError, Shutdown, Tick, Waiting,
};
use parking_lot::Mutex;

/// A message as the host receives it. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Message {
    inner: Received,
}

impl Message {
    pub(crate) fn retained(message: midge_core::SharedMessage, now: Tick) -> Self {
        let (qos, expiry) = (message.qos(), message.remaining_expiry(now));
        Self {
            inner: Received::new(message, true, qos, expiry),
        }
    }

    /// What is shared with all other receivers.
    pub fn kept(&self) -> &midge_core::SharedMessage {
        self.inner.message()
    }

    /// Topic name.
    pub fn topic(&self) -> &str {
        self.inner.message().topic()
    }

    /// Payload.
    pub fn payload(&self) -> &[u8] {
        self.inner.message().payload()
    }

    /// The payload as shared bytes; a small one, which stands in the message itself, is copied.
    pub fn payload_bytes(&self) -> Bytes {
        self.inner.message().payload_bytes()
    }

    /// QoS of this delivery.
    pub fn qos(&self) -> QoS {
        self.inner.qos()
    }

    /// Whether the message was there, retained, before the subscription was made.
    pub fn retain(&self) -> bool {
        self.inner.retained()
    }

    /// Whether the publisher asked to retain it.
    pub fn published_retained(&self) -> bool {
        self.inner.message().retain()
    }

    /// Where it came from.
    pub fn origin(&self) -> &Origin {
        self.inner.message().origin()
    }

    /// Properties, in the order of the publisher.
    pub fn properties(&self) -> Properties<'_> {
        self.inner.message().properties()
    }

    /// Remaining message expiry interval in seconds, when it was delivered.
    pub fn message_expiry(&self) -> Option<u32> {
        self.inner.expiry()
    }
}

/// How the host subscribes.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct SubscribeOptions {
    /// Messages that may wait, 1,024 by default.
    pub capacity: usize,
    /// Bytes that may wait, 16 MiB by default.
    pub bytes: usize,
    /// What gives way when the queue is full.
    pub overflow: QueueOverflow,
    /// Maximum QoS, 2 by default.
    pub qos: QoS,
    /// Whether retained messages come first; `true` by default.
    pub retained: bool,
}

impl SubscribeOptions {
    /// Sets how many messages may wait; at least 1 may.
    #[must_use]
    pub const fn capacity(mut self, messages: usize) -> Self {
        self.capacity = messages;
        self
    }

    /// Sets how many bytes of topics and payloads may wait; one message always may.
    #[must_use]
    pub const fn bytes(mut self, bytes: usize) -> Self {
        self.bytes = bytes;
        self
    }

    /// Sets what gives way when the queue is full.
    #[must_use]
    pub const fn overflow(mut self, overflow: QueueOverflow) -> Self {
        self.overflow = overflow;
        self
    }

    /// Sets the maximum QoS.
    #[must_use]
    pub const fn qos(mut self, qos: QoS) -> Self {
        self.qos = qos;
        self
    }

    /// Sets whether retained messages come first.
    #[must_use]
    pub const fn retained(mut self, retained: bool) -> Self {
        self.retained = retained;
        self
    }
}

impl Default for SubscribeOptions {
    fn default() -> Self {
        let QueueLimits {
            items,
            bytes,
            overflow,
            ..
        } = QueueLimits::default();
        Self {
            capacity: items,
            bytes,
            overflow,
            qos: QoS::ExactlyOnce,
            retained: true,
        }
    }
}

macro_rules! receiver {
    ($name:ident, $item:ty, $convert:expr) => {
        impl $name {
            /// Waits for the next one. Blocks the calling thread.
            ///
            /// # Errors
            /// [`RecvError::Closed`]: the broker has stopped and everything was received.
            pub fn recv(&self) -> Result<$item, RecvError> {
                self.queue().recv_timeout(None).map($convert)
            }

            /// Waits for the next one, but not for ever. Blocks the calling thread.
            ///
            /// # Errors
            /// Nothing came in time, or the broker has stopped and everything was received.
            pub fn recv_timeout(&self, timeout: Duration) -> Result<$item, RecvError> {
                self.queue().recv_timeout(Some(timeout)).map($convert)
            }

            /// Takes the next one if it is there.
            pub fn try_recv(&self) -> Option<$item> {
                self.queue().try_recv().ok().flatten().map($convert)
            }

            /// Moves up to `max` to the end of `into` and gives their number: the fastest way to
            /// receive many.
            ///
            /// # Errors
            /// The broker has stopped and everything was received.
            pub fn drain_into(
                &self,
                into: &mut Vec<$item>,
                max: usize,
            ) -> Result<usize, RecvError> {
                let mut items = Vec::new();
                let count = self
                    .queue()
                    .drain_into(&mut items, max)
                    .map_err(|Closed| RecvError::Closed)?;
                into.extend(items.into_iter().map($convert));
                Ok(count)
            }

            /// Waits for the next one without blocking, in any runtime; `None` when the broker has
            /// stopped and everything was received. Several tasks may wait; a future that is
            /// dropped takes nothing.
            pub async fn recv_async(&self) -> Option<$item> {
                self.queue().recv().await.ok().map($convert)
            }

            /// Calls `notify` whenever something has come, on the thread that brought it, to bridge
            /// to another event loop. It must not block.
            pub fn on_ready(&self, notify: impl Fn() + Send + Sync + 'static) {
                self.queue().set_on_ready(Some(Arc::new(notify)));
            }

            /// Ends it from any thread: nothing more comes, what waits can still be received, and
            /// then all receivers are told that it is closed.
            pub fn close(&self) {
                self.queue().close();
            }

            /// How many were dropped because the queue was full.
            pub fn lost(&self) -> u64 {
                self.queue().lost()
            }

            /// How many wait.
            pub fn len(&self) -> usize {
                self.queue().len()
            }

            /// Whether none waits.
            pub fn is_empty(&self) -> bool {
                self.queue().is_empty()
            }
        }

        /// All that come, until the broker has stopped and everything was received.
        impl Stream for $name {
            type Item = $item;

            fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<$item>> {
                let Self { queue, waiting, .. } = &mut *self;
                queue
                    .poll_recv(cx, waiting)
                    .map(|result| result.ok().map($convert))
            }
        }
    };
}

/// A subscription of the host. Dropping it ends it. In asynchronous code it is a
/// [`Stream`] of messages, in any runtime.
pub struct Subscription {
    handle: ObserverHandle,
    queue: Arc<Queue<Received>>,
    hub: Weak<Hub>,
    spawner: Option<Spawner>,
    /// As a stream.
    waiting: Waiting,
}

/// Runs a task where the host polls its broker.
pub(crate) type Spawner = Arc<dyn Fn(Pin<Box<dyn Future<Output = ()> + Send>>) + Send + Sync>;

impl Subscription {
    pub(crate) fn new(
        handle: ObserverHandle,
        queue: Arc<Queue<Received>>,
        hub: Weak<Hub>,
        spawner: Option<Spawner>,
    ) -> Self {
        Self {
            handle,
            queue,
            hub,
            spawner,
            waiting: Waiting::default(),
        }
    }

    fn queue(&self) -> &Arc<Queue<Received>> {
        &self.queue
    }

    /// Calls `callback` for each message, in order, on a thread of its own named `midge-callback`; for a
    /// broker without threads where the host calls [`Broker::poll`](crate::Broker::poll).
    /// It may call the broker. A panic of `callback` is caught and ends the subscription.
    ///
    /// # Errors
    /// No thread could be started.
    pub fn on_message(
        self,
        callback: impl FnMut(Message) + Send + 'static,
    ) -> std::io::Result<Callback> {
        let queue = self.queue().clone();
        let hub = self.hub.clone();
        let patience = match hub.upgrade() {
            Some(hub) => hub.config().shutdown.patience_ms,
            None => Shutdown::default().patience_ms,
        };

        if let Some(spawner) = self.spawner.clone() {
            let polled = Arc::new(PolledCallback {
                callback: Mutex::new(Some(Box::new(callback))),
                caller: Mutex::new(None),
            });
            spawner(Box::pin(call_back(queue.clone(), polled.clone())));
            return Ok(Callback {
                subscription: Some(self),
                queue,
                hub,
                runner: Runner::Poll(polled),
                patience: Duration::from_millis(patience),
            });
        }

        let (lives, alive) = mpsc::channel::<()>();
        let thread = thread::Builder::new()
            .name("midge-callback".into())
            .spawn({
                let queue = queue.clone();
                move || {
                    // Dropped last: its end tells that the callback is gone, too.
                    let _lives = lives;
                    let mut callback = callback;
                    while let Ok(inner) = queue.recv_timeout(None) {
                        callback(Message { inner });
                    }
                }
            })?;

        Ok(Callback {
            subscription: Some(self),
            queue,
            hub,
            runner: Runner::Thread(Some((thread, Mutex::new(alive)))),
            patience: Duration::from_millis(patience),
        })
    }
}

receiver!(Subscription, Message, |inner| Message { inner });

impl fmt::Debug for Subscription {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.handle.fmt(f)
    }
}

/// Where the messages of a subscription go without a queue of the broker in between: for a host
/// that has queues of its own, and for bindings.
pub trait Sink: Send + Sync {
    /// Takes a message, or counts it as lost. Runs on the thread that brought it, with locks of the
    /// broker held: it must not wait, nor call the broker, nor panic.
    fn push(&self, message: Message) -> Pushed;

    /// Wakes the waiting receivers: called once after pushes of which one said that there are some, with no
    /// lock held.
    fn wake(&self);

    /// Nothing comes any more: the subscription or the broker has ended. Called once, with no lock
    /// held; the sink is dropped after it, as soon as no other thread is inside [`Sink::wake`].
    fn close(&self) {}
}

struct Bridge<S>(S);

impl<S: Sink> midge_core::Sink for Bridge<S> {
    fn push(&self, inner: Received) -> Pushed {
        self.0.push(Message { inner })
    }

    fn wake(&self) {
        self.0.wake();
    }

    fn close(&self) {
        self.0.close();
    }
}

pub(crate) fn bridge(sink: impl Sink + 'static) -> impl midge_core::Sink + 'static {
    Bridge(sink)
}

/// A subscription with a [`Sink`]. Dropping it ends it.
#[derive(Debug)]
pub struct Feed {
    _handle: ObserverHandle,
}

impl Feed {
    pub(crate) fn new(handle: ObserverHandle) -> Self {
        Self { _handle: handle }
    }
}

/// A callback of the host. When it has been dropped the callback does not run any more: dropping
/// waits for a call that is under way, unless it happens inside that call. A call that does not return
/// within `shutdown.patience_ms`, 10 seconds by default, is abandoned: a warning in `tracing` names
/// the subscription, and [`Stats::left_running`](crate::Stats::left_running) counts it.
pub struct Callback {
    subscription: Option<Subscription>,
    queue: Arc<Queue<Received>>,
    hub: Weak<Hub>,
    runner: Runner,
    patience: Duration,
}

/// Where a callback runs.
enum Runner {
    /// The thread, and a channel that it closes last.
    Thread(Option<(JoinHandle<()>, Mutex<Receiver<()>>)>),
    Poll(Arc<PolledCallback>),
}

type CallbackFn = Box<dyn FnMut(Message) + Send>;

/// A callback that runs where the host polls its broker.
struct PolledCallback {
    /// Held during a call.
    callback: Mutex<Option<CallbackFn>>,
    /// The thread of the call that is under way.
    caller: Mutex<Option<ThreadId>>,
}

impl PolledCallback {
    /// Calls it. `false` if it is gone, or is now.
    fn call(&self, message: Message) -> bool {
        let mut place = self.callback.lock();
        let Some(callback) = &mut *place else {
            return false;
        };

        *self.caller.lock() = Some(thread::current().id());
        let done = catch_unwind(AssertUnwindSafe(|| callback(message)));
        *self.caller.lock() = None;
        if done.is_err() {
            *place = None;
            tracing::error!("a callback panicked");
        }
        done.is_ok()
    }
}

/// Messages after which other tasks get their turn.
const CALLS: u32 = 16;

/// Gives messages to a callback, until there are no more or it has panicked.
async fn call_back(queue: Arc<Queue<Received>>, polled: Arc<PolledCallback>) {
    let mut calls = 0_u32;
    while let Ok(inner) = queue.recv().await {
        if !polled.call(Message { inner }) {
            return;
        }

        calls = calls.wrapping_add(1);
        if calls.is_multiple_of(CALLS) {
            tokio::task::yield_now().await;
        }
    }
}

impl Runner {
    /// Waits for a call that is under way. `false` if it has not returned in time.
    fn end(&mut self, patience: Duration) -> bool {
        let me = thread::current().id();
        match self {
            Self::Thread(running) => {
                let Some((thread, alive)) = running.take() else {
                    return true;
                };
                if thread.thread().id() == me {
                    return true;
                }
                let ended = alive.into_inner().recv_timeout(patience);
                if ended != Err(RecvTimeoutError::Disconnected) {
                    return false;
                }
                let _ = thread.join();
                true
            }
            Self::Poll(polled) => {
                if *polled.caller.lock() == Some(me) {
                    return true;
                }
                let callback = polled.callback.try_lock_for(patience);
                callback.map(|mut callback| callback.take()).is_some()
            }
        }
    }
}

impl Callback {
    /// Messages dropped because the callback was too slow.
    pub fn lost(&self) -> u64 {
        self.queue.lost()
    }
}

impl Drop for Callback {
    fn drop(&mut self) {
        let name = format!("{:?}", self.subscription);
        self.subscription = None;
        while let Ok(Some(_)) = self.queue.try_recv() {}

        if self.runner.end(self.patience) {
            return;
        }
        if let Some(hub) = self.hub.upgrade() {
            hub.count_abandoned(1);
        }

        tracing::warn!(
            subscription = name,
            "a callback that does not return is left"
        );
    }
}

impl fmt::Debug for Callback {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Callback")
            .field("subscription", &self.subscription)
            .finish_non_exhaustive()
    }
}

/// A view of what happens in the broker. Dropping it ends it. In asynchronous code it is a
/// [`Stream`] of events, in any runtime.
pub struct Events {
    queue: Arc<Queue<Observed>>,
    hub: Weak<Hub>,
    /// As a stream.
    waiting: Waiting,
}

impl Events {
    pub(crate) fn new(queue: Arc<Queue<Observed>>, hub: Weak<Hub>) -> Self {
        Self {
            queue,
            hub,
            waiting: Waiting::default(),
        }
    }

    fn queue(&self) -> &Arc<Queue<Observed>> {
        &self.queue
    }
}

receiver!(Events, Observed, |observed| observed);

impl Drop for Events {
    fn drop(&mut self) {
        self.queue.close();
        if let Some(hub) = self.hub.upgrade() {
            hub.unobserve(&self.queue);
        }
    }
}

impl fmt::Debug for Events {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.queue.fmt(f)
    }
}
