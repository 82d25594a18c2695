//! A reference model: which client must, may and must not get what.
//!
//! The model is pure. It knows the rules of MQTT and nothing of the broker: it gets a [`History`] of
//! facts, each with the span of moments in which it came true, and judges every delivery and every
//! absence of one. Moments are numbers that ascend over all threads. What happens at an unknown moment
//! of a span makes a "may"; with one thread hardly any span overlaps another, and the judgement is
//! exact.
//!
//! ```text
//!   History (history)  what clients said and saw, with moments
//!      |     Access (access)   what hooks answer, as a function of names
//!      v
//!   Judge (verdict)    one message and one session: must, may, must not
//!      |
//!   check (check, shared, order)   all messages and sessions -> Finding (finding)
//! ```

mod access;
mod check;
mod finding;
mod history;
mod order;
mod shared;
#[cfg(test)]
mod tests;
mod topic;
mod verdict;

pub use access::{Access, Change, Manner, WATCHER};
pub use check::check;
pub(crate) use finding::tag;
pub use finding::{Check, Checks, Finding, trace};
pub use history::{
    ClientHistory, ConnectionFact, Delivery, Event, History, RightChange, Sending, SessionFact,
    SubscriptionFact, WillFact,
};
pub use topic::{group_filter, matches};
pub use verdict::{Judge, Verdict};

/// A moment: ascends over all threads of a script.
pub type Moment = u64;

/// A moment that has not come.
pub const NEVER: Moment = Moment::MAX;

/// Something came true at one moment of this span.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    /// Not before.
    pub from: Moment,
    /// Not after; [`NEVER`] if nothing tells.
    pub to: Moment,
}

impl Span {
    /// From a moment on, with no known end.
    #[must_use]
    pub fn since(from: Moment) -> Self {
        Self { from, to: NEVER }
    }
}

/// What a message is called: it stands at the start of its payload.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Name {
    /// What published it.
    pub kind: Kind,
    /// Index of the client, or of the thread for [`Kind::Host`].
    pub publisher: u8,
    /// Ascends for each publisher.
    pub number: u32,
    /// The connection that this copy was sent on.
    pub connection: u16,
    /// QoS of the PUBLISH.
    pub qos: u8,
}

/// What publishes messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Kind {
    /// PUBLISH of a client.
    Client,
    /// The will of a connection.
    Will,
    /// The host program.
    Host,
}

/// Set in a payload by the hook that intercepts publishes.
pub const MARK_PUBLISH: u8 = 1;
/// Set in a payload by the hook that intercepts deliveries.
pub const MARK_DELIVERY: u8 = 2;

/// Bytes that a name takes in a payload, the marks included.
pub const NAME_BYTES: usize = 11;
/// Where the marks stand in a payload.
pub const MARKS_AT: usize = 10;

impl Name {
    /// A payload of `size` bytes, or a little more, that carries the name.
    #[must_use]
    pub fn payload(&self, size: usize) -> Vec<u8> {
        let mut payload = vec![b'M', self.kind as u8, self.publisher, self.qos];
        payload.extend(self.number.to_be_bytes());
        payload.extend(self.connection.to_be_bytes());
        payload.push(0);
        payload.resize(size.max(NAME_BYTES), b'.');
        payload
    }

    /// The name and the marks of a payload.
    #[must_use]
    pub fn read(payload: &[u8]) -> Option<(Self, u8)> {
        let (head, _) = payload.split_first_chunk::<NAME_BYTES>()?;
        let [b'M', kind, publisher, qos, a, b, c, d, e, f, marks] = *head else {
            return None;
        };

        let kind = match kind {
            0 => Kind::Client,
            1 => Kind::Will,
            2 => Kind::Host,
            _ => return None,
        };

        let name = Self {
            kind,
            publisher,
            number: u32::from_be_bytes([a, b, c, d]),
            connection: u16::from_be_bytes([e, f]),
            qos,
        };

        Some((name, marks))
    }

    /// As [`Name::read`], the name alone, the same for all connections that a message was sent on.
    #[must_use]
    pub fn message(&self) -> (Kind, u8, u32) {
        (self.kind, self.publisher, self.number)
    }
}

impl std::fmt::Display for Name {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self {
            publisher,
            number,
            connection,
            qos,
            ..
        } = self;

        match self.kind {
            Kind::Client => write!(
                f,
                "message {number} of c{publisher} (connection {connection}, QoS {qos})"
            ),
            Kind::Will => write!(
                f,
                "will of c{publisher} (connection {connection}, QoS {qos})"
            ),
            Kind::Host => write!(
                f,
                "message {number} of the host (thread {publisher}, QoS {qos})"
            ),
        }
    }
}
