//! The border: every call from C comes in here, every argument is checked here.

use std::ffi::{CStr, c_char, c_void};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

use crate::inside;
use crate::later::Scope;
use crate::process::{self, Errno, Uncancelled};
use crate::status::{
    Fault, MIDGE_E_ABI, MIDGE_E_FORKED, MIDGE_E_LIMIT, MIDGE_E_NOMEM, MIDGE_E_PANIC,
    MIDGE_E_REENTRANT, MIDGE_OK, midge_status, report,
};

/// Borrowed bytes. Not NUL-terminated; ptr may be NULL if len is 0.
/// @since 0.1
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct midge_bytes {
    /// The first byte.
    pub ptr: *const u8,
    /// Number of bytes.
    pub len: usize,
}

impl midge_bytes {
    pub(crate) const EMPTY: Self = Self {
        ptr: std::ptr::null(),
        len: 0,
    };

    pub(crate) fn of(bytes: impl AsRef<[u8]>) -> Self {
        let bytes = bytes.as_ref();
        if bytes.is_empty() {
            return Self::EMPTY;
        }
        Self {
            ptr: bytes.as_ptr(),
            len: bytes.len(),
        }
    }

    pub(crate) fn of_option(bytes: Option<impl AsRef<[u8]>>) -> Self {
        bytes.map_or(Self::EMPTY, Self::of)
    }
}

/// Runs the body of an exported function. Its thread cannot be cancelled meanwhile.
#[inline]
pub(crate) fn enter(body: impl FnOnce() -> Result<(), Fault>) -> midge_status {
    let _uncancelled = Uncancelled::new();
    enter_often(body)
}

/// As [`enter`], for functions that are called for each message and have no cancellation points of
/// their own: all their system calls are made under [`Uncancelled`].
#[inline]
pub(crate) fn enter_often(body: impl FnOnce() -> Result<(), Fault>) -> midge_status {
    let _errno = Errno::new();
    if process::is_forked_child() {
        return report(&Fault::new(
            MIDGE_E_FORKED,
            "a broker does not survive fork(): use midge in the parent, or exec first",
        ));
    }

    let _scope = Scope::new();
    match catch_unwind(AssertUnwindSafe(body)) {
        Ok(Ok(())) => MIDGE_OK,
        Ok(Err(fault)) => report(&fault),
        Err(panic) => {
            // Dropping what was thrown could throw again.
            std::mem::forget(panic);
            report(&Fault::new(
                MIDGE_E_PANIC,
                "a panic inside midge was caught",
            ))
        }
    }
}

/// Refuses to block inside a callback: the thread may be the one that is waited for.
pub(crate) fn may_block(function: &'static str) -> Result<(), Fault> {
    if inside::is_callback() {
        let message = format!("{function} blocks and was called from a callback");
        return Err(Fault::new(MIDGE_E_REENTRANT, message));
    }
    Ok(())
}

/// A text from C.
///
/// # Safety
/// `text` is NULL or points to a NUL-terminated string that stays as it is for `'a`.
pub(crate) unsafe fn text<'a>(text: *const c_char, name: &str) -> Result<&'a str, Fault> {
    // SAFETY: as the caller promises.
    unsafe { optional_text(text, name) }?.ok_or_else(|| Fault::invalid(format!("{name} is NULL")))
}

/// A text from C that may be NULL.
///
/// # Safety
/// As [`text`].
pub(crate) unsafe fn optional_text<'a>(
    text: *const c_char,
    name: &str,
) -> Result<Option<&'a str>, Fault> {
    if text.is_null() {
        return Ok(None);
    }
    // SAFETY: not NULL, so a NUL-terminated string, as the caller promises.
    let text = unsafe { CStr::from_ptr(text) };
    if text.to_bytes().is_ascii() {
        // SAFETY: ASCII is UTF-8. Much faster to tell than that in general.
        return Ok(Some(unsafe { str::from_utf8_unchecked(text.to_bytes()) }));
    }
    match text.to_str() {
        Ok(text) => Ok(Some(text)),
        Err(_) => Err(Fault::invalid(format!("{name} is not UTF-8"))),
    }
}

/// A text from C that ends at a NUL or has its length.
///
/// # Safety
/// `text` is NULL, or points to `len` bytes or, without a length, to a NUL-terminated string, that stay
/// as they are for `'a`.
pub(crate) unsafe fn text_of<'a>(
    text: *const c_char,
    len: Option<usize>,
    name: &str,
) -> Result<&'a str, Fault> {
    let Some(len) = len else {
        // SAFETY: as the caller promises.
        return unsafe { self::text(text, name) };
    };
    not_null(text, name)?;
    // SAFETY: as the caller promises.
    let bytes = unsafe { bytes(text.cast(), len, name) }?;
    str::from_utf8(bytes).map_err(|_| Fault::invalid(format!("{name} is not UTF-8")))
}

