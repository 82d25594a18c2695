//! Chapter 4.13: an error of one client does not concern the others.

use midge_testkit::{Connect, Publish, Subscribe, Will, unsubscribe};

use crate::common::{Holder, broker, props};

/// A small generator, so that a failure can be repeated.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn below(&mut self, limit: usize) -> usize {
        (self.next() % limit as u64) as usize
    }
}

/// Covers: v5:MQTT-4.13.1-1, v5:MQTT-4.13.2-1, NN5-126, NN5-132
#[test]
fn mqtt_4_13_1_1_every_broken_packet_ends_its_connection() {
    let server = broker();
    let mut watcher = server.watcher("will");
    let vectors: [(&[u8], &[u8]); 20] = [
        (&[0x00, 0x00], &[0x81]),
        (&[0x10, 0x00], &[0x81, 0x82]),
        (&[0x20, 0x03, 0, 0, 0], &[0x82]),
        (&[0x30, 0x00], &[0x81]),
        (&[0x30, 0x02, 0, 0], &[0x81]),
        (&[0x30, 0x03, 0, 0, 0], &[0x82]),
        (&[0x36, 0x06, 0, 1, b'a', 0, 1, 0], &[0x81]),
        (&[0x32, 0x06, 0, 1, b'a', 0, 0, 0], &[0x81, 0x82]),
        (&[0x40, 0x00], &[0x81]),
        (&[0x40, 0x01, 0], &[0x81]),
        (&[0x50, 0x05, 0, 1, 0, 9, 0], &[0x81]),
        (&[0x60, 0x02, 0, 1], &[0x81]),
        (&[0x70, 0x06, 0, 1, 0, 0, 0, 0], &[0x81]),
        (&[0x82, 0x00], &[0x81]),
        (&[0x82, 0x03, 0, 1, 0], &[0x82]),
        (&[0xa2, 0x03, 0, 1, 0], &[0x82]),
        (&[0xc0, 0x01, 0], &[0x81]),
        (&[0xe0, 0x02, 0, 5], &[0x81]),
        (&[0xf0, 0x00], &[0x82]),
        (&[0xff, 0xff, 0xff, 0xff, 0xff], &[0x81, 0x95]),
    ];

    for (bytes, codes) in vectors {
        println!("{bytes:02x?}");
        let mut client = server.connect(&Connect::v5("broken").will(Will::new("will", "w")));
        client.send(bytes);
        client.expect_disconnect_of(codes);
        watcher.expect_message("will", "w");
    }

    watcher.expect_nothing();
}

/// A packet of a client with some bytes changed, cut off or added.
fn damaged(random: &mut Random, packets: &[Vec<u8>]) -> Vec<u8> {
    let mut bytes = packets[random.below(packets.len())].clone();
    for _ in 0..=random.below(3) {
        let at = random.below(bytes.len());
        match random.below(4) {
            0 => bytes[at] = random.next() as u8,
            1 => bytes[at] ^= 1 << random.below(8),
            2 => bytes.insert(at, random.next() as u8),
            _ => bytes.truncate(at + 1),
        }
    }
    bytes
}

/// Covers: NN5-131, v5:MQTT-4.13.1-1
#[test]
fn nn5_131_garbage_of_one_client_is_no_concern_of_others() {
    let server = broker();
    let mut random = Random(0x5eed_1234_5678_9abc);
    let mut pair = (server.client("publisher"), server.watcher("good/#"));
    let held = Connect::v5("fuzz").will(Will::new("w", "w"));
    let packets = [
        Publish::new("topic", "payload").bytes(),
        Publish::new("topic", "payload")
            .qos(2, 7)
            .retain()
            .props(props().user("a", "b"))
            .bytes(),
        Subscribe::new(3)
            .filter("a/+/b", 1)
            .filter("$share/g/x", 2)
            .subscription_id(9)
            .bytes(),
        unsubscribe(5, 4, &props(), &["a/#", "x"]),
        Holder::Puback.packet(&props()),
        Holder::Pubrel.packet(&props().user("n", "v")),
        Holder::Disconnect.packet(&props()),
        Holder::Connect.packet(&props().u16(0x21, 9)),
        vec![0xc0, 0],
    ];

    for round in 0..600u32 {
        let mut client = if random.below(4) == 0 {
            server.open()
        } else {
            server.connect(&held)
        };
        for _ in 0..=random.below(4) {
            client.send(damaged(&mut random, &packets));
        }
        // The answers may be any; the connection has to end.
        client.end();
        client.read_all();
        if round % 20 == 0 {
            pair.0
                .publish("good/x", round.to_be_bytes(), 1 + (round % 2) as u8);
            assert_eq!(pair.1.receive().payload, round.to_be_bytes());
        }
    }

    pair.1.expect_nothing();
    pair.0.expect_nothing();
}
