//! Kinds of events, and sets of them.

/// Declares the kinds in the order of their numbers, which are their bits in an [`EventMask`].
macro_rules! kinds {
    ($($(#[$doc:meta])* $kind:ident = $name:literal,)*) => {
        /// The kind of an [`Event`](crate::Event).
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[repr(u8)]
        #[non_exhaustive]
        pub enum EventKind {
            $($(#[$doc])* $kind,)*
        }

        impl EventKind {
            /// All kinds, in the order of their numbers.
            pub const ALL: &'static [Self] = &[$(Self::$kind),*];

            /// Its name in bindings and logs.
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$kind => $name,)*
                }
            }
        }
    };
}

kinds! {
    /// [`Event::ClientConnected`](crate::Event::ClientConnected).
    ClientConnected = "connected",
    /// [`Event::ConnectionRefused`](crate::Event::ConnectionRefused).
    ConnectionRefused = "refused",
    /// [`Event::ClientDisconnected`](crate::Event::ClientDisconnected).
    ClientDisconnected = "disconnected",
    /// [`Event::Subscribed`](crate::Event::Subscribed).
    Subscribed = "subscribed",
    /// [`Event::Unsubscribed`](crate::Event::Unsubscribed).
    Unsubscribed = "unsubscribed",
    /// [`Event::Published`](crate::Event::Published).
    Published = "published",
    /// [`Event::Delivered`](crate::Event::Delivered).
    Delivered = "delivered",
    /// [`Event::Acknowledged`](crate::Event::Acknowledged).
    Acknowledged = "acknowledged",
    /// [`Event::Dropped`](crate::Event::Dropped).
    Dropped = "dropped",
    /// [`Event::RetainedExpired`](crate::Event::RetainedExpired).
    RetainedExpired = "expired",
    /// [`Event::SessionEnded`](crate::Event::SessionEnded).
    SessionEnded = "session_ended",
    /// [`Event::WillSent`](crate::Event::WillSent).
    WillSent = "will_sent",
    /// [`Event::SubscribeRefused`](crate::Event::SubscribeRefused).
    SubscribeRefused = "subscribe_refused",
    /// [`Event::ReasonReplaced`](crate::Event::ReasonReplaced).
    ReasonReplaced = "reason_replaced",
}

impl EventKind {
    /// The kind with this name.
    pub fn from_name(name: &str) -> Option<Self> {
        (Self::ALL.iter().copied()).find(|kind| kind.name() == name)
    }
}

/// A set of kinds of events.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EventMask(pub u32);

#[allow(missing_docs)] // named like the events
impl EventMask {
    pub const NONE: Self = Self(0);
    pub const CLIENT_CONNECTED: Self = Self::of(EventKind::ClientConnected);
    pub const CONNECTION_REFUSED: Self = Self::of(EventKind::ConnectionRefused);
    pub const CLIENT_DISCONNECTED: Self = Self::of(EventKind::ClientDisconnected);
    pub const SUBSCRIBED: Self = Self::of(EventKind::Subscribed);
    pub const UNSUBSCRIBED: Self = Self::of(EventKind::Unsubscribed);
    pub const PUBLISHED: Self = Self::of(EventKind::Published);
    pub const DELIVERED: Self = Self::of(EventKind::Delivered);
    pub const ACKNOWLEDGED: Self = Self::of(EventKind::Acknowledged);
    pub const DROPPED: Self = Self::of(EventKind::Dropped);
    pub const EXPIRED: Self = Self::of(EventKind::RetainedExpired);
    pub const SESSION_ENDED: Self = Self::of(EventKind::SessionEnded);
    pub const WILL_SENT: Self = Self::of(EventKind::WillSent);
    pub const SUBSCRIBE_REFUSED: Self = Self::of(EventKind::SubscribeRefused);
    pub const REASON_REPLACED: Self = Self::of(EventKind::ReasonReplaced);
    /// Everything.
    pub const ALL: Self = Self((1 << EventKind::ALL.len()) - 1);
    /// Everything but the events that come with each message.
    pub const LIFECYCLE: Self =
        Self(Self::ALL.0 & !(Self::PUBLISHED.0 | Self::DELIVERED.0 | Self::ACKNOWLEDGED.0));

    /// The set of one kind.
    pub const fn of(kind: EventKind) -> Self {
        Self(1 << kind as u32)
    }

    /// Whether a kind is in this set.
    pub const fn contains(self, kind: EventKind) -> bool {
        self.intersects(Self::of(kind))
    }

    /// Whether any kind of `other` is in this set.
    pub const fn intersects(self, other: Self) -> bool {
        self.0 & other.0 != 0
    }

    /// Both sets together.
    #[must_use]
    pub const fn union(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_kind_has_a_bit_and_a_name_of_its_own() {
        let mut all = EventMask::NONE;
        for kind in EventKind::ALL {
            assert!(!all.contains(*kind));
            all = all.union(EventMask::of(*kind));
            assert_eq!(EventKind::from_name(kind.name()), Some(*kind));
        }
        assert_eq!(all, EventMask::ALL);
        assert_eq!(EventKind::from_name("nothing"), None);
        assert_eq!(EventMask::WILL_SENT, EventMask(1 << 11)); // hosts may have kept the numbers
    }
}
