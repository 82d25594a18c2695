//! What belongs into the log of a host, observed or not.

use std::collections::HashSet;
use std::sync::Arc;

use midge_core::{Event, EventMask, Hub, Observed, Queue, QueueLimits};
use parking_lot::Mutex;

/// Warnings that wait to be logged; each is logged once anyway.
const CAPACITY: usize = 64;

/// Logs the reason codes that had to be replaced, once for each packet and code.
pub(crate) fn log_replaced_codes(hub: &Hub) {
    let queue = Arc::new(Queue::new(QueueLimits::new(CAPACITY, usize::MAX)));
    let (known, waiting) = (Mutex::new(HashSet::new()), Arc::downgrade(&queue));
    queue.set_on_ready(Some(Arc::new(move || {
        let Some(queue) = waiting.upgrade() else {
            return;
        };
        while let Ok(Some(Observed { event, .. })) = queue.try_recv() {
            if let Event::ReasonReplaced {
                packet,
                given,
                sent,
                ..
            } = event
                && known.lock().insert((packet, given))
            {
                let packet = packet.name();
                tracing::warn!(packet, %given, %sent, "this reason code cannot stand in this packet; clients get another one");
            }
        }
    })));

    hub.observe(EventMask::REASON_REPLACED, queue);
}
