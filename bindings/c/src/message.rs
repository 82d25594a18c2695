//! Messages: immutable, counted references.

use std::cell::RefCell;
use std::ffi::{CString, c_char};
use std::sync::{Arc, OnceLock};

use broker::{Origin, OwnedMessage, Properties, Property, SharedMessage, Tick};
use bytes::Bytes;

use crate::args::{Payload, midge_publish_args, read_args};
use crate::callback::User;
use crate::ffi::{self, enter, midge_bytes};
use crate::process;
use crate::status::midge_status;

/// A message: immutable, counted. A reference may be read on any thread.
pub struct midge_message {
    body: Body,
    /// Owner of the payload, if the host gave it away.
    given: Option<Arc<User>>,
    /// As the engine takes it, once it was published.
    prepared: OnceLock<Option<SharedMessage>>,
    /// The topic with a NUL, once it was asked for.
    text: OnceLock<CString>,
}

/// Messages for events that are not in use, kept per thread.
const POOLED: usize = 64;

thread_local! {
    static POOL: RefCell<Vec<Arc<midge_message>>> = const { RefCell::new(Vec::new()) };
}

/// For [`crate::prepare::thread`].
pub(crate) fn prepare_thread() {
    let _ = POOL.try_with(|_| ());
}

enum Body {
    /// In the pool.
    Empty,
    Received(broker::Message),
    Stored(SharedMessage),
    Owned(Box<OwnedMessage>, Origin),
}

/// From a client, by PUBLISH or through midge_client_publish().
pub const MIDGE_ORIGIN_CLIENT: u32 = 0;
/// From the program that the broker lives in.
pub const MIDGE_ORIGIN_HOST: u32 = 1;
/// The will of a client.
pub const MIDGE_ORIGIN_WILL: u32 = 2;
/// From the broker itself: the $SYS topics.
pub const MIDGE_ORIGIN_BROKER: u32 = 3;
/// From a bridge to another broker.
pub const MIDGE_ORIGIN_BRIDGE: u32 = 4;

impl midge_message {
    pub(crate) fn received(message: broker::Message) -> Arc<Self> {
        let pooled = POOL.try_with(|pool| pool.borrow_mut().pop()).ok().flatten();
        if let Some(mut pooled) = pooled
            && let Some(free) = Arc::get_mut(&mut pooled)
        {
            free.body = Body::Received(message);
            return pooled;
        }
        Self::new(Body::Received(message), None)
    }

    fn new(body: Body, given: Option<Arc<User>>) -> Arc<Self> {
        Arc::new(Self {
            body,
            given,
            prepared: OnceLock::new(),
            text: OnceLock::new(),
        })
    }

    /// Lets go of a reference. The last one to a received message leaves its memory to the thread.
    pub(crate) fn release(mut message: Arc<Self>) {
        if let Some(free) = Arc::get_mut(&mut message)
            && let Body::Received(_) = free.body
        {
            free.body = Body::Empty;
            free.prepared = OnceLock::new();
            free.text = OnceLock::new();
            let _ = POOL.try_with(|pool| {
                let mut pool = pool.borrow_mut();
                if pool.len() < POOLED {
                    pool.push(message);
                }
            });
        }
    }

    /// The message as the engine takes it again and again, without a copy; `None` if it expires.
    pub(crate) fn prepared(&self, broker: &broker::Broker) -> Option<&SharedMessage> {
        match &self.body {
            Body::Received(message) if message.kept().expires() == Tick::NEVER => {
                Some(message.kept())
            }
            Body::Stored(message) if message.expires() == Tick::NEVER => Some(message),
            Body::Owned(message, _) if message.expiry.is_none() => {
                if let Some(given) = &self.given {
                    given.lend(broker.later());
                }
                self.prepared.get_or_init(|| message.prepare()).as_ref()
            }
            _ => None,
        }
    }

    pub(crate) fn stored(message: SharedMessage) -> Arc<Self> {
        Self::new(Body::Stored(message), None)
    }

