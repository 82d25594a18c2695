//! Receipts: the outcome of a message that the host has published, at each session and as a whole.

use std::ffi::c_char;
use std::future::Future;
use std::pin::pin;
use std::sync::{Arc, Weak};
use std::task::{Context, Waker};
use std::time::{Duration, Instant};

use broker::{Outcome, Property, Receipt, SendError};
use bytes::Bytes;

use crate::args::{Args, Payload, midge_publish_args, read_args};
use crate::broker_handle::{BROKERS, BrokerObject, midge_broker};
use crate::client::{CLIENTS, midge_client};
use crate::ffi::{self, enter, midge_bytes};
use crate::publish;
use crate::status::{
    Fault, MIDGE_E_CLOSED, MIDGE_E_NOT_FOUND, MIDGE_E_STATE, MIDGE_E_TIMEOUT, midge_status,
};
use crate::table::Table;
use crate::waiting::{Signal, Waiting};

/// The outcome of a message. A number, not a pointer: a stale one gives MIDGE_E_CLOSED. {0} is the
/// null handle. It holds the client identifiers of the receivers.
/// @since 0.1
#[repr(C)]
#[derive(Clone, Copy)]
pub struct midge_receipt {
    /// The number.
    pub id: u64,
}

static RECEIPTS: Table<ReceiptObject> = Table::new("receipt", 5);

struct ReceiptObject {
    receipt: Receipt,
    broker: Weak<BrokerObject>,
    /// Threads that wait; freeing the handle wakes them.
    waiting: Waiting,
}

impl ReceiptObject {
    fn wait(&self, id: u64, timeout: Option<Duration>) -> Result<(), Fault> {
        if self.receipt.is_acknowledged() {
            return Ok(());
        }
        let deadline = timeout.and_then(|timeout| Instant::now().checked_add(timeout));
        let broker = self.broker.upgrade();
        let signal = Signal::here(broker.as_ref().and_then(|broker| broker.poller.as_ref()));
        self.waiting.join(&signal);
        if let Some(broker) = &broker {
            broker.receipts.join(&signal);
        }
        let result = self.wait_with(id, broker.as_ref(), &signal, deadline);
        self.waiting.leave(&signal);
        if let Some(broker) = &broker {
            broker.receipts.leave(&signal);
        }
        result
    }

    fn wait_with(
        &self,
        id: u64,
        broker: Option<&Arc<BrokerObject>>,
        signal: &Arc<Signal>,
        deadline: Option<Instant>,
    ) -> Result<(), Fault> {
        let waker = Waker::from(signal.clone());
        let mut done = pin!(self.receipt.acknowledged());

        loop {
            let poll = done.as_mut().poll(&mut Context::from_waker(&waker));
            if poll.is_ready() {
                return Ok(());
            }
            if RECEIPTS.find(id).is_err() {
                let what = "the receipt was freed meanwhile";
                return Err(Fault::new(MIDGE_E_CLOSED, what));
            }
            if broker.is_none_or(|broker| broker.has_ended()) {
                let what = "the broker has stopped before all receivers were done";
                return Err(Fault::new(MIDGE_E_STATE, what));
            }
            if !signal.wait(deadline) {
                let what = "not all receivers were done in time";
                return Err(Fault::new(MIDGE_E_TIMEOUT, what));
            }
        }
    }
}

/// # Safety
/// `out` is writable.
unsafe fn give(out: *mut midge_receipt, object: &Arc<BrokerObject>, receipt: Receipt) {
    let id = RECEIPTS.add(Arc::new(ReceiptObject {
        receipt,
        broker: Arc::downgrade(object),
        waiting: Waiting::default(),
    }));
    // SAFETY: as the caller promises.
    unsafe { ffi::write(out, midge_receipt { id }) };
}

/// Publishes as midge_publish_ex(), and keeps account of the receivers, which costs some memory for
/// each of them.
///
/// @param out  receives the handle; free it with midge_receipt_free()
/// @return as midge_publish_ex()
/// @since 0.1
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn midge_publish_receipt(
    b: midge_broker,
    args: *const midge_publish_args,
    out: *mut midge_receipt,
) -> midge_status {
    enter(|| {
        ffi::not_null(out, "out")?;
        let object = BROKERS.find(b.id)?;
        // SAFETY: the host's structure, with what it points to, or NULL.
        let args = unsafe { read_args(args) }?;
        let receipt = publish::publish_with(&object, &args, None, true)?;
        // SAFETY: not NULL, so writable.
        unsafe { give(out, &object, receipt) };
        Ok(())
    })
}

