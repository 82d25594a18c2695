//! What a broker of this design may get wrong inside.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Barrier, Mutex};
use std::time::Duration;

use midge::{Broker, DropReason, QoS, ReasonCode};
use midge_testkit::{Client, Connect, Kind, Packet, Publish, Subscribe, Will, ack, id};

use crate::common::{broker, broker_set, broker_with, props};
use crate::{VERSIONS, client, ended, kept};

/// Covers: NN5-114, v5:MQTT-4.6.0-5, v3:MQTT-4.6.0-6
#[test]
fn held_messages_stay_in_their_order_across_connections() {
    let server = broker();
    let connect = kept(5, "client").receive_maximum(2);
    let mut publisher = client(&server, 5, "publisher");
    let mut subscriber = server.begin(&connect);
    subscriber.subscribe("t", 2);

    // All of one moment: the clock stands still, so no time stamp tells them apart.
    for number in 0..40u8 {
        publisher.publish("t", [number], 1 + number % 2);
    }

    for number in 0..40u8 {
        let message = subscriber.expect_message("t", [number]);
        if number % 5 == 3 {
            // Gone before the acknowledgement, so this one comes first again.
            subscriber.cut();
            subscriber = server.resume(&connect);
            let again = subscriber.expect_message("t", [number]);
            assert!(again.dup && again.id == message.id, "{again:?}");
            subscriber.acknowledge(&again);
        } else {
            subscriber.acknowledge(&message);
        }
    }

    subscriber.expect_nothing();
}

/// Covers: NN5-005, v5:MQTT-4.3.3-10, v3:MQTT-4.3.3-2
#[test]
fn the_two_directions_have_identifiers_of_their_own() {
    for version in VERSIONS {
        let server = broker();
        let mut publisher = client(&server, version, "publisher");
        let mut client = client(&server, version, "client");
        client.subscribe("in", 2);
        publisher.publish("in", "p", 2);
        let message = client.expect_message("in", "p");
        // The client uses the same number for a message of its own, and each ends for itself.
        client.send(
            Publish::new("out", "p")
                .qos(2, message.id)
                .bytes_for(version),
        );
        client.expect_ack(Kind::Pubrec, message.id);
        client.send(ack(Kind::Pubrec, message.id));
        client.expect_ack(Kind::Pubrel, message.id);
        client.send(ack(Kind::Pubrel, message.id));
        assert_eq!(client.expect_ack(Kind::Pubcomp, message.id).code, 0);
        assert_eq!(client.unfinished(), 1);
        client.send(ack(Kind::Pubcomp, message.id));
        client.expect_nothing();
    }
}

/// Covers: v5:MQTT-4.3.2-4, v3:MQTT-3.3.4-1, NN5-036
#[test]
fn acknowledgements_are_never_dropped_with_messages() {
    let server = broker_set(&[
        ("limits.session_queue_messages", "2"),
        ("limits.session_queue_bytes", "20000"),
    ]);

    for version in VERSIONS {
        let mut flooder = client(&server, version, "flooder");
        let mut client = client(&server, version, "client");
        client.subscribe("t", 1);
        // Far more than the queue holds, while the client does not read.
        for number in 0..60u16 {
            let publish = Publish::new("t", vec![b'x'; 1000]).qos((number % 2) as u8, 0);
            flooder.deliver(&publish);
        }
        let mut requests = Vec::new();
        for number in 1..=50 {
            requests.extend(Publish::new("o", "p").qos(1, number).bytes_for(version));
            requests.extend(
                Publish::new("o", "p")
                    .qos(2, 1000 + number)
                    .bytes_for(version),
            );
            requests.extend(
                Subscribe::new(2000 + number)
                    .filter("u", 0)
                    .bytes_for(version),
            );
            requests.extend([0xc0, 0]);
        }

        client.send(requests);
        let (mut answers, mut messages) = ([0; 4], 0);
        while answers != [50; 4] {
            match client.recv() {
                Packet::Ack(ack) if ack.kind == Kind::Puback => answers[0] += 1,
                Packet::Ack(ack) if ack.kind == Kind::Pubrec => answers[1] += 1,
                Packet::Suback(_) => answers[2] += 1,
                Packet::Pingresp => answers[3] += 1,
                Packet::Publish(_) => messages += 1,
                other => panic!("{other:?}"),
            }
        }
        assert!(messages <= 60);
    }
}

