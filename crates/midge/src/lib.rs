//! Midge: a complete MQTT 5.0, 3.1.1 and 3.1 broker that lives in your process.
//!
//! ```
//! use midge::Broker;
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let broker = Broker::builder().listen("tcp://127.0.0.1:0").start()?;
//! println!("clients connect to {}", broker.url());
//!
//! let vitals = broker.subscribe("ward/+/spo2")?;
//! broker.publish("ward/7/spo2", "97")?;
//! let message = vitals.recv()?;
//! assert_eq!((message.topic(), message.payload()), ("ward/7/spo2", &b"97"[..]));
//! broker.stop(midge::Stop::Now)?;
//! # Ok(())
//! # }
//! ```
//!
//! ```text
//!  your program ── Broker (handle, any thread) ──┐
//!                                                ├── Hub (midge-core: sessions, routing, retained)
//!  clients ── TCP, Unix, memory ── driver ───────┘
//! ```
//!
//! The broker runs on a background runtime of its own (one thread by default) or on yours. A
//! publish of the host does not go through it: it is routed on the calling thread.
//!
//! `docs/rust.md` of the repository is the guide: a program for each step, from a first message to an event
//! loop of the host.
//!
//! # Asynchronous code
//!
//! A [`Subscription`] and [`Events`] are a [`Stream`] each, a [`Receipt`] can be awaited, and
//! [`Broker::stop_async`] stops; any runtime will do, or none. Everything else returns at once, but
//! for what says that it blocks.
//!
//! # Which message type when
//!
//! | to do | type |
//! |---|---|
//! | publish at QoS 0 | none: [`Broker::publish`] |
//! | publish with QoS, RETAIN flag, properties, to one session, in a client's name | [`Outgoing`], from [`Broker::message`] |
//! | publish the same message again and again, at no cost | [`SharedMessage`], from [`OwnedMessage::prepare`] |
//! | publish borrowed bytes | [`MessageRef`], with [`Broker::publish_ref`] |
//! | read what a subscription gives | [`Message`] |
//! | look at a message in a hook | [`MessageRef`]; on its way to one client [`KeptMessage`] |
//! | put another message in its place, or keep a borrowed one | [`OwnedMessage`] |
//! | read a message in an event | [`SharedMessage`] |
//!
//! ```
//! use midge::{Broker, MessageRef, OwnedMessage, QoS};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let broker = Broker::builder().start()?;
//! let all = broker.subscribe("#")?;
//! broker.message("a").payload("built").qos(QoS::AtLeastOnce).send()?;
//! broker.publish_ref(MessageRef::new("b", b"borrowed"), None, false)?;
//! let again = OwnedMessage::new("c", "prepared").prepare().ok_or("it does not expire")?;
//! broker.publish_prepared(&again)?;
//! let topics: Vec<_> = (0..3).map(|_| all.recv()).collect::<Result<_, _>>()?;
//! assert!(topics.iter().map(|message| message.topic()).eq(["a", "b", "c"]));
//! # Ok(())
//! # }
//! ```

#![forbid(unsafe_code)]

mod clock;
mod connection;
mod engine;
mod error;
mod feature;
mod file;
mod handle;
mod listener;
mod observe;
mod reactor;
mod ready_fd;
mod settings;
mod timers;
mod transport;

