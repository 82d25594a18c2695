//! Another Rust static library, to be linked into the same program.

/// Uses enough of the standard library to bring its symbols along.
#[unsafe(no_mangle)]
pub extern "C" fn other_sum(count: u32) -> u32 {
    let numbers: Vec<u32> = (1..=count).collect();
    std::thread::spawn(move || numbers.iter().sum())
        .join()
        .unwrap_or(0)
}
