//! The arguments of a publish: reading, checking, and the ownership of the payload.

use std::cell::Cell;
use std::ffi::{c_char, c_void};
use std::mem::ManuallyDrop;
use std::sync::Arc;

use broker::{Broker, MessageRef, OwnedMessage, Property, QoS};
use bytes::Bytes;

use crate::callback::{User, midge_free_fn};
use crate::ffi::{self, midge_bytes};
use crate::status::Fault;

/// A message to be published. Begin with MIDGE_PUBLISH_ARGS_INIT.
/// @since 0.1
#[repr(C)]
#[derive(Clone, Copy)]
pub struct midge_publish_args {
    /// sizeof(midge_publish_args).
    pub struct_size: u32,
    /// 0, 1 or 2.
    pub qos: u8,
    /// 1 to retain it.
    pub retain: u8,
    /// 1 if the payload is UTF-8 and receivers should know.
    pub payload_utf8: u8,
    /// 0.
    pub reserved: u8,
    /// Topic name: UTF-8.
    pub topic: *const c_char,
    /// Payload; may be NULL if payload_len is 0.
    pub payload: *const c_void,
    /// Bytes of the payload.
    pub payload_len: usize,
    /// NULL: the payload is copied. Else the library owns the payload once the call has returned
    /// MIDGE_OK, and calls this with payload_user exactly once, on any thread, when it does not
    /// need it any more, which may be before the call returns. If the call fails the payload stays
    /// the caller's.
    pub payload_free: midge_free_fn,
    /// For payload_free.
    pub payload_user: *mut c_void,
    /// Seconds until the message expires; 0 for never.
    pub message_expiry_s: u32,
    /// 0.
    pub reserved2: u32,
    /// Response topic, or NULL.
    pub response_topic: *const c_char,
    /// Content type, or NULL.
    pub content_type: *const c_char,
    /// Correlation data, or {NULL, 0}.
    pub correlation_data: midge_bytes,
    /// User properties: key, value, key, value, ...; or NULL.
    pub user_props: *const midge_bytes,
    /// Number of elements of user_props, twice the number of properties.
    pub user_props_len: usize,
    /// Bytes of the topic; 0 if it is NUL-terminated.
    pub topic_len: usize,
    /// Bytes of the response topic; 0 if it is NUL-terminated.
    pub response_topic_len: usize,
    /// Bytes of the content type; 0 if it is NUL-terminated.
    pub content_type_len: usize,
}

/// The first version up to and with the payload: a shorter structure makes no message.
const LEAST: usize = std::mem::offset_of!(midge_publish_args, payload_free);

/// Arguments that have been read and checked. Their pointers are the host's.
pub(crate) struct Args<'a> {
    raw: midge_publish_args,
    topic: &'a str,
    qos: QoS,
    payload: &'a [u8],
}

/// Reads the arguments of a publish.
///
/// # Safety
/// `args` is NULL, or a structure of its `struct_size` whose pointers are valid for `'a`.
pub(crate) unsafe fn read_args<'a>(args: *const midge_publish_args) -> Result<Args<'a>, Fault> {
    // SAFETY: as the caller promises; all zero is valid for it.
    let raw = unsafe { ffi::read_struct(args, LEAST, "args") }?;
    // SAFETY: as the caller promises.
    let (topic, payload) = unsafe {
        (
            ffi::text_of(raw.topic, length(raw.topic_len), "args.topic")?,
            ffi::bytes(raw.payload, raw.payload_len, "args.payload")?,
        )
    };
    let qos = qos(raw.qos, "args.qos")?;
    Ok(Args {
        raw,
        topic,
        qos,
        payload,
    })
}

/// A length in a structure, where 0 is what an older one has.
pub(crate) fn length(len: usize) -> Option<usize> {
    (len > 0).then_some(len)
}

pub(crate) fn qos(number: u8, name: &str) -> Result<QoS, Fault> {
    QoS::from_u8(number).ok_or_else(|| Fault::invalid(format!("{name} is {number}, not 0, 1 or 2")))
}

/// A payload, copied or given away.
pub(crate) enum Payload<'a> {
    Copied(&'a [u8]),
    Given(Given),
}