    pub(crate) fn owned(message: OwnedMessage, origin: Origin) -> Arc<Self> {
        Self::new(Body::Owned(Box::new(message), origin), None)
    }

    /// An owned copy for the engine of a broker.
    pub(crate) fn lend(&self, later: Option<&broker::Later>) -> OwnedMessage {
        let mut copy = self.to_owned_message();
        match (&self.given, later) {
            (Some(given), Some(later)) => given.lend(later.clone()),
            (Some(_), None) => copy.payload = Bytes::copy_from_slice(&copy.payload),
            (None, _) => {}
        }
        copy
    }

    pub(crate) fn to_owned_message(&self) -> OwnedMessage {
        if let Body::Owned(message, _) = &self.body {
            return (**message).clone();
        }
        let mut copy = OwnedMessage::new(self.topic(), self.payload_bytes());
        copy.qos = self.qos();
        copy.retain = self.retain();
        copy.expiry = self.expiry();
        for property in self.properties().iter() {
            // It was valid in the message, so it is here.
            let _ = copy.properties.push(property);
        }
        copy
    }

    pub(crate) fn topic(&self) -> &str {
        match &self.body {
            Body::Empty => "",
            Body::Received(message) => message.topic(),
            Body::Stored(message) => message.topic(),
            Body::Owned(message, _) => &message.topic,
        }
    }

    fn payload(&self) -> &[u8] {
        match &self.body {
            Body::Empty => &[],
            Body::Received(message) => message.payload(),
            Body::Stored(message) => message.payload(),
            Body::Owned(message, _) => &message.payload,
        }
    }

    fn payload_bytes(&self) -> Bytes {
        match &self.body {
            Body::Empty => Bytes::new(),
            Body::Received(message) => message.payload_bytes(),
            Body::Stored(message) => message.payload_bytes(),
            Body::Owned(message, _) => message.payload.clone(),
        }
    }

    fn qos(&self) -> broker::QoS {
        match &self.body {
            Body::Empty => broker::QoS::AtMostOnce,
            Body::Received(message) => message.qos(),
            Body::Stored(message) => message.qos(),
            Body::Owned(message, _) => message.qos,
        }
    }

    fn retain(&self) -> bool {
        match &self.body {
            Body::Empty => false,
            Body::Received(message) => message.retain(),
            Body::Stored(message) => message.retain(),
            Body::Owned(message, _) => message.retain,
        }
    }

    fn published_retained(&self) -> bool {
        match &self.body {
            Body::Received(message) => message.published_retained(),
            _ => self.retain(),
        }
    }

    fn expiry(&self) -> Option<u32> {
        match &self.body {
            Body::Empty => None,
            Body::Received(message) => message.message_expiry(),
            Body::Stored(_) => None,
            Body::Owned(message, _) => message.expiry,
        }
    }

    fn properties(&self) -> Properties<'_> {
        match &self.body {
            Body::Empty => Properties::EMPTY,
            Body::Received(message) => message.properties(),
            Body::Stored(message) => message.properties(),
            Body::Owned(message, _) => message.properties.as_properties(),
        }
    }

    pub(crate) fn origin(&self) -> (u32, &str) {
        let origin = match &self.body {
            Body::Empty => &Origin::Host,
            Body::Received(message) => message.origin(),
            Body::Stored(message) => message.origin(),
            Body::Owned(_, origin) => origin,
        };
        match origin {
            Origin::Client(id) => (MIDGE_ORIGIN_CLIENT, id),
            Origin::Host => (MIDGE_ORIGIN_HOST, ""),
            Origin::Will(id) => (MIDGE_ORIGIN_WILL, id),
            Origin::Bridge(name) => (MIDGE_ORIGIN_BRIDGE, name),
            // The broker itself, or what this version of the header has no name for.
            _ => (MIDGE_ORIGIN_BROKER, ""),
        }
    }
}

/// A property as C reads it.
struct Found<'a> {
    key: &'a [u8],
    value: &'a [u8],
    number: u64,
}

impl<'a> Found<'a> {
    fn number(number: impl Into<u64>) -> Self {
        Self {
            key: &[],
            value: &[],
            number: number.into(),
        }
    }

