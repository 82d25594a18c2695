//! Waits for clients: no polling, no wake-up lost.

use std::collections::HashSet;
use std::time::{Duration, Instant};

use midge_codec::TopicFilter;
use midge_core::{EventMask, RecvError};

use super::broker::Broker;
use crate::error::WaitError;

/// A state of clients that [`Broker::wait_for`] waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Condition<'a> {
    /// The client with this identifier is connected.
    Connected(&'a str),
    /// The client with this identifier is not connected, or not any more.
    Disconnected(&'a str),
    /// At least so many clients have subscriptions that match a topic, connected or not; those of
    /// shared groups count. Subscriptions of the host do not.
    Subscribers {
        /// The topic name.
        topic: &'a str,
        /// How many clients.
        clients: usize,
    },
}

impl Condition<'_> {
    /// The events that may bring it about.
    fn events(&self) -> EventMask {
        match self {
            Self::Connected(_) => EventMask::CLIENT_CONNECTED,
            Self::Disconnected(_) => EventMask::CLIENT_DISCONNECTED,
            Self::Subscribers { .. } => EventMask::SUBSCRIBED,
        }
    }

    fn holds(&self, broker: &Broker) -> bool {
        let is_connected = |client_id: &str| {
            let mut clients = broker.clients().into_iter();
            clients.any(|client| *client.info.client_id == *client_id)
        };

        match *self {
            Self::Connected(client_id) => is_connected(client_id),
            Self::Disconnected(client_id) => !is_connected(client_id),
            Self::Subscribers { topic, clients } => subscribers(broker, topic) >= clients,
        }
    }
}

/// Clients that have a subscription which matches a topic.
fn subscribers(broker: &Broker, topic: &str) -> usize {
    let subscriptions = broker.subscriptions(None);
    let matching = subscriptions.iter().filter(|subscription| {
        TopicFilter::new(&subscription.filter).is_ok_and(|filter| filter.matches(topic))
    });
    let clients: HashSet<_> = matching.map(|found| &found.client_id).collect();
    clients.len()
}

impl Broker {
    /// Waits for a state of clients: the barrier of a test before it publishes, say. Looks at once and
    /// after each event that may bring it about. Blocks the calling thread; in a hook that is mostly one
    /// that the clients need, and a stop waits for the hook as for any other.
    ///
    /// ```
    /// use std::time::Duration;
    ///
    /// use midge::{Broker, Condition, WaitError};
    ///
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let broker = Broker::builder().start()?;
    /// let subscribed = Condition::Subscribers { topic: "t", clients: 1 };
    /// let waited = broker.wait_for(subscribed, Duration::ZERO);
    /// assert_eq!(waited, Err(WaitError::Timeout(Duration::ZERO)));
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// It did not come in time, or the broker has stopped.
    pub fn wait_for(&self, condition: Condition<'_>, timeout: Duration) -> Result<(), WaitError> {
        // Before the first look, so that nothing is missed in between. One event says as much as many.
        let events = self.events_with(condition.events(), 1);

        // Without one there is no moment as late as that.
        let deadline = Instant::now().checked_add(timeout);
        while !condition.holds(self) {
            let received = match deadline {
                None => events.recv(),
                Some(at) => events.recv_timeout(at.saturating_duration_since(Instant::now())),
            };
            received.map_err(|error| match error {
                RecvError::Timeout => WaitError::Timeout(timeout),
                _ => WaitError::Stopped,
            })?;
        }
        Ok(())
    }

    /// As [`Broker::wait_for`], without blocking and without a limit, in any runtime. A future that is
    /// dropped leaves nothing behind.
    ///
    /// # Errors
    /// The broker has stopped.
    pub async fn wait_for_async(&self, condition: Condition<'_>) -> Result<(), WaitError> {
        let events = self.events_with(condition.events(), 1);
        while !condition.holds(self) {
            events.recv_async().await.ok_or(WaitError::Stopped)?;
        }
        Ok(())
    }
}