/// Covers: v3:MQTT-4.5.0-1, v5:MQTT-4.5.0-1
#[test]
fn no_wake_up_is_lost() {
    for threads in [1, 3] {
        let server = broker_with(|builder| builder.threads(threads));
        let mut ping = client(&server, 4, "ping");
        ping.subscribe("pong", 0);
        let mut pong = client(&server, 5, "pong");
        pong.subscribe("ping", 0);
        // Each message finds the other side asleep or just about to be.
        for round in 0..400u16 {
            ping.send(Publish::new("ping", round.to_be_bytes()).bytes_for(4));
            assert_eq!(pong.receive().payload, round.to_be_bytes());
            pong.send(Publish::new("pong", round.to_be_bytes()).bytes());
            assert_eq!(ping.receive().payload, round.to_be_bytes());
        }
        // The same from threads of the host, two at a time.
        let rounds = 500;
        std::thread::scope(|scope| {
            for _ in 0..2 {
                scope.spawn(|| {
                    for _ in 0..rounds {
                        let message = server.message("ping").payload("x").qos(QoS::AtLeastOnce);
                        message.send().expect("a message");
                    }
                });
            }
            for _ in 0..2 * rounds {
                assert_eq!(pong.receive().text(), "x");
            }
        });
        pong.expect_nothing();
    }
}

/// Covers: NN5-135, NN5-040
#[test]
fn answers_that_a_client_does_not_read_do_not_pile_up() {
    let server = broker_with(|builder| builder.threads(1));
    let mut other = client(&server, 4, "other");
    let mut stream = TcpStream::connect(server.listener()).expect("a connection");
    let connect = Connect::new(4, "flood").bytes();
    stream.write_all(&connect).expect("a CONNECT");
    stream.read_exact(&mut [0; 4]).expect("a CONNACK");
    // Two bytes in, two bytes out. Written from a thread of its own, which ends with the connection.
    let mut writer = stream.try_clone().expect("a second handle");
    let flood = std::thread::spawn(move || {
        let _ = writer.write_all(&[0xc0, 0].repeat(8 << 20));
    });
    let unwritten = || {
        let stats = server.stats();
        (2 * stats.packets_sent).saturating_sub(stats.bytes_sent)
    };
    // Each answer to another client of the same thread shows that the flood has had a turn.
    for _ in 0..1_000 {
        other.expect_nothing();
        let waiting = unwritten();
        assert!(waiting < 1 << 20, "{waiting} bytes of answers wait");
    }

    // The answers come as soon as the client reads, more than the broker kept.
    let mut answers = vec![0; 1 << 20];
    stream.read_exact(&mut answers).expect("answers");
    assert!(answers.chunks(2).all(|answer| answer == [0xd0, 0]));
    // Not by an end of the client's: where a write waits, some systems keep that until it is done.
    assert!(server.disconnect("flood", ReasonCode::AdministrativeAction));
    flood.join().expect("no panic");
    other.expect_nothing();
}

/// Covers: NN5-135
#[test]
fn a_client_that_reads_its_answers_is_heard_whatever_else_waits_for_it() {
    let server = broker();
    let heard = server.subscribe("up").expect("a subscription");

    for version in VERSIONS {
        let mut client = client(&server, version, "client");
        // More answers than may wait, all of them read.
        for _ in 0..10 {
            client.send([0xc0, 0].repeat(5_000));
            for _ in 0..5_000 {
                client.expect_pingresp();
            }
        }
        client.subscribe("down", 0);
        // More messages than the kernel takes, none of them read.
        let payload = vec![b'x'; 1 << 20];
        for _ in 0..24 {
            let receipt = server.publish("down", payload.clone()).expect("a message");
            assert_eq!(receipt.matched(), 1);
        }
        client.send(Publish::new("up", "p").bytes_for(version));
        let message = heard.recv_timeout(midge_testkit::DEADLINE);
        assert_eq!(message.expect("a message").payload(), b"p");
    }
}

/// Ends a flood, also when the test fails.
struct Flag(Arc<AtomicBool>);

