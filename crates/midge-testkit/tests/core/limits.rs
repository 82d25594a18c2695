//! Bounds hold to the byte and to the message, on the short ways, too.

use std::sync::Arc;

use midge::QoS;
use midge_core::{DisconnectReason, DropReason, Hub, MessageRef, Overflow, PublishError};
use midge_testkit::{Connect, Kind, Packet, PropsBuf, Publish, Subscribe};

use crate::world::{Client, START, hub};

fn publish(hub: &Arc<Hub>, topic: &str, payload: &[u8], qos: QoS) -> Result<usize, PublishError> {
    let mut message = MessageRef::new(topic, payload);
    message.qos = qos;
    let receipt = hub.publish_from_host(message, None, || START, false);
    receipt.map(|receipt| receipt.matched())
}

/// Packets of one topic in a row, as they come in one read.
fn run(payload: &[u8], qos: u8, ids: std::ops::Range<u16>) -> Vec<u8> {
    ids.flat_map(|id| Publish::new("t", payload).qos(qos, id).bytes())
        .collect()
}

/// Covers: none
#[test]
fn a_message_of_the_host_may_be_as_large_as_a_packet() {
    let hub = hub(|config| config.limits.packet_bytes = 100);
    let most = vec![b'x'; 99];
    assert_eq!(publish(&hub, "t", &most, QoS::AtMostOnce), Ok(0));
    let more = vec![b'x'; 100];
    let refused = Err(PublishError::TooLarge);
    assert_eq!(publish(&hub, "t", &more, QoS::AtMostOnce), refused);
}

/// How messages reach a session.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Way {
    Host,
    Client,
    /// In one read, with a route that is remembered.
    Run,
}

/// A session that subscribes to `t`, and publishers on each way.
struct Filled {
    hub: Arc<Hub>,
    client: Option<Client>,
    publisher: Client,
}

impl Filled {
    fn new(limit: Option<u64>, connected: bool) -> Self {
        let hub = hub(|config| {
            if let Some(limit) = limit {
                config.limits.session_queue_bytes = usize::try_from(limit).unwrap();
            }
        });

        let publisher = Client::plain(&hub, "publisher");
        let connect = Connect::v5("client").clean(false).expiry(9);
        let mut client = Client::connect(&hub, &connect);
        client.say(Subscribe::new(1).filter("t", 1).bytes());
        client.read();

        let client = if connected {
            Some(client)
        } else {
            client.close();
            None
        };

        Self {
            hub,
            client,
            publisher,
        }
    }

    /// Five messages.
    fn fill(&mut self, way: Way) {
        let payload = [b'x'; 100];

        match way {
            Way::Host => {
                for _ in 0..5 {
                    publish(&self.hub, "t", &payload, QoS::AtLeastOnce).unwrap();
                }
            }
            Way::Client => {
                for id in 1..6 {
                    self.publisher.say(run(&payload, 1, id..id + 1));
                }
            }
            Way::Run => {
                // No receiver keeps these.
                self.publisher.say(run(b"", 0, 0..3));
                if let Some(client) = &mut self.client {
                    client.read();
                }
                self.publisher.say(run(&payload, 1, 1..6));
            }
        }
    }
}

/// Covers: none
#[test]
fn a_session_queue_takes_its_bytes_and_no_more() {
    for connected in [false, true] {
        for way in [Way::Host, Way::Client, Way::Run] {
            let mut unbounded = Filled::new(None, connected);
            unbounded.fill(way);
            let all = unbounded.hub.stats(START).queued_bytes;
            assert!(all >= 500 && all.is_multiple_of(5), "{all}");

            for (limit, dropped) in [(all, 0), (all - 1, 1), (all / 5, 4), (all / 5 - 1, 5)] {
                let mut filled = Filled::new(Some(limit), connected);
                filled.fill(way);
                let stats = filled.hub.stats(START);
                let drops = stats.dropped_by(DropReason::QueueFull);
                assert_eq!(drops, dropped, "{way:?}: {limit} of {all}, {connected}");
                assert_eq!(stats.queued_bytes, all / 5 * (5 - dropped));
                // What a client can be sent at once does not wait.
                let waiting = if connected { 0 } else { 5 - dropped };
                assert_eq!(stats.queued_messages, waiting, "{way:?}: {limit} of {all}");
            }
        }
    }
}

/// Covers: none
#[test]
fn runs_keep_to_the_bytes_of_a_client_however_short_they_are() {
    // Room for some of the messages, and for what is kept free for the largest of a run.
    let limit = 131_072 + 20_000;

    for length in [1, 3, 20] {
        let hub = hub(|config| config.limits.session_queue_bytes = limit);
        let mut client = Client::plain(&hub, "client");
        client.say(Subscribe::new(1).filter("t", 1).bytes());
        client.read();
        let mut publisher = Client::plain(&hub, "publisher");
        let mut next = 1;
        while next < 100 {
            publisher.say(run(&[b'x'; 3_000], 1, next..next + length));
            publisher.read();
            client.read();
            next += length;
            let queued = hub.stats(START).queued_bytes;
            assert!(queued <= limit as u64, "{queued} bytes, runs of {length}");
        }
        let stats = hub.stats(START);
        assert!(stats.dropped_by(DropReason::QueueFull) > 0);
        assert!(
            stats.queued_bytes > limit as u64 - 4_000,
            "all of it is used"
        );
    }
}

