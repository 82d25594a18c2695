//! Events as Python sees them.

use std::borrow::Cow;
use std::fmt::Write;
use std::hash::{DefaultHasher, Hash, Hasher};

use midge::{
    DisconnectReason, Event as Native, EventKind, EventMask, Observed, ReasonCode, Version,
};
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyTuple};

use crate::message::Message;

/// Something that happened in the broker. What does not belong to its kind is `None`.
#[pyclass(frozen, get_all, module = "midge")]
#[derive(Default)]
pub struct Event {
    /// `connected`, `refused`, `disconnected`, `subscribed`, `subscribe_refused`, `unsubscribed`,
    /// `published`, `delivered`, `acknowledged`, `dropped`, `expired`, `session_ended`, `will_sent` or
    /// `reason_replaced` (a hook gave a reason code that its packet cannot carry; `reason_code` is what
    /// the client got, `reason` the packet).
    name: Name,
    /// Seconds since the start of the broker.
    at: f64,
    /// The client that it is about.
    client_id: Option<String>,
    /// The topic, or the filter of a subscription.
    topic: Option<String>,
    /// Why a connection ended or a message was dropped.
    reason: Option<Name>,
    /// The MQTT reason code that goes with it.
    reason_code: Option<u8>,
    /// The reason in words; the text of a refusal that has one.
    detail: Option<String>,
    /// QoS of the message or subscription.
    qos: Option<u8>,
    /// How many receivers a published message matched.
    matched: Option<usize>,
    /// The client's user name.
    username: Option<String>,
    /// Where the client comes from.
    peer: Option<String>,
    /// The client's version of MQTT.
    version: Option<Name>,
    /// Whether the client found its session.
    session_present: Option<bool>,
    /// Number of the connection that it is about, from 1 on: where two have the same client
    /// identifier, it tells them apart. A start of the broker counts anew.
    connection: Option<u64>,
    /// Number of the session that it is about, from 1 on: one that is resumed keeps it, a new one of
    /// the same client identifier has another. A start of the broker counts anew.
    session: Option<u64>,
    /// The message that was published.
    message: Option<Py<Message>>,
    /// Number of the event, from 1 on, for all that record events. A start of the broker counts anew.
    number: Option<u64>,
    /// Number of the message that it is about: the same in all events about one message. A message that
    /// was not taken from its publisher has none.
    message_number: Option<u64>,
}

/// A name of the broker, or one that came back from a pickle.
type Name = Cow<'static, str>;

pub(crate) fn version(version: Version) -> &'static str {
    match version {
        Version::V31 => "3.1",
        Version::V311 => "3.1.1",
        Version::V5 => "5.0",
    }
}

/// Names of all kinds.
#[pyfunction]
pub(crate) fn event_names() -> Vec<&'static str> {
    EventKind::ALL.iter().map(|kind| kind.name()).collect()
}

/// The set of some kinds of events, by the names that `Event.name` uses.
pub(crate) fn mask(names: &[String]) -> PyResult<EventMask> {
    let kind = |name: &String| {
        let kind = EventKind::from_name(name).ok_or_else(|| {
            let known = event_names().join(", ");
            PyValueError::new_err(format!("event: {name:?} is not one of {known}"))
        });
        kind.map(EventMask::of)
    };

    (names.iter().map(kind)).try_fold(EventMask::NONE, |all, kind| Ok(all.union(kind?)))
}

impl Event {
    pub(crate) fn seen(py: Python<'_>, observed: &Observed) -> PyResult<Self> {
        let event = &observed.event;
        let at = std::time::Duration::from_millis(observed.at.0).as_secs_f64();
        let message = match event {
            Native::Published { message, .. } => {
                let parts = message.parts(observed.at);
                let seen = Message::seen(&parts, message.origin().client_id(), at);
                Some(Py::new(py, seen)?)
            }
            _ => None,
        };

        Ok(Self {
            name: event.kind().name().into(),
            at,
            client_id: event.client_id().map(str::to_owned),
            topic: event.topic().map(str::to_owned),
            reason: event.reason().map(Name::from),
            reason_code: event.code().map(|code| code as u8),
            detail: detail(event),
            qos: event.qos().map(|qos| qos as u8),
            matched: event.matched(),
            username: event.username().map(str::to_owned),
            peer: event.peer().map(str::to_owned),
            version: event.version().map(|it| version(it).into()),
            session_present: event.session_present(),
            connection: event.connection(),
            session: event.session(),
            message,
            number: Some(observed.number),
            message_number: event.message_number(),
        })
    }
}

/// The reason in words.
fn detail(event: &Native) -> Option<String> {
    if let Some(given) = event.given_code() {
        return Some(format!("in place of {given}"));
    }

    let ended = event.disconnect_reason().map(DisconnectReason::detail);
    let said = ended.unwrap_or_else(|| event.code().map(ReasonCode::name));
    event.text().or(said).map(str::to_owned)
}

