//! Publishing from the host.

use std::ffi::{c_char, c_void};

use broker::{MessageRef, PublishError, Receipt};
use bytes::Bytes;

use crate::args::{self, Args, Payload, midge_publish_args, read_args};
use crate::broker_handle::{BROKERS, BrokerObject, midge_broker};
use crate::ffi::{self, enter, enter_often};
use crate::message::midge_message;
use crate::process::Uncancelled;
use crate::status::{
    Fault, MIDGE_E_DENIED, MIDGE_E_INVALID, MIDGE_E_LIMIT, MIDGE_E_REENTRANT, MIDGE_E_STATE,
    midge_status,
};

/// Payloads from this size on are copied here, where that may fail, and shared by all receivers. The
/// engine copies smaller ones into what it makes anyway.
const COPY_FROM: usize = 8 * 1024;

/// Publishes a message with a payload that the host keeps.
#[inline(always)]
fn publish_copied(
    object: &BrokerObject,
    message: MessageRef<'_>,
    payload: &[u8],
    (client_id, want_outcomes): (Option<&str>, bool),
    at: &str,
) -> Result<Receipt, Fault> {
    let shared;
    // One that lives no longer than the copy.
    let mut message = message;
    (message.payload, message.backing) = (payload, None);

    // A payload larger than a packet is refused in any case.
    if (COPY_FROM..=object.packet_bytes).contains(&payload.len()) {
        shared = Bytes::from(ffi::copy(payload, &format!("{at}payload"))?);
        (message.payload, message.backing) = (&shared, Some(&shared));
    }

    object
        .broker
        .publish_ref_guarded(message, client_id, want_outcomes, Uncancelled::new)
        .map_err(|error| fault(&error, at))
}

/// `at` is what stands before the names of arguments, such as `args.`.
pub(crate) fn fault(error: &PublishError, at: &str) -> Fault {
    let status = match error {
        PublishError::TooLarge => MIDGE_E_LIMIT,
        PublishError::Refused(_) => MIDGE_E_DENIED,
        PublishError::TooDeep => MIDGE_E_REENTRANT,
        PublishError::Stopped => MIDGE_E_STATE,
        _ => MIDGE_E_INVALID,
    };

    if let PublishError::Refused(refusal) = error {
        return Fault {
            reason: refusal.reason as u32,
            ..Fault::new(status, format!("refused by a callback: {refusal}"))
        };
    }

    let message = match error {
        PublishError::InvalidTopic(_) => format!("{at}topic: {error}"),
        PublishError::TooLarge => format!("{at}payload: {error}"),
        PublishError::InvalidProperty(_) => format!("{at}properties: {error}"),
        _ => error.to_string(),
    };

    Fault::new(status, message)
}

/// Publishes, as the host or in the name of a client; the number of receivers.
pub(crate) fn publish(
    object: &BrokerObject,
    args: &Args<'_>,
    client_id: Option<&str>,
) -> Result<usize, Fault> {
    publish_with(object, args, client_id, false).map(|receipt| receipt.matched())
}

/// As [`publish`], with a receipt, which has the outcomes if they are wanted.
pub(crate) fn publish_with(
    object: &BrokerObject,
    args: &Args<'_>,
    client_id: Option<&str>,
    want_outcomes: bool,
) -> Result<Receipt, Fault> {
    let mut message = args.to_message()?;

    match args.payload() {
        Payload::Copied(payload) => {
            let options = (client_id, want_outcomes);
            publish_copied(object, message.parts(), payload, options, "args.")
        }
        Payload::Given(given) => given.try_with(&object.broker, |payload| {
            message.payload = payload.clone();
            let receipt = object
                .broker
                .publish_ref(message.parts(), client_id, want_outcomes)
                .map_err(|error| fault(&error, "args."));
            message.payload = Bytes::new();
            receipt
        }),
    }
}

