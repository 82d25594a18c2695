//! Deadlines of connections, sessions and messages.

use std::sync::Arc;

use super::{Link, Session};
use crate::hooks::Deferred;
use crate::message::SharedMessage;
use crate::time::Deadline;

/// The surroundings of sessions.
pub(crate) type Env = crate::env::Env<Due>;

/// The purpose of a deadline.
pub(crate) enum Due {
    /// Check a connection for silence: time to CONNECT, or keep alive.
    Silence(Arc<Link>),
    /// The session expiry interval of a disconnected session.
    SessionExpiry(Arc<Session>, u32),
    /// The will delay of a disconnected session.
    WillDelay(Arc<Session>, u32),
    /// A retained message with a message expiry interval.
    RetainedExpiry(SharedMessage),
    /// A hook's answer that did not come.
    HookTimeout(Deferred),
    /// Messages that wait for a session may have expired.
    QueueExpiry(Arc<Session>),
    /// Publish the `$SYS` topics.
    Sys,
}

impl Deadline for Due {
    type Queue = Session;

    fn queue(&self) -> Option<&Arc<Session>> {
        match self {
            Self::QueueExpiry(session) => Some(session),
            _ => None,
        }
    }
}
