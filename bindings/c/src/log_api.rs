//! The callback of the host for lines of the log.

use std::ffi::{c_char, c_void};
use std::sync::Arc;

use crate::callback::{User, midge_free_fn};
use crate::ffi::enter;
use crate::log::{self, MIDGE_LOG_DEBUG, MIDGE_LOG_OFF, Target};
use crate::prepare;
use crate::status::{Fault, midge_status};

/// Called with each line of the log. The text is UTF-8 and NUL-terminated, and valid until the callback
/// returns.
pub type midge_log_fn =
    Option<unsafe extern "C" fn(user: *mut c_void, level: i32, text: *const c_char)>;

/// Sets the callback for the log of the library: warnings and errors of the engine, and the texts of
/// panics that were caught. For all brokers of the process; one that was set before is let go. The
/// library writes nothing by itself. Never payloads or passwords.
///
/// The callback runs where no lock is held: on the thread that leaves the library, or on a broker's. It
/// may call every function that is not marked [blocking]. Lines that come up in a callback of the log follow
/// when it has returned. 64 lines may wait; if there are more, a line says how many were lost.
///
/// @param on_log     may be NULL, for no callback
/// @param level      MIDGE_LOG_*: lines of this level and of more serious ones
/// @param user       for on_log
/// @param user_free  may be NULL; called with user exactly once, after the last call of on_log. If this
///                   function fails it is not called.
/// @return MIDGE_OK, MIDGE_E_INVALID (level is no MIDGE_LOG_*)
/// @since 0.1
#[unsafe(no_mangle)]
pub unsafe extern "C" fn midge_log_set(
    on_log: midge_log_fn,
    level: i32,
    user: *mut c_void,
    user_free: midge_free_fn,
) -> midge_status {
    prepare::process();

    enter(|| {
        if !(MIDGE_LOG_OFF..=MIDGE_LOG_DEBUG).contains(&level) {
            return Err(Fault::invalid(format!("level is {level}, no MIDGE_LOG_*")));
        }
        let user = User::new(user, user_free);
        let target = on_log.map(|function| -> Target {
            let user = user.clone();
            Arc::new(move |level, text| {
                // SAFETY: the host gave this function to be called like this, on any thread.
                unsafe { function(user.pointer, level, text.as_ptr()) };
            })
        });

        let old = log::set(target, level);
        // Without a lock: the host frees what is its own.
        drop((old, user));
        Ok(())
    })
}
