//! Counters.

use crate::sync::atomic::{AtomicI64, AtomicU64, Ordering};

use crate::reason::DropReason;

/// Counters of a hub. Written with relaxed atomics, mostly once per batch.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    pub(crate) packets_received: AtomicU64,
    pub(crate) packets_sent: AtomicU64,
    pub(crate) publish_received: AtomicU64,
    pub(crate) publish_bytes_received: AtomicU64,
    pub(crate) publish_sent: AtomicU64,
    pub(crate) publish_bytes_sent: AtomicU64,
    pub(crate) bytes_received: AtomicU64,
    pub(crate) bytes_sent: AtomicU64,
    pub(crate) connections: AtomicI64,
    pub(crate) connects: AtomicU64,
    pub(crate) clients: AtomicI64,
    pub(crate) clients_maximum: AtomicI64,
    pub(crate) sessions_expired: AtomicU64,
    pub(crate) subscriptions: AtomicI64,
    pub(crate) shared_subscriptions: AtomicI64,
    pub(crate) queued_bytes: AtomicI64,
    pub(crate) queued_messages: AtomicI64,
    pub(crate) refused: AtomicU64,
    pub(crate) panics: AtomicU64,
    pub(crate) left_running: AtomicU64,
    pub(crate) dropped: [AtomicU64; DropReason::ALL.len()],
}

impl Counters {
    pub(crate) fn count_drops(&self, reason: DropReason, count: u64) {
        if let Some(counter) = self.dropped.get(reason as usize) {
            counter.fetch_add(count, Ordering::Relaxed);
        }
    }

    pub(crate) fn client_connected(&self) {
        let now = self.clients.fetch_add(1, Ordering::Relaxed) + 1;
        self.clients_maximum.fetch_max(now, Ordering::Relaxed);
    }
}

/// Counts of one batch, added to [`Counters`] at its end.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Local {
    pub(crate) packets_received: u64,
    pub(crate) publish_received: u64,
    pub(crate) publish_bytes_received: u64,
    pub(crate) publish_sent: u64,
    pub(crate) publish_bytes_sent: u64,
    pub(crate) packets_sent: u64,
}

impl Local {
    pub(crate) const fn new() -> Self {
        Self {
            packets_received: 0,
            publish_received: 0,
            publish_bytes_received: 0,
            publish_sent: 0,
            publish_bytes_sent: 0,
            packets_sent: 0,
        }
    }

    pub(crate) fn flush_into(&mut self, counters: &Counters) {
        let add = |counter: &AtomicU64, count: u64| {
            if count > 0 {
                counter.fetch_add(count, Ordering::Relaxed);
            }
        };

        add(&counters.packets_received, self.packets_received);
        add(&counters.publish_received, self.publish_received);
        add(
            &counters.publish_bytes_received,
            self.publish_bytes_received,
        );
        add(&counters.publish_sent, self.publish_sent);
        add(
            &counters.packets_sent,
            self.publish_sent + self.packets_sent,
        );
        add(&counters.publish_bytes_sent, self.publish_bytes_sent);
        *self = Self::default();
    }
}

