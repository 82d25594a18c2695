//! The handle of a broker, and its making.

pub(crate) mod broker;
pub(crate) mod builder;
mod outgoing;
mod wait;

pub use outgoing::Outgoing;
pub use wait::Condition;
