//! The rules of MQTT without IO, clock or runtime.
//!
//! ```text
//!   bytes in  -> Connection (one client's protocol) -> Hub (routing, sessions, retained)
//!   bytes out <- Hub::next_output <- outbox of each session <- direct delivery on the publisher's thread
//! ```
//!
//! Users depend on the crate `midge`, which adds a runtime, listeners and the handle.

#![forbid(unsafe_code)]

mod bounded;
mod budget;
mod client;
mod config;
mod conn;
mod drive;
mod env;
mod event;
#[cfg(shuttle)]
pub mod exploration;
mod flush;
mod hook_depth;
mod hooks;
mod hub;
mod message;
mod observer;
mod outbox;
mod parts;
mod queue;
mod rate;
mod reason;
mod refusal;
mod retained;
mod router;
mod runs;
mod session;
mod stats;
pub mod steps;
mod store;
mod subscription;
mod sync;
mod thread;
mod time;
mod wakers;

pub use bounded::{Arrival, Bounded, QueueLimits, QueueOverflow};
pub use budget::{Charge, Part};
pub use client::ClientInfo;
pub use config::{
    Config, ConfigOption, HookSettings, Lenient, Limits, Mqtt, OptionKind, Overflow,
    OverflowSettings, Shutdown, Strict, Sys, TcpSettings, Versions, config_options, whole,
};
pub use conn::Connection;
pub use drive::{Drive, drive_while_waiting};
pub use event::{Event, EventKind, EventMask, Observed};
pub use flush::Flush;
pub use hook_depth::is_in_hook;
pub use hooks::{
    AuthReply, AuthStep, ConnectRequest, Deferred, DeliveryVerdict, EnhancedVerdict, HookSet,
    Hooks, Interception, Refusal, Resolver, Verdict,
};
pub use hub::{
    Batch, ClientView, Handover, Hub, NextOutput, ObserverHandle, PublishError, SendError,
    SessionView, SubscriptionView,
};
pub use message::{
    Acknowledged, Message, MessageRef, Origin, Outcome, OwnedMessage, Receipt, SharedMessage,
    StoredMessage, Tracker,
};
pub use observer::{Pushed, Received, Sink};
pub use outbox::Outbox;
pub use queue::{Closed, Queue, Recv, RecvError, Waiting};
pub use reason::{DisconnectReason, DropReason};
pub use session::{Dirty, Link};
pub use stats::{MemoryStats, Stats};
pub use store::{
    MemoryStore, Op, Position, Recovered, RecoveredSession, Store, StoredDelivery, StoredSession,
    StoredSubscription, StoredWill,
};
pub use thread::prepare_thread;
pub use time::Tick;