/// Bytes from C.
///
/// # Safety
/// `ptr` is NULL or points to `len` bytes that stay as they are for `'a`.
pub(crate) unsafe fn bytes<'a>(
    ptr: *const c_void,
    len: usize,
    name: &str,
) -> Result<&'a [u8], Fault> {
    if len == 0 {
        return Ok(&[]);
    }
    if ptr.is_null() {
        return Err(Fault::invalid(format!(
            "{name} is NULL but its length is not 0"
        )));
    }
    if len > isize::MAX as usize {
        return Err(Fault::invalid(format!("the length of {name} is absurd")));
    }
    // SAFETY: not NULL, and that many bytes, as the caller promises.
    Ok(unsafe { std::slice::from_raw_parts(ptr.cast(), len) })
}

/// Copies bytes of the host. Without memory for that the call fails, and not the process: the host
/// decides on the size.
pub(crate) fn copy(bytes: &[u8], name: &str) -> Result<Vec<u8>, Fault> {
    let mut copy = Vec::new();
    copy.try_reserve_exact(bytes.len()).map_err(|_| {
        let message = format!("no memory for the {} bytes of {name}", bytes.len());
        Fault::new(MIDGE_E_NOMEM, message)
    })?;
    copy.extend_from_slice(bytes);
    Ok(copy)
}

/// Writes a result.
///
/// # Safety
/// `out` is NULL or may be written to.
pub(crate) unsafe fn write<T>(out: *mut T, value: T) {
    if !out.is_null() {
        // SAFETY: not NULL, so writable, as the caller promises.
        unsafe { out.write(value) };
    }
}

/// Refuses a NULL result pointer, before anything is done.
pub(crate) fn not_null<T>(out: *const T, name: &str) -> Result<(), Fault> {
    if out.is_null() {
        return Err(Fault::invalid(format!("{name} is NULL")));
    }
    Ok(())
}

/// Size of the smallest structure with a `struct_size` that can carry anything.
pub(crate) const HEAD: usize = 8;
/// A larger `struct_size` is no size but garbage.
const LARGEST: usize = 4096;

fn checked_size<T>(structure: *const T, least: usize, name: &str) -> Result<usize, Fault> {
    not_null(structure, name)?;
    // SAFETY: every structure begins with its `struct_size`, and the caller gave one.
    let size = unsafe { structure.cast::<u32>().read() } as usize;
    if size < least || size > LARGEST {
        let message = format!(
            "struct_size of {name} is {size}; this library expects {} and takes {least} to {LARGEST}",
            size_of::<T>()
        );
        return Err(Fault::new(MIDGE_E_ABI, message));
    }
    Ok(size)
}

/// Reads a structure that may be older and shorter, or newer and longer, than the library's own.
/// Fields that an older one lacks are zero. Fields of a newer one must be zero, or the caller would ask
/// for something that this library does not know.
///
/// # Safety
/// `from` is NULL or points to a structure whose first field tells its size. `T` is valid when all
/// its bytes are zero, and begins with `struct_size: u32`.
pub(crate) unsafe fn read_struct<T: Copy>(
    from: *const T,
    least: usize,
    name: &str,
) -> Result<T, Fault> {
    let size = checked_size(from, least, name)?;
    let known = size.min(size_of::<T>());

    // SAFETY: zero is valid for T, as the caller promises.
    let mut value: T = unsafe { std::mem::zeroed() };

    // SAFETY: `known` bytes are there on both sides.
    unsafe {
        std::ptr::copy_nonoverlapping(from.cast::<u8>(), (&raw mut value).cast::<u8>(), known);
    }

    for at in known..size {
        // SAFETY: within the size that the structure claims.
        if unsafe { from.cast::<u8>().add(at).read() } != 0 {
            return Err(Fault::new(
                MIDGE_E_ABI,
                format!("{name} uses fields that this version of midge does not know"),
            ));
        }
    }

    Ok(value)
}

/// Writes as much of a structure as the caller has room for. The caller's `struct_size` stays.
///
/// # Safety
/// `out` is NULL or points to a writable structure whose first field tells its size. `T` begins
/// with `struct_size: u32` and has no padding that matters.
pub(crate) unsafe fn write_struct<T: Copy>(
    out: *mut T,
    value: &T,
    least: usize,
    name: &str,
) -> Result<(), Fault> {
    let size = checked_size(out, least, name)?;
    let known = size.min(size_of::<T>());
    const SKIP: usize = size_of::<u32>();
    // SAFETY: `known` bytes are there on both sides; the size field in front is left alone.
    unsafe {
        std::ptr::copy_nonoverlapping(
            std::ptr::from_ref(value).cast::<u8>().add(SKIP),
            out.cast::<u8>().add(SKIP),
            known - SKIP,
        );
    }
    Ok(())
}

