//! Every field of `Stats` counts what its description says, and levels go down again; docs/counters.md
//! has a line for each.

use std::collections::BTreeSet;
use std::sync::Arc;

use midge::{DropReason, QoS};
use midge_core::{Hub, MessageRef, Stats, Tick};
use midge_testkit::{
    Connect, Kind, Packet, PropsBuf, Publish, Subscribe, ack, disconnect, unsubscribe,
};

use crate::world::{Client, START, hub};

fn stats(hub: &Hub) -> Stats {
    hub.stats(START)
}

fn host(hub: &Arc<Hub>, topic: &str, payload: &str, qos: QoS) {
    let mut message = MessageRef::new(topic, payload.as_bytes());
    message.qos = qos;
    hub.publish_from_host(message, None, || START, false)
        .unwrap();
}

/// Covers: none
#[test]
fn connections_and_clients() {
    let hub = hub(|config| config.limits.connections = 3);
    assert_eq!(stats(&hub), Stats::default());
    let fresh = Client::accept(&hub);
    assert_eq!((stats(&hub).connections, stats(&hub).clients), (1, 0));
    let first = Client::plain(&hub, "first");
    let second = Client::connect(&hub, &Connect::v5("second").expiry(9));
    let now = stats(&hub);
    assert_eq!((now.connections, now.connects, now.refused), (3, 3, 0));
    assert_eq!((now.clients, now.clients_maximum, now.sessions), (2, 2, 2));

    assert!(Client::try_accept(&hub).is_none());
    let now = stats(&hub);
    assert_eq!((now.connections, now.connects, now.refused), (3, 3, 1));

    first.close();
    let now = stats(&hub);
    assert_eq!((now.connections, now.connects, now.refused), (2, 3, 1));
    assert_eq!((now.clients, now.clients_maximum, now.sessions), (1, 2, 1));
    // A taken over client is one client, until its transport is gone two connections.
    let taken = Client::connect(&hub, &Connect::v5("second").expiry(9).clean(false));
    let now = stats(&hub);
    assert_eq!((now.connections, now.connects), (3, 4));
    assert_eq!((now.clients, now.clients_maximum, now.sessions), (1, 2, 1));
    second.close();
    assert_eq!((stats(&hub).connections, stats(&hub).clients), (2, 1));

    taken.close();
    let now = stats(&hub);
    assert_eq!((now.connections, now.clients, now.sessions), (1, 0, 1));
    assert_eq!(now.sessions_expired, 0);
    hub.fire(START.after_s(9));
    let now = stats(&hub);
    assert_eq!((now.sessions, now.sessions_expired), (0, 1));
    // A connection that ends without having been accepted as a client is a refused one.
    fresh.close();
    let now = stats(&hub);
    assert_eq!(
        (now.connections, now.refused, now.clients_maximum),
        (0, 2, 2)
    );
    Client::connect(&hub, &Connect::new(4, "").clean(false)).close();
    assert_eq!(stats(&hub).refused, 3);
}

/// Covers: none
#[test]
fn sessions_that_end_otherwise_have_not_expired() {
    let hub = hub(|_| ());
    let connect = Connect::v5("client").expiry(9);
    Client::connect(&hub, &connect).close();
    assert!(hub.clear_session("client", START));
    Client::connect(&hub, &connect).close();
    Client::connect(&hub, &connect).close(); // a clean start
    let mut client = Client::connect(&hub, &connect.clean(false));
    client.say(disconnect(0, &PropsBuf::new().u32(0x11, 0)));
    client.close();
    let now = stats(&hub);
    assert_eq!((now.sessions, now.sessions_expired), (0, 0));
}

/// Covers: none
#[test]
fn subscriptions() {
    let hub = hub(|_| ());
    let mut client = Client::plain(&hub, "client");
    let count = || (stats(&hub).subscriptions, stats(&hub).shared_subscriptions);
    let filters = Subscribe::new(1)
        .filter("a", 0)
        .filter("b/#", 1)
        .filter("$share/g/a", 0);
    client.say(filters.bytes());
    assert_eq!(count(), (3, 1));
    // Made again is not made twice.
    let again = Subscribe::new(2).filter("a", 2).filter("$share/g/a", 1);
    client.say(again.bytes());
    assert_eq!(count(), (3, 1));
    let gone = unsubscribe(5, 3, &PropsBuf::new(), &["a", "$share/g/a", "never made"]);
    client.say(gone);
    assert_eq!(count(), (1, 0));

    let mut other = Client::connect(&hub, &Connect::v5("other").expiry(9));
    other.say(
        Subscribe::new(1)
            .filter("b/#", 0)
            .filter("$share/g/b", 0)
            .bytes(),
    );
    assert_eq!(count(), (3, 1));
    other.close();
    assert_eq!(count(), (3, 1), "the session is kept");
    hub.fire(START.after_s(9));
    while hub.work() {}
    assert_eq!(count(), (1, 0));
    client.close();
    while hub.work() {}
    assert_eq!(count(), (0, 0));
}

