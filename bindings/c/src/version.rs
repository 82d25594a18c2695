//! Version and features of this library.

use std::ffi::{CStr, c_char};

use broker::Feature;

use crate::ffi;

/// Major version of this header.
pub const MIDGE_VERSION_MAJOR: i32 = 0;
/// Minor version of this header.
pub const MIDGE_VERSION_MINOR: i32 = 1;
/// Patch version of this header.
pub const MIDGE_VERSION_PATCH: i32 = 0;

/// The version of the library, MAJOR * 1000000 + MINOR * 1000 + PATCH; compare it with
/// MIDGE_VERSION_NUMBER.
/// @since 0.1
#[unsafe(no_mangle)]
pub extern "C" fn midge_version_number() -> i32 {
    MIDGE_VERSION_MAJOR * 1_000_000 + MIDGE_VERSION_MINOR * 1000 + MIDGE_VERSION_PATCH
}

/// The version of the library as text, "0.1.0". Static.
/// @since 0.1
#[unsafe(no_mangle)]
pub extern "C" fn midge_version() -> *const c_char {
    const VERSION: &str = concat!(env!("CARGO_PKG_VERSION"), "\0");
    VERSION.as_ptr().cast()
}

/// Whether this build has a feature: "tcp", "mqtt3.1.1" and "mqtt5", and those that a build can leave
/// out, "mqtt31", "sys", "toml" and "unix"; "mqtt3.1" is "mqtt31". Other names, and NULL, give false.
/// What is left out answers MIDGE_E_UNSUPPORTED.
/// @since 0.1
#[unsafe(no_mangle)]
pub unsafe extern "C" fn midge_has_feature(name: *const c_char) -> bool {
    if ffi::not_null(name, "name").is_err() {
        return false;
    }
    // SAFETY: not NULL, so a NUL-terminated string.
    let name = unsafe { CStr::from_ptr(name) };
    match name.to_bytes() {
        b"tcp" | b"mqtt3.1.1" | b"mqtt5" => true,
        b"mqtt3.1" => Feature::Mqtt31.is_built(),
        name => Feature::ALL
            .iter()
            .any(|feature| feature.is_built() && feature.name().as_bytes() == name),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_numbers_are_those_of_the_package() {
        let version = format!("{MIDGE_VERSION_MAJOR}.{MIDGE_VERSION_MINOR}.{MIDGE_VERSION_PATCH}");
        assert_eq!(version, env!("CARGO_PKG_VERSION"));
    }
}