/// Checks that a structure is there and large enough to be written later.
pub(crate) fn check_out_struct<T>(out: *const T, least: usize, name: &str) -> Result<(), Fault> {
    checked_size(out, least, name).map(drop)
}

/// Copies a text and its NUL into a buffer. `need` gets the size that it takes, NUL included. With
/// `capacity` 0 only that is asked for.
///
/// # Safety
/// `buffer` is NULL or has `capacity` writable bytes, `need` is NULL or writable.
pub(crate) unsafe fn write_text(
    value: impl AsRef<[u8]>,
    buffer: *mut c_char,
    capacity: usize,
    need: *mut usize,
) -> Result<(), Fault> {
    let value = value.as_ref();
    let size = value.len() + 1;

    // SAFETY: as the caller promises.
    unsafe { write(need, size) };
    if capacity == 0 || buffer.is_null() {
        return Ok(());
    }
    if capacity < size {
        let message = format!("buf has {capacity} bytes, {size} are needed");
        return Err(Fault::new(MIDGE_E_LIMIT, message));
    }

    // SAFETY: the text and its NUL fit into the buffer.
    unsafe {
        std::ptr::copy_nonoverlapping(value.as_ptr(), buffer.cast(), value.len());
        buffer.add(value.len()).write(0);
    }

    Ok(())
}

/// MIDGE_WAIT_FOREVER of `header_tail.h`: no difference of two moments comes to that by chance.
pub(crate) const FOREVER: i32 = i32::MIN;

/// A timeout in milliseconds as C gives it. One that is negative is over already.
pub(crate) fn timeout(ms: i32) -> Option<Duration> {
    (ms != FOREVER).then(|| Duration::from_millis(u64::try_from(ms).unwrap_or(0)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::last_error::midge_last_error;
    use crate::status::{MIDGE_E_INVALID, midge_error_info};

    #[test]
    fn a_panic_stays_inside() {
        assert_eq!(enter(|| panic!("injected")), MIDGE_E_PANIC);
    }

    #[test]
    fn only_the_sentinel_is_for_ever() {
        assert_eq!(timeout(FOREVER), None);
        for past in [-1, -1000, i32::MIN + 1] {
            assert_eq!(timeout(past), Some(Duration::ZERO));
        }
        assert_eq!(timeout(7), Some(Duration::from_millis(7)));
    }

    #[test]
    fn structures_of_other_versions_are_read_and_refused() {
        #[repr(C)]
        #[derive(Clone, Copy)]
        struct V1 {
            struct_size: u32,
            a: u32,
        }
        #[repr(C)]
        #[derive(Clone, Copy)]
        struct V2 {
            v1: V1,
            b: u32,
        }

        let mut new = V2 {
            v1: V1 {
                struct_size: 12,
                a: 7,
            },
            b: 0,
        };

        // SAFETY: both are structures with a size in front.
        unsafe {
            assert_eq!(
                read_struct((&raw const new).cast::<V1>(), 8, "x")
                    .map(|v| v.a)
                    .ok(),
                Some(7)
            );
            new.b = 1;
            let error = read_struct((&raw const new).cast::<V1>(), 8, "x").map(|v| v.a);
            assert_eq!(error.map_err(|fault| fault.status), Err(MIDGE_E_ABI));
            let old = V1 {
                struct_size: 8,
                a: 3,
            };
            let read = read_struct((&raw const old).cast::<V2>(), 8, "x").map(|v| (v.v1.a, v.b));
            assert_eq!(read.ok(), Some((3, 0)));
            for size in [0, 7, u32::MAX] {
                let bad = V1 {
                    struct_size: size,
                    a: 0,
                };
                assert!(read_struct(&raw const bad, 8, "x").is_err());
            }
            assert!(read_struct(std::ptr::null::<V1>(), 8, "x").is_err());
        }
    }

    #[test]
    fn the_last_error_names_the_argument() {
        let status = enter(|| Err(Fault::invalid("topic is NULL")));
        assert_eq!(status, MIDGE_E_INVALID);
        // SAFETY: all zero is a valid value.
        let mut info: midge_error_info = unsafe { std::mem::zeroed() };
        info.struct_size = size_of::<midge_error_info>() as u32;
        // SAFETY: a structure of the size that it says.
        assert_eq!(unsafe { midge_last_error(&raw mut info) }, MIDGE_OK);
        // SAFETY: the message is NUL-terminated.
        let message = unsafe { CStr::from_ptr(info.message.as_ptr()) };
        assert_eq!((info.status, message), (MIDGE_E_INVALID, c"topic is NULL"));
    }
}
