//! Settings before the start.

use std::ffi::c_char;
use std::sync::Arc;

use broker::{OptionError, Settings};

use crate::ffi::{self, enter};
use crate::hooks::{HookTable, midge_hooks};
use crate::prepare;
use crate::status::{Fault, MIDGE_E_CONFIG, MIDGE_E_NOT_FOUND, MIDGE_E_UNSUPPORTED, midge_status};

/// Settings for a broker. One thread at a time may use it.
#[derive(Clone)]
pub struct midge_config {
    pub(crate) settings: Settings,
    pub(crate) hooks: Vec<Arc<HookTable>>,
}

fn fault(error: &OptionError) -> Fault {
    Fault::new(status(error), error.to_string())
}

fn status(error: &OptionError) -> midge_status {
    match error {
        OptionError::Unknown { .. } => MIDGE_E_NOT_FOUND,
        OptionError::LeftOut { .. } => MIDGE_E_UNSUPPORTED,
        _ => MIDGE_E_CONFIG,
    }
}

impl midge_config {
    fn set(&mut self, key: &str, value: &str) -> Result<(), Fault> {
        self.settings.set(key, value).map_err(|error| fault(&error))
    }
}

/// Borrows a configuration of the host.
///
/// # Safety
/// `config` is NULL or was made by this library and not freed, and does not change meanwhile.
pub(crate) unsafe fn borrow<'a>(config: *const midge_config) -> Result<&'a midge_config, Fault> {
    ffi::not_null(config, "config")?;
    // SAFETY: not NULL, so alive, as the caller promises.
    Ok(unsafe { &*config })
}

/// As [`borrow`], for a change.
///
/// # Safety
/// As [`borrow`], with exclusive access.
pub(crate) unsafe fn borrow_mut<'a>(
    config: *mut midge_config,
) -> Result<&'a mut midge_config, Fault> {
    ffi::not_null(config, "config")?;
    // SAFETY: not NULL, so alive and unshared, as the caller promises.
    Ok(unsafe { &mut *config })
}

/// Reads a configuration file in TOML, as `midge serve --config` takes it: the part of a key before its
/// last dot is the table; addresses of `listen`, an array, are added to those that are there. All of it
/// is set, or nothing. The message names the line.
///
/// @param path  NUL-terminated
/// @return MIDGE_OK, MIDGE_E_INVALID, MIDGE_E_IO (the file cannot be read), MIDGE_E_CONFIG (a value
///         is not accepted, or it is no TOML), MIDGE_E_NOT_FOUND (unknown option), MIDGE_E_UNSUPPORTED
///         (a build without "toml", or an option as in midge_config_set())
/// @since 0.1
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn midge_config_load(
    config: *mut midge_config,
    path: *const c_char,
) -> midge_status {
    enter(|| {
        // SAFETY: the host's configuration and string, or NULL.
        let (config, path) = unsafe { (borrow_mut(config)?, ffi::text(path, "path")?) };
        config
            .settings
            .load(path)
            .map_err(|error| match error.io() {
                Some(source) => Fault::io(path, source),
                None => {
                    let status = match error.left_out() {
                        Some(_) => MIDGE_E_UNSUPPORTED,
                        None => error.option().map_or(MIDGE_E_CONFIG, status),
                    };
                    Fault::new(status, error.to_string())
                }
            })
    })
}

/// Makes a configuration with safe defaults and no listener.
///
/// @param out  receives the configuration; free it with midge_config_free()
/// @return MIDGE_OK, MIDGE_E_INVALID
/// @since 0.1
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn midge_config_new(out: *mut *mut midge_config) -> midge_status {
    prepare::process();
    enter(|| {
        ffi::not_null(out, "out")?;
        let config = Box::new(midge_config {
            settings: Settings::default(),
            hooks: Vec::new(),
        });
        // SAFETY: not NULL, so writable.
        unsafe { ffi::write(out, Box::into_raw(config)) };
        Ok(())
    })
}

/// Copies a configuration. Hooks are shared: user_free is called when the last one goes.
///
/// @param config  stays as it is
/// @param out     receives the copy; free it with midge_config_free()
/// @return MIDGE_OK, MIDGE_E_INVALID
/// @since 0.1
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn midge_config_clone(
    config: *const midge_config,
    out: *mut *mut midge_config,
) -> midge_status {
    enter(|| {
        ffi::not_null(out, "out")?;
        // SAFETY: the host's configuration, or NULL.
        let copy = unsafe { borrow(config) }?.clone();
        // SAFETY: not NULL, so writable.
        unsafe { ffi::write(out, Box::into_raw(Box::new(copy))) };
        Ok(())
    })
}

/// Frees a configuration. Running brokers do not need theirs any more. NULL is nothing.
/// @since 0.1
#[unsafe(no_mangle)]
pub unsafe extern "C" fn midge_config_free(config: *mut midge_config) {
    enter(|| {
        if !config.is_null() {
            // SAFETY: made by this library with Box::into_raw; the host frees it once.
            drop(unsafe { Box::from_raw(config) });
        }
        Ok(())
    });
}