/// Publishes as midge_client_publish(), and keeps account of the receivers.
///
/// @param out  receives the handle; free it with midge_receipt_free()
/// @return as midge_publish_ex()
/// @since 0.1
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn midge_client_publish_receipt(
    c: midge_client,
    args: *const midge_publish_args,
    out: *mut midge_receipt,
) -> midge_status {
    enter(|| {
        ffi::not_null(out, "out")?;
        let client = CLIENTS.find(c.id)?;
        let object = client.broker()?;
        // SAFETY: the host's structure, with what it points to, or NULL.
        let args = unsafe { read_args(args) }?;
        let receipt = publish::publish_with(&object, &args, client.client_id(), true)?;
        // SAFETY: not NULL, so writable.
        unsafe { give(out, &object, receipt) };
        Ok(())
    })
}

fn send(
    object: &BrokerObject,
    client_id: &str,
    args: &Args<'_>,
    payload: Bytes,
) -> Result<Receipt, Fault> {
    let message = args.to_message()?;
    let mut outgoing = object
        .broker
        .message(&*message.topic)
        .payload(payload)
        .qos(message.qos)
        .retain(message.retain);

    if let Some(seconds) = message.expiry {
        outgoing = outgoing.message_expiry(Duration::from_secs(seconds.into()));
    }

    for property in message.properties.as_properties().iter() {
        outgoing = match property {
            Property::PayloadFormatIndicator(_) => outgoing.payload_format_utf8(),
            Property::ContentType(text) => outgoing.content_type(text),
            Property::ResponseTopic(topic) => outgoing.response_topic(topic),
            Property::CorrelationData(data) => outgoing.correlation_data(data),
            Property::UserProperty(key, value) => outgoing.user_property(key, value),
            _ => outgoing,
        };
    }

    outgoing.send_to(client_id).map_err(|error| match error {
        SendError::Publish(error) => publish::fault(&error, "args."),
        _ => Fault::new(MIDGE_E_NOT_FOUND, format!("client_id: {error}")),
    })
}

/// Hands a message to one session, whatever that has subscribed to, connected or not.
///
/// @param client_id  client identifier of the session
/// @param args       as for midge_publish_ex()
/// @param out        may be NULL; receives the handle; free it with midge_receipt_free()
/// @return as midge_publish_ex(), and MIDGE_E_NOT_FOUND (there is no such session)
/// @since 0.1
#[unsafe(no_mangle)]
pub unsafe extern "C" fn midge_broker_send(
    b: midge_broker,
    client_id: *const c_char,
    args: *const midge_publish_args,
    out: *mut midge_receipt,
) -> midge_status {
    enter(|| {
        let object = BROKERS.find(b.id)?;
        // SAFETY: the host's string and structure, with what it points to, or NULL.
        let (client_id, args) = unsafe { (ffi::text(client_id, "client_id")?, read_args(args)?) };
        let receipt = match args.payload() {
            Payload::Copied(payload) => send(
                &object,
                client_id,
                &args,
                Bytes::from(ffi::copy(payload, "args.payload")?),
            )?,
            Payload::Given(given) => given.try_with(&object.broker, |payload| {
                send(&object, client_id, &args, payload.clone())
            })?,
        };

        if !out.is_null() {
            // SAFETY: not NULL, so writable.
            unsafe { give(out, &object, receipt) };
        }

        Ok(())
    })
}

/// [blocking unless timeout_ms is 0] Waits until every receiver at QoS 1 or 2 has acknowledged the
/// message, or dropped it, which they do at latest when the broker stops. Several threads may wait.
///
/// @param timeout_ms  milliseconds to wait, 0 not to wait, MIDGE_WAIT_FOREVER without limit
/// @return MIDGE_OK, MIDGE_E_TIMEOUT (not all of them in time), MIDGE_E_STATE (the broker has stopped
///         and a message was kept all the same), MIDGE_E_CLOSED (the receipt was freed), MIDGE_E_REENTRANT, MIDGE_E_INVALID
/// @since 0.1
#[unsafe(no_mangle)]
pub extern "C" fn midge_receipt_wait(r: midge_receipt, timeout_ms: i32) -> midge_status {
    enter(|| {
        if timeout_ms != 0 {
            ffi::may_block("midge_receipt_wait")?;
        }
        RECEIPTS.find(r.id)?.wait(r.id, ffi::timeout(timeout_ms))
    })
}

/// The outcome of a message, in numbers.
/// @since 0.1
#[repr(C)]
#[derive(Clone, Copy)]
pub struct midge_receipt_info {
    /// sizeof(midge_receipt_info), set by the caller.
    pub struct_size: u32,
    /// 1 if no session has a QoS 1 or 2 copy of it to acknowledge any more.
    pub acknowledged: u32,
    /// Receivers that matched: sessions, one member of each shared group, subscriptions of the host.
    pub matched: u64,
    /// Outcomes that can be read with midge_receipt_outcome_at(): one for each session.
    pub outcomes: u64,
    /// Sessions that have written it to their client at once.
    pub sent: u64,
    /// Sessions that had it in their queue when it was published.
    pub queued: u64,
    /// Sessions that did not take it.
    pub dropped: u64,
}

