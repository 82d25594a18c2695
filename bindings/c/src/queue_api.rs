//! Queues: pull, descriptor, dispatch.

use std::ffi::c_void;
use std::sync::Arc;
use std::time::Duration;

use broker::{QueueLimits, QueueOverflow};

use crate::bell;
use crate::broker_handle::{BROKERS, end_dispatch, midge_broker};
use crate::callback::{User, midge_free_fn};
use crate::event::{self, MIDGE_EV_ALL, MIDGE_EV_MESSAGE, midge_event};
use crate::ffi::{self, enter, enter_often};
use crate::inside;
use crate::process::{self, Errno};
use crate::queue::{
    MIDGE_OVERFLOW_DROP_NEWEST, MIDGE_OVERFLOW_DROP_OLDEST, QUEUES, QueueObject, closed,
    midge_queue,
};
use crate::status::{
    Fault, MIDGE_E_CLOSED, MIDGE_E_FORKED, MIDGE_E_INVALID, MIDGE_OK, midge_status,
};

/// Called for each event, in order, on the queue's own thread, or in midge_broker_poll(). The event is cleared afterwards.
pub type midge_event_fn = Option<unsafe extern "C" fn(user: *mut c_void, ev: *const midge_event)>;

/// Makes a bounded queue.
///
/// @param mask        MIDGE_EV_* bits of the broker's events that are wanted; 0 for messages only
/// @param max_events  most events that may wait, at least 1
/// @param max_bytes   most bytes of topics, properties and payloads that may wait; 0 for 16 MiB. One event is
///                    always taken.
/// @param overflow    MIDGE_OVERFLOW_*
/// @param out         receives the handle; free it with midge_queue_free()
/// @return MIDGE_OK, MIDGE_E_INVALID, MIDGE_E_STATE (the broker stops), MIDGE_E_CLOSED
/// @since 0.1
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn midge_queue_new(
    b: midge_broker,
    mask: u32,
    max_events: usize,
    max_bytes: usize,
    overflow: i32,
    out: *mut midge_queue,
) -> midge_status {
    enter(|| {
        ffi::not_null(out, "out")?;
        if mask & !MIDGE_EV_ALL != 0 {
            return Err(Fault::invalid("mask has bits that are no MIDGE_EV_*"));
        }

        if max_events == 0 {
            return Err(Fault::invalid("max_events is 0"));
        }

        let overflow = match overflow {
            MIDGE_OVERFLOW_DROP_OLDEST => QueueOverflow::DropOldest,
            MIDGE_OVERFLOW_DROP_NEWEST => QueueOverflow::DropNewest,
            other => {
                return Err(Fault::invalid(format!(
                    "overflow is {other}, no MIDGE_OVERFLOW_*"
                )));
            }
        };
        let object = BROKERS.find(b.id)?;
        let max_bytes = if max_bytes == 0 { 16 << 20 } else { max_bytes };
        let limits = QueueLimits::new(max_events, max_bytes).overflow(overflow);
        let queue = QueueObject::new(b.id, &object.life, object.poller.clone(), limits);
        object.attach(&queue)?;
        if mask & !MIDGE_EV_MESSAGE != 0 {
            let events = object.broker.events_with(event::mask(mask), max_events);
            queue.attach_events(events)?;
        }

        let id = QUEUES.add(queue.clone());
        queue.bell.open(id);
        // SAFETY: not NULL, so writable.
        unsafe { ffi::write(out, midge_queue { id }) };
        Ok(())
    })
}

/// [blocking unless timeout_ms is 0] Takes the next event.
///
/// @param timeout_ms  milliseconds to wait, 0 and less not to wait, MIDGE_WAIT_FOREVER without limit
/// @param ev          an event that is empty or was cleared; written only with MIDGE_OK. Then call
///                    midge_event_clear().
/// @return MIDGE_OK, MIDGE_E_TIMEOUT (nothing came, or midge_queue_wake() was called),
///         MIDGE_E_CLOSED (the queue was freed, or the broker has stopped and everything was
///         read), MIDGE_E_STATE (the queue has a dispatch thread), MIDGE_E_REENTRANT,
///         MIDGE_E_INVALID, MIDGE_E_ABI
/// @since 0.1
#[unsafe(no_mangle)]
pub unsafe extern "C" fn midge_queue_next(
    q: midge_queue,
    timeout_ms: i32,
    ev: *mut midge_event,
) -> midge_status {
    enter_often(|| {
        event::check_out(ev)?;
        let queue = QUEUES.find(q.id)?;
        let timeout = ffi::timeout(timeout_ms);
        if timeout != Some(Duration::ZERO) {
            ffi::may_block("midge_queue_next")?;
        }
        let entry = queue.pull(timeout)?;
        // SAFETY: checked above.
        unsafe { event::write(entry, ev) };
        Ok(())
    })
}