/// Sets an option; the keys are those of docs/configuration.md. Among them: "listen"
/// (tcp://host:port with port 0 for a free one, or unix:///path; each call adds one, an empty value
/// clears the list), "threads", "clock" ("manual" for tests that move it with midge_broker_advance()).
///
/// @return MIDGE_OK, MIDGE_E_INVALID, MIDGE_E_NOT_FOUND (no such key; the message names the
///         nearest one), MIDGE_E_CONFIG (the option does not accept the value), MIDGE_E_UNSUPPORTED
///         (the value needs a feature that this build does not have: midge_has_feature())
/// @since 0.1
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn midge_config_set(
    config: *mut midge_config,
    key: *const c_char,
    value: *const c_char,
) -> midge_status {
    enter(|| {
        // SAFETY: the host's configuration and strings, or NULL.
        let (config, key, value) = unsafe {
            (
                borrow_mut(config)?,
                ffi::text(key, "key")?,
                ffi::text(value, "value")?,
            )
        };
        config.set(key, value)
    })
}

/// Sets an option to a whole number.
/// @return as midge_config_set()
/// @since 0.1
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn midge_config_set_int(
    config: *mut midge_config,
    key: *const c_char,
    value: i64,
) -> midge_status {
    enter(|| {
        // SAFETY: the host's configuration and string, or NULL.
        let (config, key) = unsafe { (borrow_mut(config)?, ffi::text(key, "key")?) };
        config.set(key, &value.to_string())
    })
}

/// The value of an option as text; listeners are separated by a newline.
///
/// @param buf   receives the text and a NUL; may be NULL to ask for the size only
/// @param cap   bytes in buf
/// @param need  may be NULL; receives the size needed, NUL included, also with MIDGE_E_LIMIT
/// @return MIDGE_OK, MIDGE_E_INVALID, MIDGE_E_NOT_FOUND, MIDGE_E_LIMIT (buf is too small)
/// @since 0.1
#[unsafe(no_mangle)]
pub unsafe extern "C" fn midge_config_get(
    config: *const midge_config,
    key: *const c_char,
    buf: *mut c_char,
    cap: usize,
    need: *mut usize,
) -> midge_status {
    enter(|| {
        // SAFETY: the host's configuration and string, or NULL.
        let (config, key) = unsafe { (borrow(config)?, ffi::text(key, "key")?) };
        let value = config.settings.get(key).map_err(|error| fault(&error))?;
        // SAFETY: the host's buffer of that size, or NULL.
        unsafe { ffi::write_text(&value, buf, cap, need) }
    })
}

/// Sets the callbacks; all that were set or added before are let go.
///
/// @param h  may be NULL, which removes them; copied; h->user belongs to the library once this has returned MIDGE_OK
/// @return MIDGE_OK, MIDGE_E_INVALID, MIDGE_E_ABI. On failure user_free is not called.
/// @since 0.1
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn midge_config_set_hooks(
    config: *mut midge_config,
    h: *const midge_hooks,
) -> midge_status {
    enter(|| {
        // SAFETY: the host's configuration, or NULL.
        let config = unsafe { borrow_mut(config) }?;

        let hooks = match h.is_null() {
            true => Vec::new(),
            // SAFETY: the host's structure.
            false => vec![unsafe { HookTable::read(h) }?],
        };

        let before = std::mem::replace(&mut config.hooks, hooks);
        // Last: their user_free may use the configuration.
        drop(before);
        Ok(())
    })
}

/// Adds a set of callbacks behind those that are there, so that rules of a library, a recorder and the
/// host's own can live together. The sets are asked in this order:
///  - on_auth: the first answer that is not MIDGE_PASS counts; if no set has one, the client is refused
///  - on_acl: the first no counts; MIDGE_OK and MIDGE_PASS both let the next set speak
///  - on_publish: each set sees what those before it have made of a message; the first that does not let
///    it pass ends it
///  - on_thread_start, on_thread_stop: all are called
///
/// @param h  copied; h->user belongs to the library once this has returned MIDGE_OK
/// @return MIDGE_OK, MIDGE_E_INVALID, MIDGE_E_ABI. On failure user_free is not called.
/// @since 0.1
#[unsafe(no_mangle)]
#[must_use]
pub unsafe extern "C" fn midge_config_add_hooks(
    config: *mut midge_config,
    h: *const midge_hooks,
) -> midge_status {
    enter(|| {
        // SAFETY: the host's configuration, or NULL.
        let config = unsafe { borrow_mut(config) }?;
        // SAFETY: the host's structure, or NULL.
        config.hooks.push(unsafe { HookTable::read(h) }?);
        Ok(())
    })
}
