//! The handle of a broker, and its making.

pub(crate) mod broker;
pub(crate) mod builder;
mod outgoing;

pub use outgoing::Outgoing;
