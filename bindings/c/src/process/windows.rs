//! Windows has neither fork, nor signals of threads, nor cancellation, and a thread does not inherit the
//! priority of the one that has started it. A library can be taken away, and calls leave their error
//! behind.

use windows_sys::Win32::Foundation::{GetLastError, HMODULE, SetLastError, WIN32_ERROR};
use windows_sys::Win32::System::LibraryLoader::{
    GET_MODULE_HANDLE_EX_FLAG_FROM_ADDRESS, GET_MODULE_HANDLE_EX_FLAG_PIN, GetModuleHandleExW,
};

pub(crate) fn is_forked_child() -> bool {
    false
}

static OURS: u8 = 0;

/// From now on the code stays in the process: a thread of the library must never return into what
/// FreeLibrary() has taken away.
pub(crate) fn prepare() {
    let flags = GET_MODULE_HANDLE_EX_FLAG_FROM_ADDRESS | GET_MODULE_HANDLE_EX_FLAG_PIN;
    let mut module: HMODULE = std::ptr::null_mut();
    // SAFETY: the address lies in this module, which is how it is found; writes a variable of this function.
    unsafe { GetModuleHandleExW(flags, (&raw const OURS).cast(), &raw mut module) };
}

pub(crate) struct SignalsBlocked;

impl SignalsBlocked {
    pub(crate) fn new() -> Self {
        Self
    }
}

/// GetLastError() as it is now, which comes back at the end. errno is not touched.
pub(crate) struct Errno(WIN32_ERROR);

impl Errno {
    #[inline]
    pub(crate) fn new() -> Self {
        // SAFETY: the calling thread's own variable.
        Self(unsafe { GetLastError() })
    }
}

impl Drop for Errno {
    #[inline]
    fn drop(&mut self) {
        // SAFETY: as above.
        unsafe { SetLastError(self.0) };
    }
}

pub(crate) struct Uncancelled;

impl Uncancelled {
    #[inline]
    pub(crate) fn new() -> Self {
        Self
    }
}

pub(crate) fn leave_real_time() {}
