//! What goes wrong in other brokers; here each is a test. Those that are statements of the
//! specification stand with their statements.

use midge_testkit::{Connect, Kind, Publish, Subscribe, ack};

use crate::common::{Server, broker, broker_set};
use crate::{v311, watcher};

fn is_connected(server: &Server, id: &str) -> bool {
    server
        .clients()
        .iter()
        .any(|client| &*client.info.client_id == id)
}

/// Covers: NN5-114
#[test]
fn offline_messages_come_in_order_and_redelivery_has_dup() {
    let server = broker();
    let kept = v311("kept").clean(false);
    let mut client = server.connect(&kept);
    client.subscribe("t", 1);
    client.cut();

    let mut publisher = crate::client(&server, "publisher");
    for n in 0..500 {
        publisher.publish("t", n.to_string(), 1);
    }

    let mut client = server.resume(&kept);
    for n in 0..250 {
        assert_eq!(client.expect_publish().text(), n.to_string());
    }

    client.cut();

    let mut client = server.resume(&kept);
    for n in 0..500 {
        let message = client.receive();
        assert_eq!(message.text(), n.to_string());
        assert!(message.dup || n >= 250, "{n}");
    }

    client.expect_nothing();
}

/// Covers: v5:MQTT-3.1.4-3
#[test]
fn after_a_takeover_one_client_is_connected() {
    let server = broker();
    let mut clients = Vec::new();
    for version in [5, 4, 3, 5, 4] {
        clients.push(server.connect(&Connect::new(version, "same")));
    }
    let mut last = clients.pop().unwrap();
    for mut client in clients {
        let codes: &[u8] = if client.version() == 5 { &[0x8e] } else { &[] };
        client.expect_closed_with(codes);
    }
    last.expect_nothing();
    assert!(is_connected(&server, "same"));
    assert_eq!(server.clients().len(), 1);
}

/// Covers: NN5-127
#[test]
fn stopping_says_so_to_version_5_only_and_frees_the_port() {
    let server = broker();
    let mut five = server.client("five");
    let mut four = crate::client(&server, "four");
    let address = server.listener();
    server.stop(midge::Stop::Now).unwrap();
    five.expect_disconnect(0x8b);
    four.expect_closed_with(&[]);
    assert!(std::net::TcpStream::connect(address).is_err());
    let again = midge::Broker::builder()
        .listen(format!("tcp://{address}"))
        .start()
        .unwrap();
    assert_eq!(again.addr(), Some(address));
}

/// Covers: NN5-137
#[test]
fn payloads_of_every_size_go_through() {
    let server = broker();
    let mut client = watcher(&server, "t");
    let mut publisher = crate::client(&server, "publisher");

    for size in [
        0,
        1,
        8191,
        8192,
        20_000,
        65_530,
        65_536,
        70_000,
        1 << 20,
        3 << 20,
    ] {
        let payload: Vec<u8> = (0..size).map(|n| (n % 251) as u8).collect();
        for qos in 0..3 {
            publisher.publish("t", &payload, qos);
            assert_eq!(client.receive().payload, payload);
        }
    }
}

/// Covers: NN5-135
#[test]
fn a_client_that_does_not_read_neither_grows_nor_slows_the_others() {
    let server = broker_set(&[
        ("limits.session_queue_bytes", "262144"),
        ("overflow.session", "drop_newest"),
    ]);
    let mut stalled = crate::client(&server, "stalled");
    stalled.subscribe("t", 0);
    let mut live = watcher(&server, "t");
    let mut publisher = crate::client(&server, "publisher");
    let payload = vec![7; 65_536];
    for _ in 0..400 {
        publisher.publish("t", &payload, 0);
        assert_eq!(live.receive().payload.len(), payload.len());
    }
    assert!(server.stats().dropped_by(midge::DropReason::QueueFull) > 0);
    assert!(is_connected(&server, "stalled"));
}

/// Covers: v5:MQTT-3.12.4-1
#[test]
fn a_slow_reader_that_pings_stays_connected() {
    let server = broker();
    let mut slow = server.connect(&v311("slow").keep_alive(10));
    slow.subscribe("t", 0);
    // More than sockets hold, so that the broker cannot write all of it.
    for _ in 0..200 {
        server.publish("t", vec![1; 65_536]).unwrap();
    }
    for _ in 0..5 {
        let before = server.stats().packets_received;
        slow.send([0xc0, 0]);
        while server.stats().packets_received == before {
            std::thread::yield_now();
        }
        server.pass(9);
    }
    assert!(is_connected(&server, "slow"));
}

/// Covers: NN5-005
#[test]
fn identifiers_of_the_two_directions_do_not_mix() {
    let server = broker();
    let mut client = crate::client(&server, "c");
    client.subscribe("to c", 2);
    server
        .message("to c")
        .payload("p")
        .qos(midge::QoS::ExactlyOnce)
        .send()
        .unwrap();

    let message = client.expect_message("to c", "p");
    client.send(Publish::new("from c", "p").qos(2, message.id).bytes_for(4));
    client.expect_ack(Kind::Pubrec, message.id);
    client.send(Subscribe::new(message.id).filter("other", 0).bytes_for(4));
    client.expect_suback(message.id);
    client.send(ack(Kind::Pubrec, message.id));
    client.expect_ack(Kind::Pubrel, message.id);
    client.send(ack(Kind::Pubrel, message.id));
    client.expect_ack(Kind::Pubcomp, message.id);
    client.send(ack(Kind::Pubcomp, message.id));
    client.expect_nothing();
}

/// Covers: NN5-040
#[test]
fn what_comes_before_authentication_is_bounded() {
    let server = broker_set(&[("limits.packet_bytes", "1024")]);
    let mut bytes = Connect::v5("c").bytes();
    bytes.truncate(1);
    bytes.extend([0xff, 0xff, 0x7f]);
    server.say(bytes).expect_closed_with(&[0x95]);
}