/// Covers: none
#[test]
fn packets_and_payloads_received() {
    let hub = hub(|_| ());
    let mut client = Client::plain(&hub, "client");
    let received = || {
        let now = stats(&hub);
        (
            now.packets_received,
            now.publish_received,
            now.publish_bytes_received,
        )
    };

    assert_eq!(received(), (1, 0, 0));
    client.say([0xc0, 0].repeat(3));
    assert_eq!(received(), (4, 0, 0));

    // One at a time, and several in one read.
    client.say(Publish::new("t", "12345").bytes());
    assert_eq!(received(), (5, 1, 5));
    client.say(Publish::new("t", "123").bytes().repeat(4));
    assert_eq!(received(), (9, 5, 17));
    client.say(Publish::new("t", "12").qos(2, 1).bytes());
    client.say(ack(Kind::Pubrel, 1));
    assert_eq!(received(), (11, 6, 19));

    // The host's count as messages, not as packets, whatever their receivers.
    for _ in 0..3 {
        host(&hub, "t", "1234", QoS::AtLeastOnce);
    }

    assert_eq!(received(), (11, 9, 31));
}

/// Covers: none
#[test]
fn messages_of_the_host_to_itself_count_as_all_others() {
    let hub = hub(|_| ());
    let queue = Arc::new(midge_core::Queue::new(Default::default()));
    let _handle = hub
        .observe_messages(&["t"], QoS::ExactlyOnce, false, queue.clone(), START)
        .unwrap();
    // From the second or third one on the route is remembered.
    for round in 1..6 {
        host(&hub, "t", "1234", QoS::AtMostOnce);
        let now = stats(&hub);
        assert_eq!(
            (now.publish_received, now.publish_bytes_received),
            (round, 4 * round)
        );
        assert_eq!((now.packets_sent, now.publish_sent), (0, 0));
        assert_eq!(queue.len() as u64, round);
    }
}

/// Covers: none
#[test]
fn packets_and_payloads_sent() {
    let hub = hub(|_| ());
    let sent = || {
        let now = stats(&hub);
        (now.packets_sent, now.publish_sent, now.publish_bytes_sent)
    };
    let connect = Connect::v5("client").expiry(9).clean(false);
    let mut client = Client::connect(&hub, &connect);
    assert_eq!(sent(), (1, 0, 0), "CONNACK");
    client.say(Subscribe::new(1).filter("t", 2).bytes());
    client.say([0xc0, 0]);
    client.read();
    assert_eq!(sent(), (3, 0, 0), "SUBACK, PINGRESP");
    client.say(unsubscribe(5, 2, &PropsBuf::new(), &["other"]));
    client.say(Publish::new("nobody's", "p").qos(1, 1).bytes());
    client.say(Publish::new("nobody's", "p").qos(2, 2).bytes());
    client.say(ack(Kind::Pubrel, 2));
    assert_eq!(sent(), (7, 0, 0), "UNSUBACK, PUBACK, PUBREC, PUBCOMP");

    host(&hub, "t", "12345", QoS::AtMostOnce);
    host(&hub, "t", "1234", QoS::AtLeastOnce);
    host(&hub, "t", "123", QoS::ExactlyOnce);
    assert_eq!(sent(), (10, 3, 12));
    assert_eq!(client.texts(), ["12345", "1234", "123"]);
    client.say(ack(Kind::Pubrec, 2));
    assert_eq!(sent(), (11, 3, 12), "PUBREL");

    // What is sent again is sent.
    client.close();
    assert_eq!(sent(), (11, 3, 12));
    let mut client = Client::connect(&hub, &connect);
    assert_eq!(client.read().len(), 0);
    assert_eq!(sent(), (14, 4, 16), "CONNACK, PUBLISH, PUBREL");
    client.say(ack(Kind::Puback, 1));
    client.say(ack(Kind::Pubcomp, 2));
    assert_eq!(sent(), (14, 4, 16));
    assert!(hub.disconnect("client", midge::ReasonCode::AdministrativeAction, START));
    assert_eq!(sent(), (15, 4, 16), "DISCONNECT");
}