pub use bytes::Bytes;
pub use clock::{Clock, ClockHandle};
pub use engine::{Later, Stop, THREAD_STACK, prepare_thread};
pub use error::{
    ConnectError, FilterError, OptionError, PollError, StartError, StopError, Timeout, WaitError,
};
pub use feature::{Feature, LeftOut};
pub use file::ConfigFileError;
pub use futures_core::Stream;
pub use handle::broker::{Broker, WeakBroker};
pub use handle::builder::Builder;
pub use handle::{Condition, Outgoing, Poller};
pub use listener::{ListenAddr, ListenerOptions};
pub use midge_codec::{
    EncodeError, MessageProperties, Properties, PropertiesBuf, PropertiesIter, Property, QoS,
    ReasonCode, ReasonPacket, RetainHandling, Side, SubscriptionOptions, TopicError, TopicFilter,
    TopicName, Version,
};
pub use midge_core::{
    Acknowledged, Arrival, AuthReply, AuthStep, Bounded, ClientInfo, ClientView, Config,
    ConnectRequest, Deferred, DeliveryVerdict, DisconnectReason, DropReason, EnhancedVerdict,
    Event, EventKind, EventMask, Handover, HookSet, HookSettings, Hooks, Interception, Lenient,
    Limits, MemoryStats, MemoryStore, Message as KeptMessage, MessageRef, Mqtt, Observed,
    OptionKind, Origin, Outcome, Overflow, OverflowSettings, OwnedMessage, PublishError,
    QueueLimits, QueueOverflow, Receipt, RecvError, Refusal, Resolver, SendError, SessionView,
    SharedMessage, Shutdown, Stats, Store, Strict, SubscriptionView, Sys, TcpSettings, Tick,
    Verdict, Versions,
};
pub use observe::{Callback, Events, Feed, Message, Pushed, Sink, SubscribeOptions, Subscription};
pub use ready_fd::ReadyFd;
pub use settings::{OptionInfo, Settings};
pub use transport::MemoryStream;

/// Transports and listeners: for a crate that brings its own, such as one for TLS or WebSocket, and the
/// sockets that it may lay them around.
///
/// A [`Transport`](io::Transport) carries the bytes of one connection, a [`Listener`](io::Listener)
/// accepts such connections ([`Builder::listener_of`]). [`Broker::attach`] serves a single one.
///
/// ```
/// use std::task::{Context, Poll};
///
/// use midge::Broker;
/// use midge::io::{Incoming, Listener, Tcp};
///
/// /// Accepts from clients of this machine only.
/// struct Local(tokio::net::TcpListener);
///
/// impl Listener for Local {
///     type Transport = Tcp;
///
///     fn poll_accept(
///         &mut self,
///         cx: &mut Context<'_>,
///     ) -> Poll<Option<std::io::Result<Incoming<Tcp>>>> {
///         while let Poll::Ready(accepted) = self.0.poll_accept(cx) {
///             match accepted {
///                 Ok((stream, peer)) if peer.ip().is_loopback() => {
///                     let transport = Tcp::new(stream, &Default::default());
///                     return Poll::Ready(Some(Ok(Incoming::new(transport, peer.to_string()))));
///                 }
///                 Ok(_) => {}
///                 Err(error) => return Poll::Ready(Some(Err(error))),
///             }
///         }
///         Poll::Pending
///     }
/// }
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
/// # let _entered = runtime.enter();
/// let socket = std::net::TcpListener::bind("127.0.0.1:0")?;
/// socket.set_nonblocking(true)?;
/// let local = Local(tokio::net::TcpListener::from_std(socket)?);
/// let broker = Broker::builder()
///     .runtime(tokio::runtime::Handle::current())
///     .listener_of("local", local)
///     .start()?;
/// # Ok(())
/// # }
/// ```
pub mod io {
    pub use crate::listener::{Incoming, Listener};
    pub use crate::transport::{DirectWrite, Tcp, TcpDirect, Transport, Unread};
    #[cfg(all(unix, feature = "unix"))]
    pub use crate::transport::{Unix, UnixDirect};
}

/// What a [`Store`] takes and gives back: for a crate that implements one. `Bytewise` of `midge-testkit`
/// is such a store in two hundred lines, and `store_suite` there is what every store has to pass.
pub mod store {
    pub use midge_core::{
        MemoryStore, Op, Position, Recovered, RecoveredSession, Store, StoredDelivery,
        StoredMessage, StoredSession, StoredSubscription, StoredWill,
    };
}

/// The examples of the guide for Rust, which are programs. Configuration files need their feature, and a
/// [`ReadyFd`] Unix: `cargo test --workspace` has both on Linux.
#[cfg(all(doctest, unix, feature = "toml"))]
#[doc = include_str!("../../../docs/rust.md")]
struct Guide;

#[cfg(doctest)]
#[doc = include_str!("../../../README.md")]
struct Readme;