    fn value(value: &'a [u8]) -> Self {
        Self {
            key: &[],
            value,
            number: 0,
        }
    }
}

fn property<'a>(message: &'a midge_message, id: u8, index: u32) -> Option<Found<'a>> {
    if id == MIDGE_PROP_MESSAGE_EXPIRY {
        return (index == 0)
            .then(|| message.expiry().map(Found::number))
            .flatten();
    }

    let matching = |property| match (id, property) {
        (MIDGE_PROP_PAYLOAD_FORMAT, Property::PayloadFormatIndicator(is)) => {
            Some(Found::number(is))
        }
        (MIDGE_PROP_CONTENT_TYPE, Property::ContentType(text))
        | (MIDGE_PROP_RESPONSE_TOPIC, Property::ResponseTopic(text)) => {
            Some(Found::value(text.as_bytes()))
        }
        (MIDGE_PROP_CORRELATION_DATA, Property::CorrelationData(data)) => Some(Found::value(data)),
        (MIDGE_PROP_USER, Property::UserProperty(key, value)) => Some(Found {
            key: key.as_bytes(),
            value: value.as_bytes(),
            number: 0,
        }),
        _ => None,
    };

    let mut all = message.properties().iter().filter_map(matching);
    all.nth(index as usize)
}

/// Payload Format Indicator, a number: 1 if the payload is UTF-8.
pub const MIDGE_PROP_PAYLOAD_FORMAT: u8 = 0x01;
/// Message Expiry Interval, a number: the seconds that were left when the message was handed over.
pub const MIDGE_PROP_MESSAGE_EXPIRY: u8 = 0x02;
/// Content Type, a text.
pub const MIDGE_PROP_CONTENT_TYPE: u8 = 0x03;
/// Response Topic, a text.
pub const MIDGE_PROP_RESPONSE_TOPIC: u8 = 0x08;
/// Correlation Data, bytes.
pub const MIDGE_PROP_CORRELATION_DATA: u8 = 0x09;
/// User Property, key and value; there may be many.
pub const MIDGE_PROP_USER: u8 = 0x26;

/// Makes a message: for midge_publish_message(), or for a publish callback to put in place of
/// another.
///
/// @param args  as for midge_publish_ex()
/// @param out   receives the message; free it with midge_message_unref()
/// @return as midge_publish_ex(); the payload stays the caller's unless it is MIDGE_OK
/// @since 0.1
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn midge_message_new(
    args: *const midge_publish_args,
    out: *mut *mut midge_message,
) -> midge_status {
    enter(|| {
        ffi::not_null(out, "out")?;

        // SAFETY: the host's structure, with what it points to, or NULL.
        let args = unsafe { read_args(args) }?;
        let mut message = args.to_message()?;
        let mut given = None;

        message.payload = match args.payload() {
            Payload::Copied(bytes) => Bytes::from(ffi::copy(bytes, "args.payload")?),
            Payload::Given(payload) => {
                let (payload, user) = payload.keep();
                given = Some(user);
                payload
            }
        };

        let body = Body::Owned(Box::new(message), Origin::Host);
        let message = Arc::into_raw(midge_message::new(body, given));
        // SAFETY: not NULL, so writable.
        unsafe { ffi::write(out, message.cast_mut()) };
        Ok(())
    })
}

/// Takes another reference. Gives the same pointer; NULL gives NULL.
/// @since 0.1
#[unsafe(no_mangle)]
pub unsafe extern "C" fn midge_message_ref(m: *const midge_message) -> *const midge_message {
    if !m.is_null() {
        // SAFETY: not NULL, so a message of this library that is alive.
        unsafe { Arc::increment_strong_count(m) };
    }
    m
}

/// Gives a reference back. NULL is nothing; in a forked child the message is leaked.
/// @since 0.1
#[unsafe(no_mangle)]
pub unsafe extern "C" fn midge_message_unref(m: *const midge_message) {
    if !m.is_null() && !process::is_forked_child() {
        enter(|| {
            // SAFETY: the host gives back a reference that it has.
            midge_message::release(unsafe { Arc::from_raw(m) });
            Ok(())
        });
    }
}