impl Event {
    /// What is set besides the name, as keyword arguments.
    fn keywords<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let keywords = PyDict::new(py);
        keywords.set_item("at", self.at)?;
        macro_rules! copy {
            ($($field:ident),* $(,)?) => {
                $(if let Some(value) = &self.$field {
                    keywords.set_item(stringify!($field), value)?;
                })*
            };
        }
        copy!(
            client_id,
            topic,
            reason,
            reason_code,
            detail,
            qos,
            matched,
            username,
            peer,
            version,
            session_present,
            connection,
            session,
            message,
            number,
            message_number,
        );

        Ok(keywords)
    }
}

#[pymethods]
impl Event {
    #[new]
    #[pyo3(signature = (name, *, at=0.0, client_id=None, topic=None, reason=None, reason_code=None, detail=None, qos=None, matched=None, username=None, peer=None, version=None, session_present=None, connection=None, session=None, message=None, number=None, message_number=None))]
    #[allow(clippy::too_many_arguments)] // keywords
    fn new(
        name: String,
        at: f64,
        client_id: Option<String>,
        topic: Option<String>,
        reason: Option<String>,
        reason_code: Option<u8>,
        detail: Option<String>,
        qos: Option<u8>,
        matched: Option<usize>,
        username: Option<String>,
        peer: Option<String>,
        version: Option<String>,
        session_present: Option<bool>,
        connection: Option<u64>,
        session: Option<u64>,
        message: Option<Py<Message>>,
        number: Option<u64>,
        message_number: Option<u64>,
    ) -> Self {
        Self {
            name: name.into(),
            at,
            client_id,
            topic,
            reason: reason.map(Name::from),
            reason_code,
            detail,
            qos,
            matched,

            username,
            peer,
            version: version.map(Name::from),
            session_present,
            connection,
            session,
            message,
            number,
            message_number,
        }
    }

    fn __eq__(&self, py: Python<'_>, other: &Self) -> PyResult<bool> {
        Ok(self.name == other.name && self.keywords(py)?.eq(other.keywords(py)?)?)
    }

    fn __hash__(&self) -> u64 {
        let mut hasher = DefaultHasher::new();
        let Self {
            name,
            at,
            client_id,
            topic,
            ..
        } = self;
        (name, at.to_bits(), client_id, topic).hash(&mut hasher);
        hasher.finish()
    }

    fn __reduce__<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyTuple>> {
        let partial = py.import("functools")?.getattr("partial")?;
        let make = partial.call((py.get_type::<Self>(),), Some(&self.keywords(py)?))?;
        (make, (&*self.name,)).into_pyobject(py)
    }

    /// One line for people: milliseconds, kind, client, address, reason, connection and session.
    fn __str__(&self, py: Python<'_>) -> PyResult<String> {
        let mut line = format!("{:8.0} ms  {:<17}", self.at * 1000.0, self.name);
        let mut add = |text: std::fmt::Arguments<'_>| {
            // Writing into a string does not fail.
            let _ = write!(line, " {text}");
        };

        match (&self.client_id, &*self.name) {
            (Some(client_id), _) => add(format_args!("{client_id:?}")),
            (None, "published") => add(format_args!("(host)")),
            (None, _) => {}
        }

        if let Some(topic) = &self.topic {
            add(format_args!("{topic:?}"));
        }

        if let Some(message) = &self.message {
            let payload = message.bind(py).getattr("payload")?;
            let shown: String = payload.repr()?.to_string().chars().take(120).collect();
            add(format_args!("{shown}"));
        }

        if let Some(version) = &self.version {
            add(format_args!("MQTT {version}"));
        }
        if let Some(username) = &self.username {
            add(format_args!("as {username:?}"));
        }
        if let Some(peer) = &self.peer {
            add(format_args!("from {peer}"));
        }
        if self.session_present == Some(true) {
            add(format_args!("session present"));
        }
        if let Some(qos) = self.qos {
            add(format_args!("qos={qos}"));
        }

        if let Some(matched) = self.matched {
            add(format_args!("matched={matched}"));
        }
        if let Some(reason) = &self.reason {
            add(format_args!("{reason}"));
        }
        if let Some(code) = self.reason_code {
            add(format_args!("0x{code:02x}"));
        }
        if let Some(detail) = &self.detail {
            add(format_args!("({detail})"));
        }
        if let Some(connection) = self.connection {
            add(format_args!("connection={connection}"));
        }
        if let Some(session) = self.session {
            add(format_args!("session={session}"));
        }

        Ok(line)
    }

    fn __repr__(&self, py: Python<'_>) -> PyResult<String> {
        Ok(format!("<Event {}>", self.__str__(py)?.trim_start()))
    }
}