/// A file descriptor that is readable while midge_queue_next() has something to say: an event, a
/// wake-up, or MIDGE_E_CLOSED. Level-triggered, close-on-exec. Only poll it: never read, write or
/// close it. It lives until midge_queue_free().
///
/// On Windows it is a SOCKET, (SOCKET)fd, for select() and WSAPoll(). For WaitForMultipleObjects() let
/// WSAEventSelect() set an event of the host's for FD_READ, and then call midge_queue_next() with
/// timeout 0 until it gives MIDGE_E_TIMEOUT.
///
/// @return MIDGE_OK, MIDGE_E_INVALID, MIDGE_E_IO, MIDGE_E_CLOSED
/// @since 0.1
#[unsafe(no_mangle)]
pub unsafe extern "C" fn midge_queue_fd(q: midge_queue, fd: *mut i32) -> midge_status {
    enter(|| {
        ffi::not_null(fd, "fd")?;
        let number = QUEUES.find(q.id)?.fd()?;
        // SAFETY: not NULL, so writable.
        unsafe { ffi::write(fd, number) };
        Ok(())
    })
}

/// Lets a thread of its own, with all signals blocked, call a function for each event; for a broker without
/// threads midge_broker_poll() calls it. From now on
/// midge_queue_next() gives MIDGE_E_STATE. The thread ends with the broker, after the events that
/// waited, or with midge_queue_free(), at once.
///
/// @param user       for on_event
/// @param user_free  may be NULL; called with user exactly once, after the last call of on_event. If
///                   this function fails it is not called.
/// @return MIDGE_OK, MIDGE_E_INVALID, MIDGE_E_STATE (there is one already), MIDGE_E_IO,
///         MIDGE_E_CLOSED
/// @since 0.1
#[unsafe(no_mangle)]
pub unsafe extern "C" fn midge_queue_dispatch(
    q: midge_queue,
    on_event: midge_event_fn,
    user: *mut c_void,
    user_free: midge_free_fn,
) -> midge_status {
    enter(|| {
        let Some(function) = on_event else {
            return Err(Fault::invalid("on_event is NULL"));
        };
        let queue = QUEUES.find(q.id)?;
        let broker = BROKERS.find(queue.broker).map_err(|_| closed())?;
        let user = User::new(user, user_free);
        let owner = user.clone();
        let deliver = move |entry| {
            event::with(entry, |event| {
                // SAFETY: the host gave this function to be called like this, on any thread.
                inside::run(|| unsafe { function(owner.pointer, event) });
            });
        };

        let broker = Arc::downgrade(&broker);
        let report_panic = move || {
            if let Some(object) = broker.upgrade() {
                object.broker.report_panic();
            }
        };
        let started = queue.start_dispatch(deliver, report_panic);

        if started.is_err() {
            User::disown(user);
        }

        started
    })
}

/// Makes one waiting midge_queue_next(), or the next one that would have to wait, return
/// MIDGE_E_TIMEOUT. Async-signal-safe: a signal handler may call it, whatever its thread was doing. For
/// that reason it leaves midge_last_error() alone; errno stays as it was, and on Windows GetLastError().
/// @return MIDGE_OK, MIDGE_E_INVALID (the null handle), MIDGE_E_CLOSED
/// @since 0.1
#[unsafe(no_mangle)]
pub extern "C" fn midge_queue_wake(q: midge_queue) -> midge_status {
    if process::is_forked_child() {
        return MIDGE_E_FORKED;
    }
    if q.id == 0 {
        return MIDGE_E_INVALID;
    }
    let _errno = Errno::new();
    if bell::wake(q.id) {
        MIDGE_OK
    } else {
        MIDGE_E_CLOSED
    }
}

/// Frees a queue, with what waits in it. Waiting readers get MIDGE_E_CLOSED. When this returns the
/// dispatch callback does not run any more, unless this was called from a callback. The null handle
/// is nothing. Clients of the queue get MIDGE_E_CLOSED from then on.
///
/// A dispatch callback that does not return is waited for as long as shutdown.patience_ms says, and then
/// left, as midge_broker_free() does.
///
/// @return MIDGE_OK, MIDGE_E_TIMEOUT (the dispatch callback was left; the handle is freed all the same),
///         MIDGE_E_CLOSED, MIDGE_E_FORKED
/// @since 0.1
#[unsafe(no_mangle)]
pub extern "C" fn midge_queue_free(q: midge_queue) -> midge_status {
    enter(|| {
        let Some(queue) = QUEUES.remove(q.id)? else {
            return Ok(());
        };
        queue.discard();
        if inside::is_callback() {
            // The thread ends by itself; the broker waits for it when it stops.
            return Ok(());
        }

        let owner = BROKERS.find(queue.broker).ok();
        let deadline = queue.dispatch.patience_ends();
        end_dispatch(&queue, owner.as_deref(), deadline)?;
        if let Some(owner) = owner {
            owner.detach(&queue);
        }
        Ok(())
    })
}