impl Drop for Flag {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Release);
    }
}

/// Covers: NN5-135
#[test]
fn a_flood_of_one_client_does_not_starve_another() {
    let server = broker();
    let end = Flag(Arc::default());
    let mut others = [client(&server, 4, "a"), client(&server, 5, "b")];
    others[0].subscribe("t", 1);

    let begun = Arc::new(Barrier::new(3));
    let floods: Vec<_> = (0..2)
        .map(|number| {
            let listener = server.listener();
            let (end, begun) = (end.0.clone(), begun.clone());
            std::thread::spawn(move || {
                let connect = Connect::new(4, format!("flood {number}"));
                let (mut client, _) = Client::connect(listener, &connect);
                let packets = Publish::new("flood", "x").bytes_for(4).repeat(1000);
                client.send(&packets);
                begun.wait();
                while !end.load(Ordering::Acquire) {
                    client.send(&packets);
                }
                client.barrier();
            })
        })
        .collect();
    begun.wait();
    for round in 0..50u8 {
        let [subscriber, publisher] = &mut others;
        publisher.publish("t", [round], 1);
        assert_eq!(subscriber.receive().payload, [round]);
    }

    drop(end);
    for flood in floods {
        flood.join().expect("no panic");
    }
}

/// Covers: v5:MQTT-3.1.4-3, v3:MQTT-3.1.4-2
#[test]
fn what_a_taken_over_connection_does_late_is_ignored() {
    for version in VERSIONS {
        let server = broker();
        let mut watcher = client(&server, 5, "watcher");
        watcher.subscribe("#", 1);
        let connect = kept(version, "client");
        let mut old = server.connect(&connect.clone().will(Will::new("will", "w")));
        old.subscribe("t", 1);
        watcher.publish("t", "p", 1);
        let message = old.expect_message("t", "p");
        watcher.receive();
        let mut new = server.connect(&connect);
        watcher.expect_message("will", "w");
        // Acknowledgement, message, subscription, and the end of the old connection.
        old.send(ack(Kind::Puback, message.id));
        old.send(Publish::new("late", "p").qos(1, 1).bytes_for(version));
        old.send(Subscribe::new(2).filter("late", 1).bytes_for(version));
        old.send([0xe0, 0]);
        ended(&mut old, &[0x8e]);
        watcher.expect_nothing();
        assert_eq!(server.subscriptions(Some("client")).len(), 1);
        let again = new.expect_message("t", "p");
        assert!(again.dup && again.id == message.id, "{again:?}");
        new.expect_nothing();
        assert_eq!(server.clients().len(), 2);
    }
}

/// Covers: v5:MQTT-3.3.2-7, v5:MQTT-4.9.0-1, NN5-116
#[test]
fn aliases_and_quota_belong_to_one_connection() {
    let server = broker();
    let mut publisher = client(&server, 5, "publisher");
    let mut subscriber = server.begin(&kept(5, "client").topic_alias_maximum(9).receive_maximum(3));
    subscriber.subscribe("long/topic/#", 1);
    publisher.send(
        Publish::new("long/topic/name", "0")
            .qos(1, 1)
            .alias(1)
            .bytes(),
    );
    publisher.expect_ack(Kind::Puback, 1);
    for number in 1..6u16 {
        let publish = Publish::new("", number.to_string())
            .qos(1, 1 + number)
            .alias(1);
        publisher.send(publish.bytes());
        assert_eq!(publisher.expect_ack(Kind::Puback, 1 + number).code, 0);
    }

    for number in 0..3 {
        subscriber.expect_message("long/topic/name", number.to_string());
    }

    subscriber.expect_nothing();

    // The next connection takes more at once, and knows no alias.
    subscriber.cut();

    let mut subscriber = server.resume(&kept(5, "client"));
    for number in 0..6 {
        let message = subscriber.expect_message("long/topic/name", number.to_string());
        assert_eq!(message.written_topic, "long/topic/name");
        assert!(!message.props.has(id::TOPIC_ALIAS), "{message:?}");
        subscriber.acknowledge(&message);
    }

    // Nor does the publisher's.
    publisher.cut();

    let mut publisher = client(&server, 5, "publisher");
    publisher.send(Publish::new("", "x").alias(1).bytes());
    publisher.expect_disconnect_of(&[0x82, 0x94]);
    subscriber.expect_nothing();
}

