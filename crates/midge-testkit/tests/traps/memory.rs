//! What happens to each kind of thing when no more memory may be held for clients.

use midge::{ClientInfo, DropReason, EventMask, HookSet, Hooks, SubscriptionOptions, Verdict};
use midge_testkit::{Client, Connect, Publish, Subscribe, Will, unsubscribe};

use super::{client, kept};
use crate::common::{Server, broker, broker_set, broker_with, props};

/// A broker that may hold so many bytes for its clients.
fn small(bytes: usize) -> Server {
    broker_set(&[("limits.total_bytes", &bytes.to_string())])
}

fn held(server: &Server) -> u64 {
    server.stats().memory.total
}

/// Covers: v5:MQTT-3.2.2-7
#[test]
fn connect_is_refused_and_says_why() {
    let server = small(64 << 10);
    let before = held(&server);
    for (version, code) in [(3, 3), (4, 3), (5, 0x97)] {
        let will = Will::new("will", vec![b'w'; 60_000]);
        let connect = Connect::new(version, "large").will(will);
        let (mut refused, connack) = server.answer(&connect);
        assert_eq!(connack.code, code);
        refused.expect_closed();
        // One that takes less is welcome.
        client(&server, version, "small").disconnect();
    }
    server.clear_session("small");
    let mut other = server.client("other");
    other.barrier();
    assert_eq!(server.stats().memory.wills, 0);
    assert!(held(&server) < before + 10_000);
}

/// Covers: none
#[test]
fn connections_beyond_the_budget_are_closed() {
    let server = small(64 << 10);
    let mut clients: Vec<Client> = (0..40).map(|_| server.open()).collect();
    let refused = clients.iter_mut().rev().take(5);
    for client in refused {
        client.expect_closed();
    }
    assert!(held(&server) <= 64 << 10);
    drop(clients);
}

/// Covers: NN5-036
#[test]
fn subscriptions_are_refused_one_by_one() {
    // The packet itself is held, too, while it is handled.
    let server = small(192 << 10);
    for (version, refused) in [(4, 0x80), (5, 0x97)] {
        let mut client = client(&server, version, "client");
        client.barrier();
        let before = held(&server);
        let filters: Vec<String> = (0..100)
            .map(|n| format!("{n}/{}", "x".repeat(900)))
            .collect();
        let id = client.fresh_id();
        let mut subscribe = Subscribe::new(id);
        for filter in &filters {
            subscribe = subscribe.filter(filter, 1);
        }
        let codes = client.request(&subscribe).codes;
        let granted = codes.iter().take_while(|code| **code == 1).count();
        assert!((10..90).contains(&granted), "{granted}");
        assert!(codes[granted..].iter().all(|code| *code == refused));
        assert_eq!(server.stats().subscriptions, granted as u64);

        // What is given up makes room.
        let packet = unsubscribe(version, 77, &props(), &filters[..granted]);
        client.send(packet);
        client.expect_unsuback(77);
        assert_eq!(server.stats().memory.subscriptions, 0);
        assert!(held(&server) <= before + 5_000);
        client.subscribe("t", 1);
        client.disconnect();
    }
}

/// Defers every question about a subscription, and never answers.
struct Undecided;

impl Hooks for Undecided {
    fn set(&self) -> HookSet {
        HookSet::AUTHORIZE_SUBSCRIBE
    }

    fn authorize_subscribe(&self, _: &ClientInfo, _: &str, _: &SubscriptionOptions) -> Verdict {
        let (resolver, verdict) = Verdict::defer();
        std::mem::forget(resolver);
        verdict
    }
}