/// Covers: none
#[test]
fn runs_are_counted_as_single_messages_are() {
    let hub = hub(|_| ());
    let mut readers: Vec<_> = (0..3)
        .map(|number| {
            let mut reader = Client::plain(&hub, &format!("reader {number}"));
            reader.say(Subscribe::new(1).filter("t", number).bytes());
            reader.read();
            reader
        })
        .collect();
    let mut publisher = Client::plain(&hub, "publisher");

    for qos in 0..3 {
        let before = stats(&hub);
        let mut packets = Vec::new();
        for number in 0..20 {
            packets.extend(
                Publish::new("t", "12345")
                    .qos(qos, 100 * u16::from(qos) + number + 1)
                    .bytes(),
            );
        }
        publisher.say(packets);
        let after = stats(&hub);
        assert_eq!(after.publish_received - before.publish_received, 20);
        assert_eq!(
            after.publish_bytes_received - before.publish_bytes_received,
            100
        );
        assert_eq!(after.packets_received - before.packets_received, 20);
        assert_eq!(after.publish_sent - before.publish_sent, 60);
        assert_eq!(after.publish_bytes_sent - before.publish_bytes_sent, 300);
        let answers = if qos == 0 { 0 } else { 20 };
        assert_eq!(after.packets_sent - before.packets_sent, 60 + answers);
        for reader in &mut readers {
            assert_eq!(reader.texts().len(), 20);
        }
    }
}

/// Covers: none
#[test]
fn what_waits_for_clients() {
    let hub = hub(|_| ());
    let connect = Connect::v5("client")
        .expiry(9)
        .clean(false)
        .receive_maximum(1);
    let mut client = Client::connect(&hub, &connect);
    client.say(Subscribe::new(1).filter("t", 1).bytes());
    client.read();
    let waiting = || (stats(&hub).queued_messages, stats(&hub).queued_bytes);
    assert_eq!(waiting(), (0, 0));

    let mut bytes = Vec::new();
    for number in 0..4 {
        host(&hub, "t", &"x".repeat(100), QoS::AtLeastOnce);
        assert_eq!(waiting().0, number, "the first is in flight");
        bytes.push(waiting().1);
    }
    assert!(
        bytes.windows(2).all(|pair| pair[1] >= pair[0] + 100),
        "{bytes:?}"
    );
    // Each acknowledgement lets one leave.
    let mut packets = client.read();
    for left in [2, 1, 0] {
        let [Packet::Publish(message)] = &packets[..] else {
            panic!("{packets:?}");
        };
        client.say(ack(Kind::Puback, message.id));
        packets = client.read();
        assert_eq!(waiting().0, left);
        bytes.pop();
        assert_eq!(waiting().1, bytes[bytes.len() - 1]);
    }
    client.close();
    host(&hub, "t", "offline", QoS::AtLeastOnce);
    assert_eq!(waiting().0, 1);
    hub.clear_session("client", START);
    assert_eq!(waiting(), (0, 0));
}

/// Covers: none
#[test]
fn drops_by_reason() {
    let hub = hub(|config| config.limits.session_queue_messages = 2);
    let connect = Connect::v5("client").expiry(9).clean(false);
    let mut client = Client::connect(&hub, &connect);
    client.say(Subscribe::new(1).filter("t", 1).bytes());
    client.close();
    let mut expected = [(DropReason::QueueFull, 0)];
    for number in 0..5 {
        host(&hub, "t", "x", QoS::AtLeastOnce);
        expected[0].1 = u64::saturating_sub(number + 1, 2);
        assert_eq!(stats(&hub).dropped_by(DropReason::QueueFull), expected[0].1);
    }
    host(&hub, "t", "x", QoS::AtMostOnce);
    hub.fire(START.after_s(9));

    let now = stats(&hub);
    let drops: Vec<_> = now.dropped().filter(|(_, count)| *count > 0).collect();
    let expected = [
        (DropReason::QueueFull, 3),
        (DropReason::NotConnected, 1),
        (DropReason::SessionEnded, 2),
    ];
    assert_eq!(drops, expected);
    assert_eq!(now.dropped_total(), 6);
    assert_eq!(now.dropped().len(), DropReason::ALL.len());
}

/// Covers: none
#[test]
fn retained_messages_and_what_a_driver_counts() {
    let hub = hub(|_| ());
    let mut client = Client::plain(&hub, "client");
    let kept = || (stats(&hub).retained, stats(&hub).retained_bytes);
    let retain = |topic: &str, payload: &str| Publish::new(topic, payload).retain().bytes();
    client.say(retain("a", "12345"));
    let (one, first) = kept();
    assert!(one == 1 && first >= 6);
    client.say(retain("b", "12345"));
    assert_eq!(kept(), (2, 2 * first));
    client.say(retain("b", "1234567"));
    assert_eq!(kept(), (2, 2 * first + 2));
    client.say(retain("b", ""));
    assert_eq!(kept(), (1, first));
    client.say(retain("b", ""));
    client.say(retain("a", ""));
    assert_eq!(kept(), (0, 0));

    hub.count_read(7);
    hub.count_read(3);
    hub.count_written(5);
    hub.report_panic();
    let now = hub.stats(Tick(1234));
    assert_eq!((now.bytes_received, now.bytes_sent), (10, 5));
    assert_eq!((now.panics, now.uptime_ms), (1, 1234));
}

