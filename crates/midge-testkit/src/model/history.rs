//! Facts: what clients said and saw.

use super::{Access, Moment, NEVER, Name, Span};

/// One PUBLISH that was sent, each repetition on a new connection for itself; or a will, or a message
/// of the host.
#[derive(Clone, Debug)]
pub struct Sending {
    /// Its name.
    pub name: Name,
    /// Topic name.
    pub topic: String,
    /// RETAIN.
    pub retain: bool,
    /// Message Expiry Interval in seconds.
    pub expiry: Option<u32>,
    /// Not routed before this moment.
    pub from: Moment,
    /// Milliseconds of the clock at `from`.
    pub tick: u64,
    /// Routed before this moment, if that is known.
    pub done: Option<Moment>,
    /// It was refused, or the client must not know.
    pub code: u8,
    /// The last moment at which it may still be routed, if that is known.
    pub over: Moment,
    /// Client identifier that hides it from subscriptions with No Local.
    pub origin: Option<usize>,
}

/// One subscription with one set of options.
#[derive(Clone, Debug)]
pub struct SubscriptionFact {
    /// Topic filter as sent.
    pub filter: String,
    /// QoS as asked.
    pub qos: u8,
    /// No Local.
    pub no_local: bool,
    /// Retain As Published.
    pub as_published: bool,
    /// Retain Handling.
    pub retain_handling: u8,
    /// Subscription Identifier, 0 for none.
    pub id: u32,
    /// The session that it belongs to.
    pub session: usize,
    /// When it began.
    pub on: Span,
    /// When it ended.
    pub off: Option<Span>,
    /// It ended because another set of options took its place.
    pub replaced: bool,
    /// It was refused.
    pub refused: bool,
}

/// One session of a client.
#[derive(Clone, Debug)]
pub struct SessionFact {
    /// When it began.
    pub on: Span,
    /// When it ended.
    pub off: Option<Span>,
}

/// The will of a connection.
#[derive(Clone, Debug)]
pub struct WillFact {
    /// Its name.
    pub name: Name,
    /// Its topic.
    pub topic: String,
    /// Will Delay Interval in seconds.
    pub delay: u32,
}

/// One connection of a client.
#[derive(Clone, Debug)]
pub struct ConnectionFact {
    /// Counts from 1 for each client.
    pub number: u16,
    /// The session that it was given.
    pub session: usize,
    /// CONNECT was sent.
    pub at: Moment,
    /// CONNACK came.
    pub up: Moment,
    /// The first moment at which it may have ended.
    pub down: Moment,
    /// The last moment at which it ended.
    pub over: Moment,
    /// Everything that was on its way to the client at this moment has been read.
    pub synced: Moment,
    /// Its will.
    pub will: Option<WillFact>,
    /// DISCONNECT with code 0 was written.
    pub said_goodbye: bool,
    /// Something that was written last may not have been read by the broker.
    pub cut: bool,
    /// The clock when it ended.
    pub tick: u64,
}

/// One PUBLISH that a client received.
#[derive(Clone, Debug)]
pub struct Delivery {
    /// Its name.
    pub name: Name,
    /// Marks that hooks have made.
    pub marks: u8,
    /// Topic name.
    pub topic: String,
    /// QoS.
    pub qos: u8,
    /// DUP.
    pub dup: bool,
    /// RETAIN.
    pub retain: bool,
    /// Subscription identifiers, sorted.
    pub ids: Vec<u32>,
    /// Message Expiry Interval.
    pub expiry: Option<u32>,
    /// When it was read.
    pub at: Moment,
    /// The clock then.
    pub tick: u64,
    /// The session that it came to.
    pub session: usize,
    /// The connection that it came on.
    pub connection: u16,
    /// A QoS 2 message that the client has already and does not pass on.
    pub known: bool,
    /// When the client ended its exchange.
    pub finished: Moment,
}

/// Something worth telling in a trace.
#[derive(Clone, Debug)]
pub struct Event {
    /// When.
    pub at: Moment,
    /// What.
    pub what: String,
}

/// All about one client, or about one subscription of the host.
#[derive(Clone, Debug, Default)]
pub struct ClientHistory {
    /// Client identifier.
    pub client_id: String,
    /// Protocol version, 0 for a subscription of the host.
    pub version: u8,
    /// What it sent.
    pub sendings: Vec<Sending>,
    /// What it subscribed to.
    pub subscriptions: Vec<SubscriptionFact>,
    /// Its sessions.
    pub sessions: Vec<SessionFact>,
    /// Its connections.
    pub connections: Vec<ConnectionFact>,
    /// What it received.
    pub deliveries: Vec<Delivery>,
    /// For traces.
    pub events: Vec<Event>,
}

impl ClientHistory {
    /// Whether it is a subscription of the host.
    #[must_use]
    pub fn is_host(&self) -> bool {
        self.version == 0
    }

    /// The session that lives at the end, if any.
    #[must_use]
    pub fn session(&self) -> Option<usize> {
        let last = self.sessions.len().checked_sub(1)?;
        self.sessions[last].off.is_none().then_some(last)
    }

    /// Ends the present session, in a span.
    pub fn end_session(&mut self, span: Span) {
        let last = self.sessions.len();
        if let Some(session) = self
            .sessions
            .last_mut()
            .filter(|session| session.off.is_none())
        {
            session.off = Some(span);
        }
        for fact in &mut self.subscriptions {
            if fact.session + 1 == last && fact.off.is_none() {
                fact.off = Some(span);
            }
        }
    }

    /// Begins a session, in a span.
    pub fn begin_session(&mut self, on: Span) {
        self.sessions.push(SessionFact { on, off: None });
    }
}

/// A change of the right to receive that was made while the script ran.
#[derive(Clone, Debug)]
pub struct RightChange {
    /// The client.
    pub client: usize,
    /// When.
    pub span: Span,
    /// Whether it may receive from now on.
    pub allowed: bool,
}

/// All that is known of a script that ran.
#[derive(Clone, Debug, Default)]
pub struct History {
    /// Clients and subscriptions of the host.
    pub clients: Vec<ClientHistory>,
    /// What hooks answer.
    pub access: Access,
    /// Changes of the right to receive.
    pub rights: Vec<RightChange>,
    /// Messages of the host, and wills.
    pub others: Vec<Sending>,
    /// The clock at the end.
    pub tick: u64,
    /// Queues had little room: anything may have been dropped.
    pub lossy: bool,
    /// For traces: what no client did.
    pub events: Vec<Event>,
}

impl History {
    /// Everything that was published.
    pub fn sendings(&self) -> impl Iterator<Item = &Sending> {
        self.clients
            .iter()
            .flat_map(|client| &client.sendings)
            .chain(&self.others)
    }

    /// Whether a client may receive, as far as that changes: at all moments of a span, at any.
    #[must_use]
    pub fn may_receive(&self, client: usize, from: Moment, to: Moment) -> (bool, bool) {
        let asked = self.access.receives;
        let changes = || {
            self.rights
                .iter()
                .filter(|change| asked && change.client == client)
        };
        let before = changes()
            .rfind(|change| change.span.to < from)
            .is_none_or(|change| change.allowed);
        let within = || changes().filter(|change| change.span.to >= from && change.span.from <= to);
        let always = before && within().all(|change| change.allowed);
        let ever = before || within().any(|change| change.allowed);
        (always, ever)
    }
}

/// A moment, or nothing known.
#[must_use]
pub(crate) fn known(moment: Option<Moment>) -> Moment {
    moment.unwrap_or(NEVER)
}