/// Defines a structure of counters, and `values()` with the name of each.
macro_rules! counters {
    (
        $(#[$of:meta])*
        pub struct $name:ident {
            $($(#[$doc:meta])* pub $counter:ident: u64,)*
            $(; $($(#[$other_doc:meta])* $visible:vis $other:ident: $kind:ty,)*)?
        }
    ) => {
        $(#[$of])*
        pub struct $name {
            $($(#[$doc])* pub $counter: u64,)*
            $($($(#[$other_doc])* $visible $other: $kind,)*)?
        }

        impl $name {
            /// Each number with the name of its field, in their order.
            pub fn values(&self) -> impl ExactSizeIterator<Item = (&'static str, u64)> {
                [$((stringify!($counter), self.$counter)),*].into_iter()
            }
        }
    };
}

counters! {
    /// Memory that is held for clients, in bytes, by what it is held for.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
    #[non_exhaustive]
    pub struct MemoryStats {
        /// All of it: what `limits.total_bytes` limits.
        pub total: u64,
        /// Messages that wait for clients or are in flight to them.
        pub queues: u64,
        /// Encoded packets that are not written yet.
        pub output: u64,
        /// Payloads of 8 KiB and more, and buffers that were read into.
        pub payloads: u64,
        /// Packets that are incomplete or wait for the answer of a hook.
        pub input: u64,
        /// Connections, topic aliases, remembered routes.
        pub connections: u64,
        /// Sessions.
        pub sessions: u64,
        /// Subscriptions.
        pub subscriptions: u64,
        /// Wills of clients.
        pub wills: u64,
        /// Retained messages, but for large payloads.
        pub retained: u64,
    }
}

counters! {
    /// A snapshot of what the broker counts.
    #[derive(Clone, Debug, Default, PartialEq, Eq)]
    #[non_exhaustive]
    pub struct Stats {
        /// Milliseconds since the start.
        pub uptime_ms: u64,
        /// Open connections, those before CONNECT included.
        pub connections: u64,
        /// Connections accepted since the start.
        pub connects: u64,
        /// Connections refused since the start.
        pub refused: u64,
        /// Connected clients.
        pub clients: u64,
        /// Most clients connected at the same time.
        pub clients_maximum: u64,
        /// Sessions, connected or not.
        pub sessions: u64,
        /// Sessions that expired since the start.
        pub sessions_expired: u64,
        /// Subscriptions, shared ones included.
        pub subscriptions: u64,
        /// Shared subscriptions.
        pub shared_subscriptions: u64,
        /// Retained messages, `$SYS` not counted.
        pub retained: u64,
        /// Bytes of retained messages.
        pub retained_bytes: u64,
        /// Messages waiting in session queues.
        pub queued_messages: u64,
        /// Bytes of messages that wait for clients or are in flight to them, but for payloads of 8 KiB and
        /// more: see [`MemoryStats::payloads`].
        pub queued_bytes: u64,
        /// Packets received.
        pub packets_received: u64,
        /// Packets sent.
        pub packets_sent: u64,
        /// PUBLISH packets received, and messages published by the host.
        pub publish_received: u64,
        /// Payload bytes received.
        pub publish_bytes_received: u64,
        /// PUBLISH packets sent.
        pub publish_sent: u64,
        /// Payload bytes sent.
        pub publish_bytes_sent: u64,
        /// Bytes read from connections.
        pub bytes_received: u64,
        /// Bytes written to connections.
        pub bytes_sent: u64,
        /// Panics that were caught.
        pub panics: u64,
        /// Hooks and callbacks that were abandoned because they did not return within
        /// `shutdown.patience_ms`, at a stop or when a callback was dropped.
        pub left_running: u64,
        ;
        /// Memory that is held for clients.
        pub memory: MemoryStats,
        pub(crate) dropped: [u64; DropReason::ALL.len()],
    }
}

impl Stats {
    /// All drops together.
    pub fn dropped_total(&self) -> u64 {
        self.dropped.iter().sum()
    }

    /// Dropped messages by reason, all reasons in the order of [`DropReason::ALL`].
    pub fn dropped(&self) -> impl ExactSizeIterator<Item = (DropReason, u64)> {
        let counts = self.dropped.iter().copied();
        DropReason::ALL.iter().copied().zip(counts)
    }

    /// Drops of one reason.
    pub fn dropped_by(&self, reason: DropReason) -> u64 {
        self.dropped
            .get(reason as usize)
            .copied()
            .unwrap_or_default()
    }
}

impl Counters {
    pub(crate) fn snapshot(&self) -> Stats {
        let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let level = |counter: &AtomicI64| {
            u64::try_from(counter.load(Ordering::Relaxed)).unwrap_or_default()
        };

        let mut dropped = [0; DropReason::ALL.len()];
        for (value, counter) in dropped.iter_mut().zip(&self.dropped) {
            *value = count(counter);
        }

        Stats {
            uptime_ms: 0,
            connections: level(&self.connections),
            connects: count(&self.connects),
            refused: count(&self.refused),
            clients: level(&self.clients),
            clients_maximum: level(&self.clients_maximum),
            sessions: 0,
            sessions_expired: count(&self.sessions_expired),
            subscriptions: level(&self.subscriptions),
            shared_subscriptions: level(&self.shared_subscriptions),
            retained: 0,
            retained_bytes: 0,
            queued_messages: level(&self.queued_messages),
            queued_bytes: level(&self.queued_bytes),
            packets_received: count(&self.packets_received),
            packets_sent: count(&self.packets_sent),
            publish_received: count(&self.publish_received),
            publish_bytes_received: count(&self.publish_bytes_received),
            publish_sent: count(&self.publish_sent),
            publish_bytes_sent: count(&self.publish_bytes_sent),
            bytes_received: count(&self.bytes_received),
            bytes_sent: count(&self.bytes_sent),
            panics: count(&self.panics),
            left_running: count(&self.left_running),
            memory: MemoryStats::default(),
            dropped,
        }
    }
}
