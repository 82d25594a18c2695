//! What runs in the background: worker threads, listeners, deadlines; and their end.

mod accept;
pub(crate) mod runtime;
pub(crate) mod stop;
mod warnings;
pub(crate) mod workers;
