//! The order in which messages of one publisher arrive.

use std::collections::HashMap;

use super::check::Index;
use super::{Check, Finding, Kind, Name};

/// Messages that have to keep their order: receiver, session, publisher, topic, QoS of PUBLISH and of
/// the delivery, group.
type Stream<'a> = (usize, usize, (Kind, u8), &'a str, (u8, u8), &'a [u32]);

pub(crate) fn check(index: &Index<'_>, found: &mut Vec<Finding>) {
    let mut last: HashMap<Stream<'_>, (Name, u64)> = HashMap::new();
    let mut seen: HashMap<(usize, usize, Name), ()> = HashMap::new();

    for (client, facts) in index.history.clients.iter().enumerate() {
        for delivery in &facts.deliveries {
            let name = delivery.name;
            let retained = index.sending(name).is_none_or(|sending| sending.retain);
            let again = seen.insert((client, delivery.session, name), ()).is_some();
            // Repetitions, and what a new subscription brings, have an order of their own. What moves
            // from one member of a group to another has none.
            if retained || again || delivery.known || name.kind == Kind::Will {
                continue;
            }
            if delivery.topic.starts_with("s/") {
                continue;
            }
            let publisher = (name.kind, name.publisher);
            let qos = (name.qos, delivery.qos);
            let stream: Stream<'_> = (
                client,
                delivery.session,
                publisher,
                &delivery.topic,
                qos,
                &[],
            );

            let Some((before, at)) = last.insert(stream, (name, delivery.at)) else {
                continue;
            };
            let check = if name.connection < before.connection {
                Check::OldAfterNew
            } else if name.connection == before.connection && name.number < before.number {
                Check::Order
            } else {
                continue;
            };
            let what = format!(
                "{} got {name} at {} after {before} at {at}, both on {} with QoS {}",
                facts.client_id, delivery.at, delivery.topic, delivery.qos
            );
            found.push(
                Finding::new(check, what)
                    .client(client)
                    .name(name)
                    .name(before),
            );
        }
    }
}
