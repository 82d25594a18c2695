//! The details of the last failure, for C.

use crate::ffi;
use crate::status::{MIDGE_OK, last, midge_error_info, midge_status};

/// Copies the details of the last failure of a midge function on this thread. A successful call
/// does not clear them.
///
/// @param out  its struct_size must be set; as much as fits is written
/// @return MIDGE_OK, MIDGE_E_INVALID (out is NULL), MIDGE_E_ABI
/// @since 0.1
#[unsafe(no_mangle)]
pub unsafe extern "C" fn midge_last_error(out: *mut midge_error_info) -> midge_status {
    let write = || {
        // SAFETY: the caller gives a structure of `struct_size` bytes, or NULL.
        unsafe { ffi::write_struct(out, &last(), ffi::HEAD, "out") }
    };
    match write() {
        Ok(()) => MIDGE_OK,
        // Not kept: it would hide the failure that was asked for.
        Err(fault) => fault.status,
    }
}
