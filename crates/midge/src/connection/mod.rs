//! One client's connection: reading, writing, and whose turn it is.
//!
//! The order of the fields of [`Driver`] and [`Outlet`](outlet::Outlet) is that of their use, and `repr(C)`
//! keeps it: with hundreds of busy clients their state leaves the processor's cache between two
//! messages, and what each message touches lies together, in few cache lines. What only a
//! connection's beginning, its end or a rare packet needs comes last.

mod admission;
mod context;
mod driver;
mod fairness;
mod input;
mod outlet;
mod read_buffer;
mod wakeups;

pub(crate) use context::Context;
pub(crate) use driver::Driver;
pub(crate) use read_buffer::{ReadBuffer, prepare_thread};
pub(crate) use wakeups::Wakeups;
