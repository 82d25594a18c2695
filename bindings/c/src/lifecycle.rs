//! Start, stop, join, free.

use std::ffi::c_char;

use crate::broker_handle::{BROKERS, BrokerObject, midge_broker};
use crate::config::{self, midge_config};
use crate::ffi::{self, enter};
use crate::inside;
use crate::prepare;
use crate::status::{Fault, MIDGE_E_LIMIT, MIDGE_E_NOT_FOUND, midge_status};

/// Starts a broker. All listeners are bound when this returns; the configuration may be freed or
/// changed afterwards.
///
/// @param config  stays the caller's
/// @param out     receives the handle; free it with midge_broker_free()
/// @return MIDGE_OK, MIDGE_E_INVALID, MIDGE_E_CONFIG (an address is not valid),
///         MIDGE_E_ADDR_IN_USE, MIDGE_E_IO. On failure nothing is left behind.
/// @since 0.1
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn midge_broker_start(
    config: *const midge_config,
    out: *mut midge_broker,
) -> midge_status {
    prepare::process();
    enter(|| {
        ffi::not_null(out, "out")?;
        // SAFETY: the host's configuration, or NULL.
        let config = unsafe { config::borrow(config) }?;
        let object = BrokerObject::start(config)?;
        let id = BROKERS.add(object);
        // SAFETY: not NULL, so writable.
        unsafe { ffi::write(out, midge_broker { id }) };
        Ok(())
    })
}

/// Begins to stop a broker, and returns at once: no new connections, then up to drain_ms for
/// clients to take and acknowledge what waits for them, then DISCONNECT. The first call decides;
/// another one with drain_ms 0 cuts its time short. May be called from a callback.
///
/// @param drain_ms  milliseconds; 0 stops at once, negative counts as 0
/// @return MIDGE_OK, MIDGE_E_INVALID, MIDGE_E_CLOSED
/// @since 0.1
#[unsafe(no_mangle)]
pub extern "C" fn midge_broker_stop(b: midge_broker, drain_ms: i32) -> midge_status {
    enter(|| {
        BROKERS.find(b.id)?.begin_stop(drain_ms);
        Ok(())
    })
}

/// [blocking] Waits until a broker has stopped: no thread of it runs, its ports are free, no
/// callback runs or will run. Queues stay readable until they are empty.
///
/// @param timeout_ms  milliseconds, MIDGE_WAIT_FOREVER without limit
/// @return MIDGE_OK, MIDGE_E_TIMEOUT (also if midge_broker_stop() was not called),
///         MIDGE_E_REENTRANT, MIDGE_E_INVALID, MIDGE_E_CLOSED
/// @since 0.1
#[unsafe(no_mangle)]
pub extern "C" fn midge_broker_join(b: midge_broker, timeout_ms: i32) -> midge_status {
    enter(|| {
        ffi::may_block("midge_broker_join")?;
        BROKERS.find(b.id)?.join(ffi::timeout(timeout_ms))
    })
}

/// Stops a broker at once, waits for its end and frees the handle. From a callback it does not
/// wait: the rest happens in the background. In a forked child it does nothing. The null handle is
/// nothing. Like midge_broker_stop() it starts no thread, so that it may be called in a destructor at
/// exit() or dlclose().
///
/// A callback that does not return is waited for as long as shutdown.patience_ms says, 10 seconds by
/// default. Then it is left: a warning of the log (midge_log_set()) names it. The handle is freed all the
/// same, no other callback begins, and what the library keeps for the callback stays until it returns;
/// what it uses of the host must stay, too, and user_free is called when the last one has returned.
///
/// @return MIDGE_OK, MIDGE_E_TIMEOUT (a callback was left), MIDGE_E_CLOSED, MIDGE_E_FORKED
/// @since 0.1
#[unsafe(no_mangle)]
pub extern "C" fn midge_broker_free(b: midge_broker) -> midge_status {
    enter(|| {
        if b.id == 0 {
            return Ok(());
        }
        BROKERS.find(b.id)?.begin_stop(0);
        let Some(object) = BROKERS.remove(b.id)? else {
            return Ok(());
        };
        if inside::is_callback() {
            return Ok(());
        }
        object.end()
    })
}

/// Where a broker listens: a URL like "mqtt://127.0.0.1:40213" or "unix:///run/midge.sock".
///
/// @param listener  which, in the order in which they were set, from 0
/// @param buf       receives the URL and a NUL; may be NULL
/// @param cap       bytes in buf
/// @param port      may be NULL; receives the TCP port, 0 for a Unix socket
/// @return MIDGE_OK, MIDGE_E_NOT_FOUND (no such listener), MIDGE_E_LIMIT (buf is too small),
///         MIDGE_E_INVALID, MIDGE_E_CLOSED
/// @since 0.1
#[unsafe(no_mangle)]
pub unsafe extern "C" fn midge_broker_addr(
    b: midge_broker,
    listener: u32,
    buf: *mut c_char,
    cap: usize,
    port: *mut u16,
) -> midge_status {
    enter(|| {
        let object = BROKERS.find(b.id)?;
        let addresses = object.broker.addrs();
        let Some(address) = addresses.get(listener as usize) else {
            let message = format!("listener is {listener}; there are {}", addresses.len());
            return Err(Fault::new(MIDGE_E_NOT_FOUND, message));
        };
        let url = address.to_string();

        if !buf.is_null() && cap <= url.len() {
            let message = format!("buf has {cap} bytes, {} are needed", url.len() + 1);
            return Err(Fault::new(MIDGE_E_LIMIT, message));
        }

        let number = match address {
            broker::ListenAddr::Tcp(addr) => addr.port(),
            _ => 0,
        };

        // SAFETY: the host's buffer, which is large enough, and number, or NULL.
        unsafe {
            ffi::write_text(&url, buf, cap, std::ptr::null_mut())?;
            ffi::write(port, number);
        }

        Ok(())
    })
}
