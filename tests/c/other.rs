//! Another Rust static library, to be linked into the same program.

/// Uses enough of the standard library to bring its symbols along.
#[unsafe(no_mangle)]
pub extern "C" fn other_sum(count: u32) -> u32 {
    let numbers: Vec<u32> = (1..=count).collect();
    std::thread::spawn(move || numbers.iter().sum())
        .join()
        .unwrap_or(0)
}

/// Panics and catches it, here and on a thread: unwinding needs the library's own personality
/// routine. Gives how many were caught.
#[unsafe(no_mangle)]
pub extern "C" fn other_panics(zero: u32) -> u32 {
    std::panic::set_hook(Box::new(|_| {}));
    let fall = move || [1, 2, 3].get(zero as usize + 3).copied().unwrap();
    let here = std::panic::catch_unwind(fall).is_err();
    let there = std::thread::spawn(fall).join().is_err();
    u32::from(here) + u32::from(there)
}
