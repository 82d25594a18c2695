#![no_main]

use libfuzzer_sys::fuzz_target;
use midge_codec::Version;

fuzz_target!(|bytes: &[u8]| midge_codec_fuzz::check(bytes, Version::V31));
