//! The hot paths of the project as closures, for two kinds of measurement.
//!
//! `cargo bench` tells their wall time, `instructions.py` how many instructions they execute: the
//! latter does not depend on what else the machine does, so that it can be compared between
//! commits.
//!
//! Every path is set up once and then repeats one unit of work, such as one message from the bytes
//! of its publisher to the bytes of its subscriber.

mod client;
mod paths;

pub use paths::{PATHS, Path};