/// Covers: none
#[test]
fn what_is_not_written_yet_counts_against_the_bytes_of_a_client() {
    // Three messages, and not nearly four.
    let hub = hub(|config| config.limits.session_queue_bytes = 130_000);
    let payload = vec![b'x'; 40_000];
    let mut client = Client::plain(&hub, "client");
    client.say(Subscribe::new(1).filter("t", 0).bytes());
    client.read();
    let send = || publish(&hub, "t", &payload, QoS::AtMostOnce).unwrap();
    let drops = || hub.stats(START).dropped_by(DropReason::QueueFull);
    for (number, dropped) in [0, 0, 0, 1, 2].into_iter().enumerate() {
        send();
        assert_eq!(drops(), dropped, "message {number}");
    }

    // Taken to be written, and not written: there is room for the little that is always taken.
    assert!(client.take().len() > 120_000);
    for dropped in [2, 3, 4] {
        send();
        assert_eq!(drops(), dropped);
    }
    // Written, all of it: there is room again.
    assert!(!client.write().is_empty());
    for dropped in [4, 4, 4, 5] {
        send();
        assert_eq!(drops(), dropped);
    }
}

/// Covers: none
#[test]
fn a_connect_that_is_too_large_is_answered_whatever_its_length() {
    // Remaining lengths of two, three and four bytes.
    for (length, properties) in [(200, 0), (20_000, 0), (20_000, 40)] {
        let hub = hub(|config| config.limits.packet_bytes = 100);
        let mut client = Client::accept(&hub);
        let text = "x".repeat(length);
        let props = (0..properties).fold(PropsBuf::new(), |props, _| {
            props.user("long", "x".repeat(60_000))
        });
        client.say(Connect::v5("client").user(text).props(props).bytes());
        let packets = client.read();
        let [Packet::Connack(connack)] = &packets[..] else {
            panic!("{length}: {packets:?}");
        };
        assert_eq!(connack.code, 0x95, "{length}");
        assert!(client.link.ended().is_some());
    }
}

/// Covers: none
#[test]
fn a_client_has_no_more_than_its_receive_maximum_in_flight_in_one_read_either() {
    for excess in [1, 2, 7] {
        let hub = hub(|config| config.limits.receive_maximum = 3);
        let mut reader = Client::plain(&hub, "reader");
        reader.say(Subscribe::new(1).filter("t", 0).bytes());
        reader.read();
        let mut publisher = Client::plain(&hub, "publisher");
        // The route is remembered, so that what follows is a run.
        publisher.say(run(b"first", 1, 1..4));
        publisher.read();
        reader.read();

        publisher.say(run(b"run", 2, 10..13 + excess));
        let packets = publisher.read();
        let (end, acks) = packets.split_last().unwrap();
        assert!(
            matches!(end, Packet::Disconnect(end) if end.code == 0x93),
            "{end:?}"
        );
        assert_eq!(acks.len(), 3);
        assert_eq!(reader.texts().len(), 3);
    }
}

/// Covers: v5:MQTT-4.3.3-10
#[test]
fn one_message_in_flight_comes_once_however_often_it_is_sent() {
    let hub = hub(|_| ());
    let mut reader = Client::plain(&hub, "reader");
    reader.say(Subscribe::new(1).filter("t", 2).bytes());
    reader.read();
    let mut publisher = Client::plain(&hub, "publisher");
    publisher.say(run(b"first", 1, 1..4));
    publisher.read();
    reader.read();

    // Known ones among new ones, in one read.
    publisher.say([run(b"a", 2, 7..8), run(b"a", 2, 7..10), run(b"a", 2, 8..9)].concat());
    assert_eq!(publisher.acks(Kind::Pubrec), [7, 7, 8, 9, 8]);
    assert_eq!(reader.texts().len(), 3);
}

