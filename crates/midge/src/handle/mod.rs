//! The handle of a broker, and its making.

pub(crate) mod broker;
pub(crate) mod builder;
mod outgoing;
mod poller;
mod wait;

pub use outgoing::Outgoing;
pub use poller::Poller;
pub use wait::Condition;