impl<'a> Args<'a> {
    pub(crate) fn payload(&self) -> Payload<'a> {
        if self.raw.payload_free.is_none() {
            return Payload::Copied(self.payload);
        }
        Payload::Given(Given {
            user: User::new(self.raw.payload_user, self.raw.payload_free),
            ptr: self.payload.as_ptr(),
            len: self.payload.len(),
        })
    }

    /// Everything but the payload.
    pub(crate) fn to_message(&self) -> Result<OwnedMessage, Fault> {
        let raw = &self.raw;
        let mut message = OwnedMessage::new(self.topic, Bytes::new());
        message.qos = self.qos;
        message.retain = raw.retain != 0;
        message.expiry = (raw.message_expiry_s > 0).then_some(raw.message_expiry_s);

        let mut add = |property: Property<'_>, name: &str| {
            message
                .properties
                .push(property)
                .map(drop)
                .map_err(|_| Fault::invalid(format!("{name} is not valid or too long")))
        };

        if raw.payload_utf8 != 0 {
            add(Property::PayloadFormatIndicator(1), "args.payload_utf8")?;
        }

        // SAFETY: `read_args` was told that what the arguments point to is valid.
        unsafe {
            if !raw.response_topic.is_null() {
                let (len, name) = (length(raw.response_topic_len), "args.response_topic");
                let text = ffi::text_of(raw.response_topic, len, name)?;
                add(Property::ResponseTopic(text), name)?;
            }
            if !raw.content_type.is_null() {
                let (len, name) = (length(raw.content_type_len), "args.content_type");
                let text = ffi::text_of(raw.content_type, len, name)?;
                add(Property::ContentType(text), name)?;
            }
            let data = raw.correlation_data;
            let data = ffi::bytes(data.ptr.cast(), data.len, "args.correlation_data")?;
            if !data.is_empty() {
                add(Property::CorrelationData(data), "args.correlation_data")?;
            }
            for (key, value) in user_properties(raw)? {
                add(Property::UserProperty(key, value), "args.user_props")?;
            }
        }

        Ok(message)
    }
}

/// The pairs of a list of keys and values.
///
/// # Safety
/// The pointers of the arguments are valid for `'a`.
unsafe fn user_properties<'a>(raw: &midge_publish_args) -> Result<Vec<(&'a str, &'a str)>, Fault> {
    let count = raw.user_props_len;
    if count == 0 {
        return Ok(Vec::new());
    }
    if raw.user_props.is_null() || !raw.user_props.is_aligned() {
        return Err(Fault::invalid("args.user_props is NULL or not aligned"));
    }
    if !count.is_multiple_of(2) || count > 65_536 {
        return Err(Fault::invalid("args.user_props_len is odd or too large"));
    }

    // SAFETY: not NULL and aligned; that many elements, as the caller promises.
    let list = unsafe { std::slice::from_raw_parts(raw.user_props, count) };
    let text = |bytes: &midge_bytes| {
        // SAFETY: as the caller promises.
        let bytes = unsafe { ffi::bytes(bytes.ptr.cast(), bytes.len, "args.user_props") }?;
        std::str::from_utf8(bytes).map_err(|_| Fault::invalid("args.user_props is not UTF-8"))
    };

    list.chunks_exact(2)
        .map(|pair| Ok((text(&pair[0])?, text(&pair[1])?)))
        .collect()
}

/// A payload that the host gives away.
pub(crate) struct Given {
    user: Arc<User>,
    ptr: *const u8,
    len: usize,
}

// SAFETY: the contract says that the payload may be read and freed on any thread.
unsafe impl Send for Given {}

impl AsRef<[u8]> for Given {
    fn as_ref(&self) -> &[u8] {
        if self.len == 0 {
            return &[];
        }
        // SAFETY: the host keeps these bytes as they are until it is told to free them.
        unsafe { std::slice::from_raw_parts(self.ptr, self.len) }
    }
}

impl Given {
    /// The library owns it from now on.
    pub(crate) fn keep(self) -> (Bytes, Arc<User>) {
        let user = self.user.clone();
        (Bytes::from_owner(self), user)
    }

    /// Tries something with it; the library owns it only if that works.
    pub(crate) fn try_with<T>(
        self,
        broker: &Broker,
        attempt: impl FnOnce(&Bytes) -> Result<T, Fault>,
    ) -> Result<T, Fault> {
        self.user.lend(broker.later());

        // Not dropped if the attempt panics: the payload is the host's then.
        let user = ManuallyDrop::new(self.user.clone());
        let bytes = Bytes::from_owner(self);
        let _lent = Lent::begin();
        let result = attempt(&bytes);
        drop(bytes);

        let user = ManuallyDrop::into_inner(user);
        match &result {
            Ok(_) => drop(user),
            // No copy of it is left: callbacks get copies while it is only lent.
            Err(_) => User::disown(user),
        }

        result
    }
}

thread_local! {
    static LENT: Cell<u32> = const { Cell::new(0) };
}

/// While it lives, the payload under way on this thread may still go back to the host.
struct Lent;

impl Lent {
    fn begin() -> Self {
        LENT.set(LENT.get() + 1);
        Self
    }

    fn is_under_way() -> bool {
        LENT.get() > 0
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        LENT.set(LENT.get() - 1);
    }
}

/// A message for a callback of the host, which may keep it.
pub(crate) fn message_for_callback(message: &MessageRef<'_>) -> Result<OwnedMessage, Fault> {
    if !Lent::is_under_way() {
        return Ok(OwnedMessage::from(message));
    }
    let payload = Bytes::from(ffi::copy(message.payload, "payload")?);
    let mut copied = *message;
    (copied.payload, copied.backing) = (&payload, Some(&payload));
    Ok(OwnedMessage::from(&copied))
}
