//! Events as Python sees them.

use std::borrow::Cow;
use std::fmt::Write;
use std::hash::{DefaultHasher, Hash, Hasher};

use midge::{DisconnectReason, Event as Native, Observed, Version};
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

/// The kinds of events by the names that `Event.name` uses.
pub(crate) const KINDS: [(&str, midge::EventMask); 14] = [
    ("connected", midge::EventMask::CLIENT_CONNECTED),
    ("refused", midge::EventMask::CONNECTION_REFUSED),
    ("disconnected", midge::EventMask::CLIENT_DISCONNECTED),
    ("subscribed", midge::EventMask::SUBSCRIBED),
    ("subscribe_refused", midge::EventMask::SUBSCRIBE_REFUSED),
    ("unsubscribed", midge::EventMask::UNSUBSCRIBED),
    ("published", midge::EventMask::PUBLISHED),
    ("delivered", midge::EventMask::DELIVERED),
    ("acknowledged", midge::EventMask::ACKNOWLEDGED),
    ("dropped", midge::EventMask::DROPPED),
    ("expired", midge::EventMask::EXPIRED),
    ("session_ended", midge::EventMask::SESSION_ENDED),
    ("will_sent", midge::EventMask::WILL_SENT),
    ("reason_replaced", midge::EventMask::REASON_REPLACED),
];

/// The set of some kinds of events.
pub(crate) fn mask(names: &[String]) -> PyResult<midge::EventMask> {
    let mut mask = midge::EventMask::NONE;
    for name in names {
        let Some((_, kind)) = KINDS.iter().find(|(known, _)| known == name) else {
            let known: Vec<_> = KINDS.iter().map(|(known, _)| *known).collect();
            let known = known.join(", ");
            return Err(PyValueError::new_err(format!(
                "event: {name:?} is not one of {known}"
            )));
        };
        mask = mask.union(*kind);
    }
    Ok(mask)
}

impl Event {
    fn because(mut self, reason: &DisconnectReason) -> Self {
        self.reason = Some(reason.name().into());
        self.reason_code = reason.code().map(|code| code as u8);
        self.detail = reason.detail().map(str::to_owned);
        self
    }

    pub(crate) fn seen(py: Python<'_>, observed: &Observed) -> PyResult<Self> {
        let at = std::time::Duration::from_millis(observed.at.0).as_secs_f64();
        let named = |name: &'static str, client_id: &str| Self {
            name: name.into(),
            client_id: Some(client_id.to_owned()),
            ..Self::default()
        };

        let on = |name: &'static str, client_id: &str, topic: &str| Self {
            topic: Some(topic.to_owned()),
            ..named(name, client_id)
        };

        let seen = match &observed.event {
            Native::ClientConnected {
                client_id,
                username,
                version,
                peer,
                session_present,
                ..
            } => Self {
                username: username.as_deref().map(str::to_owned),
                peer: Some(peer.to_string()),
                version: Some(self::version(*version).into()),
                session_present: Some(*session_present),
                ..named("connected", client_id)
            },
            Native::ConnectionRefused {
                client_id,
                username,
                peer,
                reason,
                text,
                ..
            } => {
                let refused = Self {
                    username: username.as_deref().map(str::to_owned),
                    peer: Some(peer.to_string()),
                    ..named("refused", client_id)
                }
                .because(reason);
                let text = text.as_deref().map(str::to_owned);
                Self {
                    detail: text.or(refused.detail.clone()),
                    ..refused
                }
            }
            Native::ClientDisconnected {
                client_id, reason, ..
            } => named("disconnected", client_id).because(reason),
            Native::Subscribed {
                client_id,
                filter,
                qos,
                ..
            } => Self {
                qos: Some(*qos as u8),
                ..on("subscribed", client_id, filter)
            },
            Native::SubscribeRefused {
                client_id,
                filter,
                reason,
                ..
            } => Self {
                reason_code: Some(*reason as u8),
                detail: Some(reason.name().to_owned()),
                ..on("subscribe_refused", client_id, filter)
            },
            Native::Unsubscribed {
                client_id, filter, ..
            } => on("unsubscribed", client_id, filter),
            Native::Published {
                message, matched, ..
            } => {
                let origin = message.origin().client_id();
                let seen = Message::seen(&message.parts(observed.at), origin, at);
                Self {
                    client_id: origin.map(str::to_owned),
                    qos: Some(message.qos() as u8),
                    matched: Some(*matched),
                    message: Some(Py::new(py, seen)?),
                    ..on("published", "", message.topic())
                }
            }
            Native::Delivered {
                client_id,
                message,
                qos,
                ..
            } => Self {
                qos: Some(*qos as u8),
                ..on("delivered", client_id, message.topic())
            },
            Native::Acknowledged {
                client_id, message, ..
            } => on("acknowledged", client_id, message.topic()),
            Native::Dropped {
                client_id,
                topic,
                reason,
                ..
            } => Self {
                client_id: client_id.as_deref().map(str::to_owned),
                reason: Some(reason.name().into()),
                ..on("dropped", "", topic)
            },
            Native::RetainedExpired { message, .. } => Self {
                client_id: None,
                ..on("expired", "", message.topic())
            },
            Native::SessionEnded { client_id, .. } => named("session_ended", client_id),
            Native::WillSent {
                client_id, topic, ..
            } => on("will_sent", client_id, topic),
            Native::ReasonReplaced {
                client_id,
                packet,
                given,
                sent,
                ..
            } => Self {
                name: "reason_replaced".into(),
                client_id: client_id.as_deref().map(str::to_owned),
                reason: Some(packet.name().into()),
                reason_code: Some(*sent as u8),
                detail: Some(format!("in place of {given}")),
                ..Self::default()
            },
            other => Self {
                name: "other".into(),
                detail: Some(format!("{other:?}")),
                ..Self::default()
            },
        };

        Ok(Self {
            at,
            connection: observed.event.connection(),
            session: observed.event.session(),
            ..seen
        })
    }
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
        );

        Ok(keywords)
    }
}

#[pymethods]
impl Event {
    #[new]
    #[pyo3(signature = (name, *, at=0.0, client_id=None, topic=None, reason=None, reason_code=None, detail=None, qos=None, matched=None, username=None, peer=None, version=None, session_present=None, connection=None, session=None, message=None))]
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

    /// One line for people: milliseconds, what, who, where, why, and on which connection and session.
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
