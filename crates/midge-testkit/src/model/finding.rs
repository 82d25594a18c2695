//! What a check found, and how it is told.

use std::fmt;

use super::{History, Name};

macro_rules! checks {
    ($($variant:ident $name:literal $doc:literal;)*) => {
        /// A class of checks. Each has a name, so that it can be left out while a fault is open.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum Check {
            $(#[doc = $doc] $variant,)*
        }

        impl Check {
            /// All of them.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)*];

            /// Its name on the command line.
            #[must_use]
            pub fn name(self) -> &'static str {
                match self { $(Self::$variant => $name,)* }
            }

            /// What it demands.
            #[must_use]
            pub fn demand(self) -> &'static str {
                match self { $(Self::$variant => $doc,)* }
            }
        }
    };
}

checks! {
    Qos2Twice "qos2-twice" "A QoS 2 message is routed once, whatever reconnects (MQTT-4.3.3-10).";
    Repeated "repeated" "A session gets each message once; a repetition of QoS 1 carries DUP.";
    Lost "lost" "What was acknowledged reaches every session that must have it.";
    LostQos0 "lost-qos0" "A QoS 0 message reaches every client that was connected all the time.";
    Order "order" "Messages of one publisher, topic and QoS arrive in order (MQTT-4.6.0-5).";
    OldAfterNew "old-after-new" "No message of an old connection comes after one of the new connection.";
    Unasked "unasked" "Nothing comes without a subscription, nor after UNSUBACK.";
    NoLocal "no-local" "No Local hides a client's own messages, wills and host messages in its name.";
    Denied "denied" "What a hook refused or dropped is not delivered.";
    Form "form" "QoS, RETAIN, subscription identifiers and changes by hooks are the right ones.";
    Expired "expired" "The remaining Message Expiry Interval is right, and nothing leaves expired.";
    SharedTwice "shared-twice" "A shared group gives each message to one member.";
    SharedLost "shared-lost" "A shared group loses nothing while a member may and can take it.";
    Will "will" "A will comes when it is due, once, and not after DISCONNECT.";
    Retained "retained" "The retained message is the last one that subscribers saw live.";
    SessionPresent "session-present" "A session that must be there is there, and no other.";
    Identifier "identifier" "A packet identifier is not used again before its exchange has ended.";
    Protocol "protocol" "Every packet of the broker is within the rules.";
    Receipt "receipt" "A receipt does not say acknowledged before all receivers have.";
    Stuck "stuck" "When all is idle nothing waits that could leave: every wake-up was made.";
    HostWake "host-wake" "A subscription of the host that has something to read has been woken.";
    Gauge "gauge" "Gauges agree with what is there, and come back to 0.";
    Counter "counter" "Counters agree with what clients received.";
    Panic "panic" "No panic but those that hooks made on purpose.";
    Leak "leak" "The broker is freed when the last one lets go of it.";
}

impl Check {
    /// The check of this name.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|check| check.name() == name)
    }
}

/// A set of checks.
#[derive(Clone, Debug)]
pub struct Checks(Vec<Check>);

impl Checks {
    /// All of them.
    #[must_use]
    pub fn all() -> Self {
        Self(Check::ALL.to_vec())
    }

    /// These alone.
    #[must_use]
    pub fn only(checks: &[Check]) -> Self {
        Self(checks.to_vec())
    }

    /// All but these.
    #[must_use]
    pub fn without(mut self, checks: &[Check]) -> Self {
        self.0.retain(|check| !checks.contains(check));
        self
    }

    /// Whether a check is to be made.
    #[must_use]
    pub fn has(&self, check: Check) -> bool {
        self.0.contains(&check)
    }
}

/// Something that the broker did wrong.
#[derive(Clone, Debug)]
pub struct Finding {
    /// The check that failed.
    pub check: Check,
    /// What is wrong.
    pub what: String,
    /// Clients concerned.
    pub clients: Vec<usize>,
    /// Messages concerned.
    pub names: Vec<Name>,
    /// What happened to them, in order.
    pub trace: Vec<String>,
}

impl Finding {
    /// A finding without a trace.
    #[must_use]
    pub fn new(check: Check, what: impl Into<String>) -> Self {
        Self {
            check,
            what: what.into(),
            clients: Vec::new(),
            names: Vec::new(),
            trace: Vec::new(),
        }
    }

    /// About a client.
    #[must_use]
    pub fn client(mut self, client: usize) -> Self {
        self.clients.push(client);
        self
    }

    /// About a message, and its publisher.
    #[must_use]
    pub fn name(mut self, name: Name) -> Self {
        if name.kind != super::Kind::Host {
            self.clients.push(usize::from(name.publisher));
        }
        self.names.push(name);
        self
    }

    /// Adds what happened to the clients and messages concerned: connections and subscriptions of these
    /// clients, and every event that names one of the messages.
    pub fn explain(&mut self, history: &History) {
        let about = |client: Option<usize>, text: &str| {
            if text.contains('@') && !self.names.is_empty() {
                return self.names.iter().any(|name| text.contains(&tag(*name)));
            }
            client.is_none_or(|client| self.clients.is_empty() || self.clients.contains(&client))
        };
        self.trace = trace(history, about);
    }
}

/// What happened, in order, as far as it is wanted: with the client that it happened to, if any.
#[must_use]
pub fn trace(history: &History, wanted: impl Fn(Option<usize>, &str) -> bool) -> Vec<String> {
    let mut lines = Vec::new();
    for (index, client) in history.clients.iter().enumerate() {
        let events = client
            .events
            .iter()
            .filter(|event| wanted(Some(index), &event.what));
        lines.extend(
            events.map(|event| (event.at, format!("{}: {}", client.client_id, event.what))),
        );
    }

    let common = history
        .events
        .iter()
        .filter(|event| wanted(None, &event.what));
    lines.extend(common.map(|event| (event.at, event.what.clone())));
    lines.sort();
    lines
        .into_iter()
        .map(|(at, what)| format!("{at:>6} {what}"))
        .collect()
}

/// A message in a trace, the same for all its copies.
#[must_use]
pub(crate) fn tag(name: Name) -> String {
    let kind = match name.kind {
        super::Kind::Client => 'c',
        super::Kind::Will => 'w',
        super::Kind::Host => 'h',
    };
    format!("@{kind}{}.{};", name.publisher, name.number)
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "[{}] {}", self.check.name(), self.what)?;
        writeln!(f, "  demanded: {}", self.check.demand())?;
        for line in &self.trace {
            writeln!(f, "  {line}")?;
        }
        Ok(())
    }
}