/// Covers: none
#[test]
fn a_subscribe_that_cannot_wait_for_hooks_is_refused_as_a_whole() {
    let server = broker_with(|builder| {
        let small = builder.set("limits.total_bytes", "262144");
        let many = small
            .expect("a known option")
            .set("limits.filters_per_packet", "10000");
        many.expect("a known option").hooks(Undecided)
    });

    let mut publisher = server.client("publisher");
    while server.stats().dropped_by(DropReason::MemoryFull) == 0 {
        let topic = format!("t/{}", server.stats().retained);
        publisher.retain(&topic, [b'x'; 1000], 1);
    }

    let mut client = server.client("client");
    let mut subscribe = Subscribe::new(1);
    for _ in 0..5_000 {
        subscribe = subscribe.filter("f", 0);
    }

    let answer = client.request(&subscribe);
    assert_eq!(answer.codes, [0x97; 5_000]);
    client.barrier();
}

/// Covers: NN5-036
#[test]
fn messages_are_dropped_with_a_name() {
    let server = small(128 << 10);
    let sleeper = kept(5, "sleeper");
    let mut client = server.connect(&sleeper);
    client.subscribe("t", 1);
    client.disconnect();
    let mut publisher = server.client("publisher");
    let events = server.events_with(EventMask::DROPPED, 1000);
    for number in 0..200u16 {
        let message = Publish::new("t", [&number.to_be_bytes()[..], &[b'x'; 1000]].concat());
        publisher.deliver(&message.qos(1, 0));
    }
    let dropped = server.stats().dropped_by(DropReason::MemoryFull);
    assert!((50..195).contains(&dropped), "{dropped}");
    assert!(events.try_recv().is_some());
    assert!(held(&server) <= 128 << 10);

    // What was taken is delivered, in order; then there is room again.
    let mut client = server.resume(&sleeper);
    for number in 0..200 - dropped as u16 {
        let message = client.receive();
        assert_eq!(message.payload[..2], number.to_be_bytes());
    }
    client.barrier();
    assert_eq!(server.stats().memory.queues, 0);
    publisher.deliver(&Publish::new("t", "again").qos(1, 0));
    assert_eq!(client.receive().text(), "again");
}

/// Covers: none
#[test]
fn a_message_to_many_is_held_once() {
    let server = small(512 << 10);
    let sleepers: Vec<_> = (0..40).map(|n| kept(5, &format!("sleeper-{n}"))).collect();
    for sleeper in &sleepers {
        let mut client = server.connect(sleeper);
        client.subscribe("t", 1);
        client.disconnect();
    }

    let before = held(&server);
    let mut publisher = server.client("publisher");
    for size in [5_000, 100_000] {
        publisher.deliver(&Publish::new("t", vec![b'x'; size]).qos(1, 0));
    }

    assert_eq!(server.stats().dropped_total(), 0);

    let took = held(&server) - before;
    assert!((105_000..170_000).contains(&took), "{took}");
    for sleeper in &sleepers {
        let mut client = server.resume(sleeper);
        assert_eq!(client.receive().payload.len(), 5_000);
        assert_eq!(client.receive().payload.len(), 100_000);
        client.disconnect();
    }

    assert_eq!(server.stats().memory.payloads, 0);
}

/// Covers: none
#[test]
fn retained_messages_are_dropped_with_a_name() {
    let server = small(64 << 10);
    let mut publisher = server.client("publisher");
    let before = held(&server);
    for number in 0..100 {
        publisher.retain(&format!("t/{number}"), [b'x'; 1000], 1);
    }

    let stats = server.stats();
    let dropped = stats.dropped_by(DropReason::MemoryFull);
    assert!((30..90).contains(&dropped), "{dropped}");
    assert_eq!(stats.retained, 100 - dropped);
    for number in 0..100 {
        publisher.retain(&format!("t/{number}"), "", 1);
    }

    assert_eq!(
        (server.stats().retained, server.stats().memory.retained),
        (0, 0)
    );
    assert!(held(&server) <= before + 1_000);
}