/// Topic name, UTF-8. Valid as long as the reference. NULL gives an empty one.
/// @since 0.1
#[unsafe(no_mangle)]
pub unsafe extern "C" fn midge_message_topic(m: *const midge_message) -> midge_bytes {
    // SAFETY: NULL, or a message that is alive.
    unsafe { m.as_ref() }.map_or(midge_bytes::EMPTY, |m| midge_bytes::of(m.topic()))
}

/// Topic name as a NUL-terminated text, which no topic name has a NUL in. Made when it is first asked
/// for; valid as long as the reference. NULL gives an empty one.
/// @since 0.1
#[unsafe(no_mangle)]
pub unsafe extern "C" fn midge_message_topic_text(m: *const midge_message) -> *const c_char {
    // SAFETY: NULL, or a message that is alive.
    let message = unsafe { m.as_ref() };
    message.map_or(c"".as_ptr(), |message| {
        let text = || CString::new(message.topic()).unwrap_or_default();
        message.text.get_or_init(text).as_ptr()
    })
}

/// Payload. Valid as long as the reference. NULL gives an empty one.
/// @since 0.1
#[unsafe(no_mangle)]
pub unsafe extern "C" fn midge_message_payload(m: *const midge_message) -> midge_bytes {
    // SAFETY: NULL, or a message that is alive.
    unsafe { m.as_ref() }.map_or(midge_bytes::EMPTY, |m| midge_bytes::of(m.payload()))
}

/// QoS of this delivery in bits 0 and 1; RETAIN in bit 2 (the message was retained before the
/// subscription was made); in bit 3 whether its publisher asked to retain it. NULL gives 0.
/// @since 0.1
#[unsafe(no_mangle)]
pub unsafe extern "C" fn midge_message_flags(m: *const midge_message) -> u32 {
    // SAFETY: NULL, or a message that is alive.
    unsafe { m.as_ref() }.map_or(0, |m| {
        let published = u32::from(m.published_retained()) << 3;
        u32::from(m.qos() as u8) | u32::from(m.retain()) << 2 | published
    })
}

/// Where a message came from, a MIDGE_ORIGIN_* number. NULL gives MIDGE_ORIGIN_HOST.
///
/// @param client_id  may be NULL; receives the client identifier, or the name of the bridge; valid
///                   as long as the reference
/// @since 0.1
#[unsafe(no_mangle)]
pub unsafe extern "C" fn midge_message_origin(
    m: *const midge_message,
    client_id: *mut midge_bytes,
) -> u32 {
    // SAFETY: NULL, or a message that is alive.
    let (origin, id) = unsafe { m.as_ref() }.map_or((MIDGE_ORIGIN_HOST, ""), midge_message::origin);
    // SAFETY: the host's variable, or NULL.
    unsafe { ffi::write(client_id, midge_bytes::of(id)) };
    origin
}

/// A property of a message.
///
/// @param id     a MIDGE_PROP_* number, as in MQTT 5.0
/// @param index  0 for the first one, 1 for the second user property, ...
/// @param key    may be NULL; receives the key of a user property
/// @param val    may be NULL; receives a text or bytes
/// @param num    may be NULL; receives a number
/// @return whether there is one; the results are written only then. They are valid as long as the
///         reference.
/// @since 0.1
#[unsafe(no_mangle)]
pub unsafe extern "C" fn midge_message_prop(
    m: *const midge_message,
    id: u8,
    index: u32,
    key: *mut midge_bytes,
    val: *mut midge_bytes,
    num: *mut u64,
) -> bool {
    // SAFETY: NULL, or a message that is alive.
    let found = unsafe { m.as_ref() }.and_then(|m| property(m, id, index));
    let Some(found) = found else { return false };
    // SAFETY: the host's variables, or NULL.
    unsafe {
        ffi::write(key, midge_bytes::of(found.key));
        ffi::write(val, midge_bytes::of(found.value));
        ffi::write(num, found.number);
    }
    true
}
