//! In-process clients: subscriptions that end in a queue, publishing in a client's name.

use std::collections::HashMap;
use std::ffi::c_char;
use std::sync::{Arc, Weak};

use parking_lot::Mutex;

use crate::args::{self, midge_publish_args, read_args};
use crate::broker_handle::{BROKERS, BrokerObject, midge_broker};
use crate::ffi::{self, enter};
use crate::publish;
use crate::queue::{QUEUES, QueueObject, midge_queue};
use crate::status::{Fault, MIDGE_E_CLOSED, MIDGE_E_INVALID, MIDGE_E_NOT_FOUND, midge_status};
use crate::table::Table;

/// A client inside the process: a name to publish in, and subscriptions that bring messages into a queue.
/// It is no client of MQTT: it has no session, no connection and no events of one, it is not among
/// midge_snapshot_clients(), and midge_stats.clients does not count it. A number, not a pointer: a stale
/// one gives MIDGE_E_CLOSED. {0} is the null handle.
/// @since 0.1
#[repr(C)]
#[derive(Clone, Copy)]
pub struct midge_client {
    /// The number.
    pub id: u64,
}

pub(crate) static CLIENTS: Table<ClientObject> = Table::new("client", 3);

pub(crate) struct ClientObject {
    broker: Weak<BrokerObject>,
    queue: Arc<QueueObject>,
    client_id: Option<String>,
    /// By filter: the number of the source in the queue.
    subscriptions: Mutex<HashMap<String, u64>>,
}

/// How a client subscribes.
struct Subscribe {
    qos: broker::QoS,
    tag: u32,
    no_local: bool,
    retained: Retained,
}

enum Retained {
    Send,
    SendIfNew,
    DoNotSend,
}

impl ClientObject {
    pub(crate) fn client_id(&self) -> Option<&str> {
        self.client_id.as_deref()
    }

    pub(crate) fn broker(&self) -> Result<Arc<BrokerObject>, Fault> {
        self.broker
            .upgrade()
            .ok_or_else(|| Fault::new(MIDGE_E_CLOSED, "the broker of this client was freed"))
    }

    fn subscribe(&self, filter: &str, how: &Subscribe) -> Result<(), Fault> {
        let object = self.broker()?;
        let not_from = match (how.no_local, &self.client_id) {
            (false, _) => None,
            (true, Some(id)) => Some(id.as_str().into()),
            (true, None) => {
                let what = "args.no_local needs a client with a client identifier";
                return Err(Fault::invalid(what));
            }
        };

        if not_from.is_some() && filter.starts_with("$share/") {
            let what = "args.no_local cannot be set for a shared subscription (MQTT-3.8.3-4)";
            return Err(Fault::invalid(what));
        }

        let mut subscriptions = self.subscriptions.lock();
        let retained = match how.retained {
            Retained::Send => true,
            Retained::SendIfNew => !subscriptions.contains_key(filter),
            Retained::DoNotSend => false,
        };

        let number = self.queue.attach(how.tag, not_from, |inlet| {
            object
                .broker
                .subscribe_to(&[filter], how.qos, retained, inlet)
                .map_err(|error| Fault::new(MIDGE_E_INVALID, format!("filter: {error}")))
        })?;
        let old = subscriptions.insert(filter.to_owned(), number);
        drop(subscriptions);
        if let Some(old) = old {
            self.queue.detach(old);
        }

        Ok(())
    }

    pub(crate) fn unsubscribe(&self, filter: &str) -> Result<(), Fault> {
        let number = self.subscriptions.lock().remove(filter);
        let Some(number) = number else {
            let what = "the client has no subscription with this filter";
            return Err(Fault::new(MIDGE_E_NOT_FOUND, what));
        };
        self.queue.detach(number);
        Ok(())
    }

    fn close(&self) {
        let subscriptions = std::mem::take(&mut *self.subscriptions.lock());
        for number in subscriptions.into_values() {
            self.queue.detach(number);
        }
    }
}