/// Covers: NN5-040
#[test]
fn the_largest_gives_way_to_incomplete_packets() {
    let server = small(128 << 10);
    let mut bystander = server.client("bystander");
    let events = server.events_with(EventMask::CLIENT_DISCONNECTED, 10);
    let mut small = server.client("small");
    let mut large = server.client("large");
    let part = |size: usize| {
        let whole = Publish::new("t", vec![b'x'; size]).bytes();
        let (begin, end) = whole.split_at(size / 2);
        (begin.to_vec(), end.to_vec())
    };
    let (begin, end) = part(50_000);
    small.send(&begin);
    bystander.barrier();
    let (more, _) = part(100_000);
    large.send(&more);
    large.expect_disconnect(0x97);
    let event = events.recv().expect("an event");
    assert!(format!("{event:?}").contains("MemoryFull"), "{event:?}");

    // The other one goes on as if nothing had been.
    bystander.subscribe("t", 0);
    small.send(&end);
    assert_eq!(bystander.receive().payload.len(), 50_000);
    bystander.expect_nothing();
    assert_eq!(server.stats().memory.input, 0);
}

/// Covers: none
#[test]
fn incomplete_packets_before_connect_count_too() {
    let server = small(128 << 10);
    let mut bystander = server.client("bystander");
    let mut clients: Vec<Client> = (0..4)
        .map(|n| {
            let connect = Connect::v5(format!("c{n}"))
                .user("u".repeat(60_000))
                .bytes();
            server.say(&connect[..connect.len() - 1])
        })
        .collect();

    // The largest at each moment: two at least.
    let mut closed = 0;
    while closed < 2 {
        bystander.barrier();
        closed = 5 - server.stats().connections;
    }

    assert!(held(&server) <= 128 << 10);
    bystander.expect_nothing();
    clients.clear();
}

/// Covers: NN5-135
#[test]
fn answers_to_subscribe_do_not_pile_up() {
    let server = broker();
    for version in [4, 5] {
        let mut other = client(&server, version, "other");
        let mut client = client(&server, version, "client");
        let mut subscribe = Subscribe::new(1);
        for number in 0..2_000 {
            subscribe = subscribe.filter(format!("{}", number % 10), 0);
        }
        let limit = 64 << 20;
        let bytes = subscribe.bytes_for(version);
        let sent = client.send_what_is_taken(&bytes.repeat(4), limit);
        assert!(sent < limit, "the broker took {sent} bytes of SUBSCRIBE");
        other.expect_nothing();
        assert!(server.stats().memory.output < 1 << 20);
    }
}

/// Covers: v5:MQTT-3.1.2-24, v5:MQTT-3.1.2-25
#[test]
fn what_is_too_large_for_one_client_takes_no_room_from_others() {
    let server = broker_set(&[("limits.total_queue_bytes", "65536")]);
    let mut narrow = server.connect(
        &Connect::v5("narrow")
            .maximum_packet_size(200)
            .receive_maximum(1),
    );
    narrow.subscribe("#", 1);

    let sleeper = kept(5, "sleeper");
    let mut client = server.connect(&sleeper);
    client.subscribe("small", 1);
    client.disconnect();

    let mut publisher = server.client("publisher");

    // The window of the first one is closed from now on.
    publisher.deliver(&Publish::new("first", "x").qos(1, 0));

    let first = narrow.expect_publish();
    for _ in 0..50 {
        publisher.deliver(&Publish::new("large", vec![b'x'; 4_000]).qos(1, 0));
        publisher.deliver(&Publish::new("small", "y").qos(1, 0));
    }

    let stats = server.stats();
    assert_eq!(stats.dropped_by(DropReason::PacketTooLarge), 50);
    assert_eq!(stats.dropped_total(), 50);
    narrow.acknowledge(&first);
    for _ in 0..50 {
        assert_eq!(narrow.receive().topic, "small");
    }

    let mut client = server.resume(&sleeper);
    for _ in 0..50 {
        assert_eq!(client.receive().text(), "y");
    }
}
