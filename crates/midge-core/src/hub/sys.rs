//! The `$SYS` topics, under the names that mosquitto gave them and monitoring tools read.

use std::fmt::Write as _;

use super::{Hub, Publisher};
use crate::hub::Batch;
use crate::message::{Origin, OwnedMessage};
use crate::session::Due;
use crate::stats::Stats;
use crate::time::Tick;

const VERSION: &str = concat!("midge version ", env!("CARGO_PKG_VERSION"));

impl Hub {
    /// Publishes the `$SYS` topics for the first time and arms the next time.
    pub(crate) fn start_sys(&self, now: Tick) {
        if cfg!(feature = "sys") && self.config().sys.interval_s > 0 {
            self.publish_sys(&mut self.begin(now));
        }
    }

    pub(crate) fn publish_sys(&self, batch: &mut Batch) {
        // First: whatever becomes of this update, the next one comes.
        self.arm(self.next_sys(batch.now), Due::Sys);

        let stats = self.stats(batch.now);
        let publisher = Publisher::Other(Origin::Broker);
        let mut topic = String::new();
        let mut publish = |name: &str, value: String| {
            topic.clear();
            let _ = write!(topic, "$SYS/broker/{name}");
            // Retained, and nothing is sent when nothing changed.
            let same = self
                .retained_on(&topic, batch.now)
                .is_some_and(|known| known.payload() == value.as_bytes());
            if !same {
                let mut message = OwnedMessage::new(topic.as_str(), value);
                message.retain = true;
                // A hook may refuse it; then it is not there.
                let _ = self.publish(&publisher, &message.parts(), None, None, batch);
            }
        };

        publish("version", VERSION.to_owned());
        publish("uptime", format!("{} seconds", stats.uptime_ms / 1000));
        for (name, value) in values(&stats) {
            publish(name, value.to_string());
        }
    }
}

impl Hub {
    /// The next update. When a clock is moved a long way only the last one on the way counts.
    fn next_sys(&self, now: Tick) -> Tick {
        let interval = u64::from(self.config().sys.interval_s) * 1000;
        let next = now.after_ms(interval);
        let skipped = next.until(self.horizon()) / interval.max(1);
        next.after_ms(skipped.saturating_mul(interval))
    }
}

fn values(stats: &Stats) -> [(&'static str, u64); 25] {
    let disconnected = stats.sessions.saturating_sub(stats.clients);

    [
        ("clients/connected", stats.clients),
        ("clients/active", stats.clients),
        ("clients/disconnected", disconnected),
        ("clients/inactive", disconnected),
        ("clients/maximum", stats.clients_maximum),
        ("clients/total", stats.sessions),
        ("clients/expired", stats.sessions_expired),
        ("messages/received", stats.packets_received),
        ("messages/sent", stats.packets_sent),
        ("messages/stored", stats.retained + stats.queued_messages),
        (
            "store/messages/count",
            stats.retained + stats.queued_messages,
        ),
        (
            "store/messages/bytes",
            stats.retained_bytes + stats.queued_bytes,
        ),
        ("publish/messages/received", stats.publish_received),
        ("publish/messages/sent", stats.publish_sent),
        ("publish/messages/dropped", stats.dropped_total()),
        ("publish/bytes/received", stats.publish_bytes_received),
        ("publish/bytes/sent", stats.publish_bytes_sent),
        ("bytes/received", stats.bytes_received),
        ("bytes/sent", stats.bytes_sent),
        ("retained messages/count", stats.retained),
        ("subscriptions/count", stats.subscriptions),
        ("shared_subscriptions/count", stats.shared_subscriptions),
        ("connections/socket/count", stats.connections),
        ("connections/refused/count", stats.refused),
        ("memory/clients", stats.memory.total),
    ]
}