/// Covers: v5:MQTT-3.1.2-24
#[test]
fn a_run_is_cut_to_what_each_receiver_takes() {
    for qos in 0..3 {
        let hub = hub(|_| ());
        let receivers = [
            Connect::v5("any"),
            Connect::v5("small").maximum_packet_size(60),
            Connect::v5("aliases").topic_alias_maximum(5),
            Connect::v5("small with aliases")
                .maximum_packet_size(60)
                .topic_alias_maximum(5),
            Connect::v5("few").receive_maximum(2),
        ];
        let mut receivers = receivers.map(|connect| {
            let mut client = Client::connect(&hub, &connect);
            client.say(Subscribe::new(1).filter("t", qos).bytes());
            client.read();
            client
        });
        let mut publisher = Client::plain(&hub, "publisher");
        publisher.say(run(b"first", qos, 1..4));
        for receiver in &mut receivers {
            // What is not acknowledged stays in flight.
            receiver.take();
        }
        publisher.say([run(&[b'x'; 100], qos, 10..13), run(b"little", qos, 20..23)].concat());

        let in_flight = |few: usize, all: usize| if qos == 0 { all } else { few };
        let lengths: Vec<_> = receivers
            .iter_mut()
            .map(|receiver| receiver.write().len())
            .collect();
        let [any, small, aliases, small_with_aliases, few] = lengths[..] else {
            panic!("a receiver is missing");
        };
        assert!(any > 300);
        assert!(small < 60 && small > 0, "{small}");
        assert!(aliases > 300, "{aliases}");
        assert!(small_with_aliases > 0 && small_with_aliases < 60);
        assert_eq!(few, in_flight(0, any));
        let dropped = hub.stats(START).dropped_by(DropReason::PacketTooLarge);
        assert_eq!(dropped, 6);
    }
}

/// Covers: none
#[test]
fn bytes_that_were_written_count_no_more_for_all_clients_together() {
    let total = 1 << 20;

    for way in [Way::Host, Way::Run] {
        let hub = hub(|config| config.limits.total_queue_bytes = total);
        let mut client = Client::plain(&hub, "client");
        client.say(Subscribe::new(1).filter("t", 0).bytes());
        client.read();
        let mut publisher = Client::plain(&hub, "publisher");
        publisher.say(run(b"first", 0, 0..3));
        let payload = vec![b'x'; 30_000];
        let mut sent = 0;

        while sent < 4 * total {
            // More than is written in one go; now and then the connection ends with it.
            match way {
                Way::Run => publisher.say(run(&payload, 0, 0..5)),
                _ => (0..5).for_each(|_| {
                    publish(&hub, "t", &payload, QoS::AtMostOnce).unwrap();
                }),
            }
            sent += 5 * payload.len();
            if sent % 4 == 0 {
                client.close();
                client = Client::plain(&hub, "client");
                client.say(Subscribe::new(1).filter("t", 0).bytes());
            }
            client.read();
            assert_eq!(
                hub.stats(START).dropped_total(),
                0,
                "{way:?} after {sent} bytes"
            );
        }
    }
}

/// Covers: none
#[test]
fn retained_messages_that_wait_for_the_window_count_against_the_bytes_of_a_client() {
    let limit = 10_000;
    let hub = hub(|config| config.limits.session_queue_bytes = limit);
    let mut publisher = Client::plain(&hub, "publisher");
    for id in 1..11 {
        let retained = Publish::new(format!("t/{id}"), vec![b'x'; 3_000]).qos(1, id);
        publisher.say(retained.retain().bytes());
    }
    let mut client = Client::connect(&hub, &Connect::v5("client").receive_maximum(1));
    client.say(Subscribe::new(1).filter("t/+", 1).bytes());
    client.read();
    let clients = hub.clients();
    let view = clients
        .iter()
        .find(|view| &*view.info.client_id == "client");
    let view = view.expect("a connected client");
    assert_eq!(view.queued as u64, hub.stats(START).queued_messages);
    assert!(view.queued > 0 && view.inflight == 1);

    let sessions = hub.sessions();
    let session = sessions
        .iter()
        .find(|session| &*session.client_id == "client");
    let waiting = session.expect("a session").queued_bytes;
    // Two have room for their payloads and what is charged beside them, a third one has not.
    assert!(waiting <= limit && waiting > 2 * 3_000, "{waiting}");
    assert_eq!(hub.stats(START).dropped_by(DropReason::QueueFull), 8);
}

/// Covers: none
#[test]
fn a_client_whose_queue_is_full_is_disconnected_if_the_host_wants_that() {
    for (wanted, qos) in [(true, 0), (true, 1), (false, 0), (false, 1)] {
        let hub = hub(|config| {
            config.limits.session_queue_messages = 3;
            config.limits.session_queue_bytes = 130_000;
            if wanted {
                config.overflow.session = Overflow::Disconnect;
            }
        });
        let mut client = Client::connect(&hub, &Connect::v5("client").receive_maximum(1));
        client.say(Subscribe::new(1).filter("t", qos).bytes());
        client.read();
        let qos = if qos == 0 {
            QoS::AtMostOnce
        } else {
            QoS::AtLeastOnce
        };
        for _ in 0..5 {
            publish(&hub, "t", &[b'x'; 40_000], qos).unwrap();
        }
        assert!(hub.stats(START).dropped_by(DropReason::QueueFull) > 0);
        let ended = client.link.ended().is_some();
        assert_eq!(ended, wanted, "{qos:?}");
        if ended {
            assert_eq!(client.link.ended(), Some(&DisconnectReason::TooSlow));
        }
    }
}