/// Makes a client inside the process, which is no client of MQTT: see midge_client. It subscribes for as
/// long as it lives; its messages come into a queue, which several clients may share.
///
/// @param client_id  may be NULL; the name in which midge_client_publish() publishes
/// @param q          a queue of the same broker
/// @param out        receives the handle; free it with midge_client_free()
/// @return MIDGE_OK, MIDGE_E_INVALID, MIDGE_E_CLOSED
/// @since 0.1
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn midge_client_new(
    b: midge_broker,
    client_id: *const c_char,
    q: midge_queue,
    out: *mut midge_client,
) -> midge_status {
    enter(|| {
        ffi::not_null(out, "out")?;

        let object = BROKERS.find(b.id)?;
        let queue = QUEUES.find(q.id)?;
        // SAFETY: the host's string, or NULL.
        let client_id = unsafe { ffi::optional_text(client_id, "client_id") }?;

        if queue.broker != b.id {
            return Err(Fault::invalid("q belongs to another broker"));
        }

        let id = CLIENTS.add(Arc::new(ClientObject {
            broker: Arc::downgrade(&object),
            queue,
            client_id: client_id.map(str::to_owned),
            subscriptions: Mutex::default(),
        }));
        // SAFETY: not NULL, so writable.
        unsafe { ffi::write(out, midge_client { id }) };
        Ok(())
    })
}

/// Subscribes. Retained messages that match come first. Subscribing to the same filter again
/// replaces the subscription. Each subscription that matches a message delivers it.
///
/// @param filter  topic filter, with wildcards and $share/group/ if wanted
/// @param qos     maximum QoS of deliveries
/// @param tag     comes back in midge_event.tag
/// @return MIDGE_OK, MIDGE_E_INVALID, MIDGE_E_CLOSED (the client, its queue or broker is gone)
/// @since 0.1
#[unsafe(no_mangle)]
pub unsafe extern "C" fn midge_client_subscribe(
    c: midge_client,
    filter: *const c_char,
    qos: u8,
    tag: u32,
) -> midge_status {
    enter(|| {
        // SAFETY: the host's string, or NULL.
        let filter = unsafe { ffi::text(filter, "filter") }?;
        let qos = args::qos(qos, "qos")?;
        let how = Subscribe {
            qos,
            tag,
            no_local: false,
            retained: Retained::Send,
        };
        CLIENTS.find(c.id)?.subscribe(filter, &how)
    })
}

/// Retained messages that match come first, at every subscribe.
pub const MIDGE_RETAIN_SEND: u8 = 0;
/// Retained messages that match come first, unless it replaces a subscription.
pub const MIDGE_RETAIN_SEND_IF_NEW: u8 = 1;
/// Retained messages do not come.
pub const MIDGE_RETAIN_DO_NOT_SEND: u8 = 2;

/// How a client subscribes. Begin with MIDGE_SUBSCRIBE_ARGS_INIT: QoS 2, everything else as
/// midge_client_subscribe() does.
/// @since 0.1
#[repr(C)]
#[derive(Clone, Copy)]
pub struct midge_subscribe_args {
    /// sizeof(midge_subscribe_args).
    pub struct_size: u32,
    /// Maximum QoS of deliveries: 0, 1 or 2.
    pub qos: u8,
    /// 1 if messages published in the name of this client do not come back to it. For a client with
    /// a client identifier, and not for shared subscriptions.
    pub no_local: u8,
    /// A MIDGE_RETAIN_* number.
    pub retain_handling: u8,
    /// 0.
    pub reserved: u8,
    /// Comes back in midge_event.tag.
    pub tag: u32,
    /// 0.
    pub reserved2: u32,
    /// Topic filter, with wildcards and $share/group/ if wanted.
    pub filter: *const c_char,
    /// Bytes of the filter; 0 if it is NUL-terminated.
    pub filter_len: usize,
}

