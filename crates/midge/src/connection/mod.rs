//! One client's connection: reading, writing, and whose turn it is.

pub(crate) mod admission;
pub(crate) mod driver;
mod input;
mod outlet;
pub(crate) mod read_buffer;
pub(crate) mod wakeups;