/// The outcome of a message so far.
///
/// @param out  its struct_size must be set; as much as fits is written
/// @return MIDGE_OK, MIDGE_E_INVALID, MIDGE_E_ABI, MIDGE_E_CLOSED
/// @since 0.1
#[unsafe(no_mangle)]
pub unsafe extern "C" fn midge_receipt_state(
    r: midge_receipt,
    out: *mut midge_receipt_info,
) -> midge_status {
    enter(|| {
        ffi::check_out_struct(out, ffi::HEAD, "out")?;

        let object = RECEIPTS.find(r.id)?;
        let outcomes = object.receipt.outcomes();
        let count = |wanted: fn(&Outcome) -> bool| {
            let found = outcomes.iter().filter(|(_, outcome)| wanted(outcome));
            found.count() as u64
        };
        let info = midge_receipt_info {
            struct_size: size_of::<midge_receipt_info>() as u32,
            acknowledged: u32::from(object.receipt.is_acknowledged()),
            matched: object.receipt.matched() as u64,
            outcomes: outcomes.len() as u64,
            sent: count(|outcome| *outcome == Outcome::Sent),
            queued: count(|outcome| *outcome == Outcome::Queued),
            dropped: count(|outcome| matches!(outcome, Outcome::Dropped(_))),
        };
        // SAFETY: checked above.
        unsafe { ffi::write_struct(out, &info, ffi::HEAD, "out") }
    })
}

/// Written towards the client.
pub const MIDGE_OUTCOME_SENT: u32 = 0;
/// Waited in the session's queue.
pub const MIDGE_OUTCOME_QUEUED: u32 = 1;
/// Not taken; reason says why.
pub const MIDGE_OUTCOME_DROPPED: u32 = 2;

/// The outcome of a message at one session.
/// @since 0.1
#[repr(C)]
#[derive(Clone, Copy)]
pub struct midge_receipt_outcome {
    /// sizeof(midge_receipt_outcome), set by the caller.
    pub struct_size: u32,
    /// A MIDGE_OUTCOME_* number.
    pub outcome: u32,
    /// A MIDGE_DROP_* number, with MIDGE_OUTCOME_DROPPED; else 0.
    pub reason: u32,
    /// 0.
    pub reserved: u32,
    /// Client identifier; valid until the receipt is freed.
    pub client_id: midge_bytes,
}

/// The outcome of a message at one session, when it was published.
///
/// @param index  from 0, below midge_receipt_info.outcomes
/// @param out    its struct_size must be set; as much as fits is written
/// @return MIDGE_OK, MIDGE_E_NOT_FOUND (there are not as many), MIDGE_E_INVALID, MIDGE_E_ABI,
///         MIDGE_E_CLOSED
/// @since 0.1
#[unsafe(no_mangle)]
pub unsafe extern "C" fn midge_receipt_outcome_at(
    r: midge_receipt,
    index: usize,
    out: *mut midge_receipt_outcome,
) -> midge_status {
    enter(|| {
        ffi::check_out_struct(out, ffi::HEAD, "out")?;

        let object = RECEIPTS.find(r.id)?;
        let outcomes = object.receipt.outcomes();
        let Some((client_id, outcome)) = outcomes.get(index) else {
            let message = format!("index is {index}; there are {} outcomes", outcomes.len());
            return Err(Fault::new(MIDGE_E_NOT_FOUND, message));
        };
        let (number, reason) = match outcome {
            Outcome::Sent => (MIDGE_OUTCOME_SENT, 0),
            Outcome::Queued => (MIDGE_OUTCOME_QUEUED, 0),
            Outcome::Dropped(reason) => (MIDGE_OUTCOME_DROPPED, *reason as u32),
            // An outcome that this version of the header has no number for.
            _ => (MIDGE_OUTCOME_QUEUED, 0),
        };
        let outcome = midge_receipt_outcome {
            struct_size: size_of::<midge_receipt_outcome>() as u32,
            outcome: number,
            reason,
            reserved: 0,
            client_id: midge_bytes::of(&**client_id),
        };
        // SAFETY: checked above.
        unsafe { ffi::write_struct(out, &outcome, ffi::HEAD, "out") }
    })
}

/// Frees a receipt. Threads that wait for it get MIDGE_E_CLOSED. The null handle is nothing.
/// @return MIDGE_OK, MIDGE_E_CLOSED, MIDGE_E_FORKED
/// @since 0.1
#[unsafe(no_mangle)]
pub extern "C" fn midge_receipt_free(r: midge_receipt) -> midge_status {
    enter(|| {
        if let Some(object) = RECEIPTS.remove(r.id)? {
            object.waiting.wake_all();
        }
        Ok(())
    })
}