const LEAST: usize = size_of::<midge_subscribe_args>();

/// Subscribes as midge_client_subscribe(), with everything that there is to say.
///
/// @param args  begins with its struct_size
/// @return MIDGE_OK, MIDGE_E_INVALID, MIDGE_E_ABI, MIDGE_E_CLOSED (the client, its queue or broker is
///         gone)
/// @since 0.1
#[unsafe(no_mangle)]
pub unsafe extern "C" fn midge_client_subscribe_ex(
    c: midge_client,
    args: *const midge_subscribe_args,
) -> midge_status {
    enter(|| {
        // SAFETY: the host's structure, with what it points to, or NULL; all zero is valid for it.
        let (args, filter) = unsafe {
            let args = ffi::read_struct(args, LEAST, "args")?;
            let len = args::length(args.filter_len);
            (args, ffi::text_of(args.filter, len, "args.filter")?)
        };

        let how = Subscribe {
            qos: args::qos(args.qos, "args.qos")?,
            tag: args.tag,
            no_local: args.no_local != 0,
            retained: match args.retain_handling {
                MIDGE_RETAIN_SEND => Retained::Send,
                MIDGE_RETAIN_SEND_IF_NEW => Retained::SendIfNew,
                MIDGE_RETAIN_DO_NOT_SEND => Retained::DoNotSend,
                other => {
                    let message = format!("args.retain_handling is {other}, no MIDGE_RETAIN_*");
                    return Err(Fault::invalid(message));
                }
            },
        };

        CLIENTS.find(c.id)?.subscribe(filter, &how)
    })
}

/// Ends a subscription. Its messages that were not read are dropped, too: when this returns nothing
/// more of it comes out of the queue.
/// @return MIDGE_OK, MIDGE_E_NOT_FOUND (no such subscription), MIDGE_E_INVALID, MIDGE_E_CLOSED
/// @since 0.1
#[unsafe(no_mangle)]
pub unsafe extern "C" fn midge_client_unsubscribe(
    c: midge_client,
    filter: *const c_char,
) -> midge_status {
    enter(|| {
        // SAFETY: the host's string, or NULL.
        let filter = unsafe { ffi::text(filter, "filter") }?;
        CLIENTS.find(c.id)?.unsubscribe(filter)
    })
}

/// Publishes in the name of the client, which access control decides on. A client without a client
/// identifier publishes as the host.
///
/// @param matched  may be NULL; receives the number of receivers
/// @return as midge_publish_ex()
/// @since 0.1
#[unsafe(no_mangle)]
pub unsafe extern "C" fn midge_client_publish(
    c: midge_client,
    args: *const midge_publish_args,
    matched: *mut u32,
) -> midge_status {
    enter(|| {
        let client = CLIENTS.find(c.id)?;
        let object = client.broker()?;
        // SAFETY: the host's structure, with what it points to, or NULL.
        let args = unsafe { read_args(args) }?;
        let receivers = publish::publish(&object, &args, client.client_id.as_deref())?;
        // SAFETY: the host's variable, or NULL.
        unsafe { ffi::write(matched, u32::try_from(receivers).unwrap_or(u32::MAX)) };
        Ok(())
    })
}

/// Frees a client: all its subscriptions end. Before or after its queue or its broker. The null
/// handle is nothing.
/// @return MIDGE_OK, MIDGE_E_CLOSED, MIDGE_E_FORKED
/// @since 0.1
#[unsafe(no_mangle)]
pub extern "C" fn midge_client_free(c: midge_client) -> midge_status {
    enter(|| {
        if let Some(client) = CLIENTS.remove(c.id)? {
            client.close();
        }
        Ok(())
    })
}

impl Drop for ClientObject {
    fn drop(&mut self) {
        // A subscribe that overtook the free leaves nothing behind.
        self.close();
    }
}