const PAGE: &str = include_str!("../../../../docs/counters.md");
const HEADER: &str = include_str!("../../../../include/midge.h");
const PYTHON: &str = include_str!("../../../../python/midge/_types.py");

/// What stands between backticks in a column of the rows whose headings say that they are about
/// `heading`, the first column's.
fn column(heading: &str, number: usize) -> BTreeSet<&'static str> {
    let mut names = BTreeSet::new();
    let mut is_wanted = false;

    for line in PAGE.lines() {
        let Some(cell) = line.split('|').nth(number) else {
            is_wanted = false;
            continue;
        };

        let first = line.split('|').nth(1).unwrap_or_default().trim();
        if ["counter", "name"].contains(&first) {
            is_wanted = first == heading;
        } else if is_wanted {
            names.extend(cell.split('`').skip(1).step_by(2));
        }
    }

    names
}

/// The lines of a text from behind `start` up to `end`.
fn part(text: &'static str, start: &str, end: &str) -> impl Iterator<Item = &'static str> {
    let (_, from) = text.split_once(start).unwrap();
    from.split_once(end).unwrap().0.lines().map(str::trim)
}

/// Covers: none
#[test]
fn the_page_has_a_line_for_each_counter_of_rust_and_python() {
    let stats = Stats::default();
    let memory = stats
        .memory
        .values()
        .map(|(name, _)| format!("memory.{name}"));
    let named: BTreeSet<_> = (stats.values().map(|(name, _)| name.to_owned()))
        .chain(memory)
        .collect();

    // Those of one field have no parentheses and no blanks.
    let listed: BTreeSet<_> = (column("counter", 1).into_iter())
        .filter(|name| !name.contains(['(', ' ']))
        .filter(|name| *name != "memory")
        .map(str::to_owned)
        .collect();
    assert_eq!(listed, named);

    let python: BTreeSet<_> = part(PYTHON, "class Stats(NamedTuple):", "\nclass ")
        .filter_map(|line| Some(line.split_once(": ")?.0))
        .filter(|name| !["dropped", "memory"].contains(name) && !name.contains(['`', ' ']))
        .map(str::to_owned)
        .collect();
    let fields: BTreeSet<_> = stats.values().map(|(name, _)| name.to_owned()).collect();
    assert_eq!(python, fields);
}

/// Covers: none
#[test]
fn the_page_has_a_line_for_each_counter_of_c() {
    let fields: BTreeSet<_> = part(HEADER, "typedef struct midge_stats {", "} midge_stats;")
        .filter_map(|line| {
            line.strip_prefix("uint64_t ")
                .or(line.strip_prefix("uint32_t "))
        })
        .map(|name| name.trim_end_matches(';'))
        .filter(|name| !["struct_size", "dropped[16]"].contains(name))
        .collect();
    assert_eq!(column("counter", 2), fields);
}

/// Covers: none
#[test]
fn the_page_has_a_line_for_each_topic_of_the_broker() {
    let hub = hub(|config| config.sys.interval_s = 1);
    let retained = hub.retained("$SYS/#", START);
    let topics: BTreeSet<_> = (retained.iter())
        .map(|message| message.topic().trim_start_matches("$SYS/broker/"))
        .collect();

    // The other counters that a topic adds up stand beside it.
    let stats = Stats::default();
    let counters: BTreeSet<_> = stats.values().map(|(name, _)| name).collect();
    let listed: BTreeSet<_> = column("counter", 3)
        .difference(&counters)
        .copied()
        .collect();
    assert_eq!(listed, topics);
}

/// Covers: none
#[test]
fn the_page_has_a_line_for_each_reason_of_a_drop() {
    let names: BTreeSet<_> = DropReason::ALL.iter().map(|reason| reason.name()).collect();
    assert_eq!(column("name", 1), names);

    let defined: BTreeSet<_> = (HEADER.lines())
        .filter_map(|line| line.strip_prefix("#define ")?.split(' ').next())
        .filter(|name| name.starts_with("MIDGE_DROP_") && *name != "MIDGE_DROP_COUNT")
        .collect();
    assert_eq!(column("name", 2), defined);
}