/// Publishes a message as the host. The payload is copied. It is routed on the calling thread:
/// when this returns, every matching session and queue has it, or a counted drop. Callbacks for
/// publish and access control run on the calling thread, too.
///
/// @param topic    UTF-8, NUL-terminated, without wildcards
/// @param payload  may be NULL if len is 0
/// @return MIDGE_OK, MIDGE_E_INVALID, MIDGE_E_LIMIT (too large), MIDGE_E_NOMEM (for a copy of the
///         payload), MIDGE_E_DENIED (by the publish callback), MIDGE_E_STATE (the broker stops),
///         MIDGE_E_REENTRANT (publishing from publish callbacks without end), MIDGE_E_CLOSED
/// @since 0.1
#[unsafe(no_mangle)]
pub unsafe extern "C" fn midge_publish(
    b: midge_broker,
    topic: *const c_char,
    payload: *const c_void,
    len: usize,
    qos: u8,
    retain: bool,
) -> midge_status {
    // SAFETY: as for this function.
    unsafe { plain(b, (topic, None), (payload, len), qos, retain) }
}

/// Publishes a topic, which ends at a NUL or has its length, with a payload.
///
/// # Safety
/// As for [`midge_publish`].
#[inline(always)]
pub(crate) unsafe fn plain(
    b: midge_broker,
    (topic, topic_len): (*const c_char, Option<usize>),
    (payload, len): (*const c_void, usize),
    qos: u8,
    retain: bool,
) -> midge_status {
    enter_often(|| {
        let object = BROKERS.find(b.id)?;
        // SAFETY: the host's string and bytes, or NULL.
        let (topic, payload) = unsafe {
            (
                ffi::text_of(topic, topic_len, "topic")?,
                ffi::bytes(payload, len, "payload")?,
            )
        };

        let mut message = MessageRef::new(topic, &[]);
        message.qos = args::qos(qos, "qos")?;
        message.retain = retain;
        publish_copied(&object, message, payload, (None, false), "").map(drop)
    })
}

/// Publishes a message that was made with midge_message_new(), or received, as the host. It may be
/// published any number of times, at the same time, too. Queues of the host get the very message that
/// midge_message_new() has made, so that nothing is copied, and once everything has warmed up nothing
/// is allocated; one that was received is made anew, as the host's. The reference stays the caller's.
///
/// @param matched  may be NULL; receives the number of receivers
/// @return as midge_publish()
/// @since 0.1
#[unsafe(no_mangle)]
pub unsafe extern "C" fn midge_publish_message(
    b: midge_broker,
    m: *const midge_message,
    matched: *mut u32,
) -> midge_status {
    enter_often(|| {
        let object = BROKERS.find(b.id)?;
        ffi::not_null(m, "m")?;

        // SAFETY: not NULL, so a message of this library that is alive.
        let message = unsafe { &*m };
        let receipt = match message.prepared(&object.broker) {
            Some(prepared) => (object.broker).publish_prepared_guarded(prepared, Uncancelled::new),
            None => {
                let copy = message.lend(Some(&object.broker.later()));
                (object.broker).publish_ref_guarded(copy.parts(), None, false, Uncancelled::new)
            }
        };
        let receivers = receipt.map_err(|error| fault(&error, "m: "))?.matched();
        // SAFETY: the host's variable, or NULL.
        unsafe { ffi::write(matched, u32::try_from(receivers).unwrap_or(u32::MAX)) };
        Ok(())
    })
}

/// Publishes a message with all that MQTT 5.0 has, and without copying the payload if payload_free
/// is set.
///
/// @param matched  may be NULL; receives the number of receivers
/// @return as midge_publish(), and MIDGE_E_ABI. The payload stays the caller's unless it is
///         MIDGE_OK.
/// @since 0.1
#[unsafe(no_mangle)]
pub unsafe extern "C" fn midge_publish_ex(
    b: midge_broker,
    args: *const midge_publish_args,
    matched: *mut u32,
) -> midge_status {
    enter(|| {
        let object = BROKERS.find(b.id)?;
        // SAFETY: the host's structure, with what it points to, or NULL.
        let args = unsafe { read_args(args) }?;
        let receivers = publish(&object, &args, None)?;
        // SAFETY: the host's variable, or NULL.
        unsafe { ffi::write(matched, u32::try_from(receivers).unwrap_or(u32::MAX)) };
        Ok(())
    })
}
