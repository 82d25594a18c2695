//! A broker without threads: the host polls it.

use std::time::Duration;

use broker::PollError;

use crate::broker_handle::{BROKERS, midge_broker};
use crate::ffi::{self, enter};
use crate::life::Stage;
use crate::status::{
    Fault, MIDGE_E_CLOSED, MIDGE_E_REENTRANT, MIDGE_E_STATE, MIDGE_E_TIMEOUT, MIDGE_E_UNSUPPORTED,
    midge_status,
};

fn fault(error: &PollError) -> Fault {
    let status = match error {
        PollError::Reentrant => MIDGE_E_REENTRANT,
        PollError::Stopped => MIDGE_E_CLOSED,
        PollError::NoDescriptor => MIDGE_E_UNSUPPORTED,
        PollError::Io(source) => return Fault::io("poll", source),
        _ => MIDGE_E_STATE,
    };
    Fault::new(status, error.to_string())
}

/// [blocking unless timeout_ms is 0] Does what there is to do for a broker without threads ("threads" is 0):
/// accepts, reads, writes, fires deadlines, stops, calls hooks and the callbacks of queues, all on the
/// calling thread. If there is nothing to do it waits for that. One call does a bounded part of what there
/// is. It may return early, such as after a signal.
///
/// One thread at a time polls; any thread may, and all other functions are still free to be called from
/// anywhere: what they give the broker to do ends a wait. What blocks (midge_queue_next(), midge_receipt_wait(),
/// midge_broker_join(), midge_broker_free()) polls meanwhile, if its thread has started the broker or has
/// polled it.
///
/// @param timeout_ms  milliseconds to wait, 0 and less not to wait, MIDGE_WAIT_FOREVER without limit
/// @return MIDGE_OK (something was done), MIDGE_E_TIMEOUT (nothing was to do), MIDGE_E_CLOSED (the broker has
///         stopped), MIDGE_E_STATE (the broker has threads, or another thread polls it), MIDGE_E_REENTRANT
///         (called from a callback), MIDGE_E_IO, MIDGE_E_INVALID
/// @since 0.1
#[unsafe(no_mangle)]
pub extern "C" fn midge_broker_poll(b: midge_broker, timeout_ms: i32) -> midge_status {
    enter(|| {
        ffi::may_block("midge_broker_poll")?;
        let object = BROKERS.find(b.id)?;
        let timeout = ffi::timeout(timeout_ms).unwrap_or(Duration::MAX);

        let polled = object.broker.poll(timeout);
        if object.stage() == Stage::Ended {
            return Err(fault(&PollError::Stopped));
        }
        match polled {
            Ok(true) => Ok(()),
            Ok(false) => Err(Fault::new(MIDGE_E_TIMEOUT, "there was nothing to do")),
            Err(error) => Err(fault(&error)),
        }
    })
}

/// A file descriptor that is readable while midge_broker_poll() has something to do, for the host's own loop:
/// poll, epoll, select, libuv, glib. It does not tell when a deadline comes: midge_broker_poll_timeout() does.
/// Level-triggered, close-on-exec. Only poll it: never read, write or close it. It lives until
/// midge_broker_free().
///
/// @return MIDGE_OK, MIDGE_E_STATE (the broker has threads), MIDGE_E_UNSUPPORTED (the platform
///         has no such descriptor: poll with a timeout), MIDGE_E_INVALID, MIDGE_E_CLOSED
/// @since 0.1
#[unsafe(no_mangle)]
pub unsafe extern "C" fn midge_broker_poll_fd(b: midge_broker, fd: *mut i32) -> midge_status {
    enter(|| {
        ffi::not_null(fd, "fd")?;
        let object = BROKERS.find(b.id)?;
        let number = descriptor(&object.broker).map_err(|error| fault(&error))?;
        // SAFETY: not NULL, so writable.
        unsafe { ffi::write(fd, number) };
        Ok(())
    })
}

#[cfg(unix)]
fn descriptor(broker: &broker::Broker) -> Result<i32, PollError> {
    use std::os::fd::AsRawFd;
    broker.poll_fd().map(|fd| fd.as_raw_fd())
}

#[cfg(not(unix))]
fn descriptor(broker: &broker::Broker) -> Result<i32, PollError> {
    broker.poll_timeout()?;
    Err(PollError::NoDescriptor)
}

/// How long the host may wait for midge_broker_poll_fd() before it calls midge_broker_poll() again: until the
/// broker's next deadline. To be asked after each poll.
///
/// @param wait_ms  receives milliseconds, rounded up, or -1 without a deadline, as poll() and epoll_wait() take it
/// @return MIDGE_OK, MIDGE_E_STATE (the broker has threads), MIDGE_E_INVALID, MIDGE_E_CLOSED
/// @since 0.1
#[unsafe(no_mangle)]
pub unsafe extern "C" fn midge_broker_poll_timeout(
    b: midge_broker,
    wait_ms: *mut i32,
) -> midge_status {
    enter(|| {
        ffi::not_null(wait_ms, "wait_ms")?;
        let object = BROKERS.find(b.id)?;
        let timeout = object
            .broker
            .poll_timeout()
            .map_err(|error| fault(&error))?;
        let rounded = timeout.map_or(-1, |time| {
            i32::try_from(time.as_nanos().div_ceil(1_000_000)).unwrap_or(i32::MAX)
        });
        // SAFETY: not NULL, so writable.
        unsafe { ffi::write(wait_ms, rounded) };
        Ok(())
    })
}