/// Covers: v5:MQTT-4.5.0-1
#[test]
fn a_callback_may_use_the_broker_and_ends_with_its_subscription() {
    let server = broker();
    let broker: Broker = (*server).clone();
    let mut client = client(&server, 5, "client");
    client.subscribe("answer", 1);

    let calls = Arc::new(AtomicUsize::new(0));
    let counted = calls.clone();
    let callback = server
        .subscribe("question")
        .expect("a filter")
        .on_message(move |message| {
            counted.fetch_add(1, Ordering::SeqCst);
            // Any of these would hang if a lock were held.
            broker.clients();
            broker
                .set_retained("kept", message.payload_bytes())
                .expect("a message");
            drop(broker.subscribe("question").expect("a filter"));
            broker
                .publish("answer", message.payload_bytes())
                .expect("a message");
        })
        .expect("a thread");

    for round in 0..50u8 {
        client.publish("question", [round], 1);
        assert_eq!(client.receive().payload, [round]);
    }

    for _ in 0..200 {
        server.publish("question", "flood").expect("a message");
    }

    drop(callback);

    // From here on it is not called, whatever waited.
    let before = calls.load(Ordering::SeqCst);
    server.publish("question", "late").expect("a message");
    client.publish("question", "late", 1);
    client.drain();
    assert_eq!(calls.load(Ordering::SeqCst), before);
}

/// Covers: v5:MQTT-4.5.0-1
#[test]
fn a_panic_of_a_callback_concerns_no_other() {
    let server = broker();
    let seen = Arc::new(Mutex::new(Vec::new()));
    let noted = seen.clone();
    let broken = server
        .subscribe("t")
        .expect("a filter")
        .on_message(|_| panic!("this is what the test wants"))
        .expect("a thread");
    let working = server
        .subscribe("t")
        .expect("a filter")
        .on_message(move |message| {
            noted
                .lock()
                .expect("no panic before")
                .push(message.payload().to_vec());
        })
        .expect("a thread");
    let mut client = client(&server, 5, "client");
    client.subscribe("t", 1);
    for round in 0..10u8 {
        client.publish("t", [round], 1);
        assert_eq!(client.receive().payload, [round]);
    }

    while seen.lock().expect("no panic before").len() < 10 {
        client.expect_nothing();
    }

    let expected: Vec<Vec<u8>> = (0..10).map(|round| vec![round]).collect();
    assert_eq!(*seen.lock().expect("no panic before"), expected);
    drop((broken, working));
    client.expect_nothing();
}

/// Covers: NN5-036
#[test]
fn a_queue_is_bounded_in_bytes_too() {
    for version in VERSIONS {
        let server = broker_set(&[("limits.session_queue_bytes", "100000")]);
        let mut publisher = client(&server, 5, "publisher");
        let mut subscriber = server.connect(&kept(version, "client"));
        subscriber.subscribe("t", 1);
        subscriber.disconnect();
        let large = vec![b'x'; 10_000];
        for _ in 0..30 {
            publisher.publish("t", &large, 1);
        }
        let stats = server.stats();
        assert!(stats.queued_bytes <= 110_000, "{}", stats.queued_bytes);
        let dropped = stats.dropped_by(DropReason::QueueFull);
        assert!((20..=24).contains(&dropped), "{dropped} dropped");
        // Properties count as well.
        let user = (0..10).fold(props(), |props, _| props.user("name", vec![b'v'; 1000]));
        publisher.deliver(&Publish::new("t", "").qos(1, 0).props(user));
        assert_eq!(
            server.stats().dropped_by(DropReason::QueueFull),
            dropped + 1
        );
        let mut subscriber = server.connect(&kept(version, "client"));
        assert_eq!(subscriber.drain().len() as u64, 30 - dropped);
        publisher.publish("t", &large, 1);
        assert_eq!(subscriber.receive().payload.len(), large.len());
        server
            .settle(Duration::from_secs(10))
            .expect("nothing is left");
        assert_eq!(server.stats().queued_bytes, 0);
    }
}
