//! A stress of the broker: random scripts on several threads, judged by the model.
//!
//! A [`Script`] follows from a seed. Its threads drive clients that keep to the rules; connections that
//! a client leaves are served by any thread at any time, also while the client is back on a new one.
//! When all is done, everything drains, and [`crate::model`] judges what every client saw.
//!
//! With one thread a script runs the same way each time. With more, the clients do the same, and the
//! threads meet in other ways.

mod ending;
mod engine;
mod hooks;
mod lane;
mod line;
mod peer;
mod pipe;
mod receive;
mod run;
mod script;
mod setup;
mod watcher;
mod whole;
mod world;

pub use line::Telling;
pub use run::{Report, run};
pub use script::{FILTERS, PeerPlan, Rest, Script, Step, TOPICS, WillPlan};
pub use setup::{Hooking, Setup};
pub use whole::Place;
