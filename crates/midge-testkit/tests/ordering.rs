//! Random scripts of publishers and subscribers against an oracle.
//!
//! A script is a seed: publishers of all versions with every QoS, subscribers with persistent
//! sessions, windows, slow acknowledgements in any order, lost connections and time that passes.
//! What the oracle demands:
//!
//! * nothing with QoS 1 or 2 is lost to a session, connected or not;
//! * what is sent with QoS 2 arrives exactly once;
//! * first deliveries of one publisher's messages on one topic with one QoS ascend;
//! * after a new connection what is sent again comes in the order in which it was sent before.

// A test that cannot go on fails; what it prints is shown when it does.
#![allow(clippy::expect_used, clippy::print_stdout)]

mod common;

use std::collections::{HashMap, HashSet, VecDeque};

use midge_testkit::{Client, Connect, Kind, Message, Packet, Publish, Subscribe, ack};

use crate::common::{Server, broker_set};

/// A small generator, so that a failure can be repeated.
struct Random(u64);

impl Random {
    fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) as usize % limit
    }

    fn one_in(&mut self, count: usize) -> bool {
        self.below(count) == 0
    }
}

const TOPICS: [&str; 4] = ["t/a", "t/b", "u/a", "u/b"];
const FILTERS: [&[&str]; 5] = [
    &["#"],
    &["t/+"],
    &["u/a", "t/b"],
    &["+/a", "t/#"],
    &["t/a", "t/+", "#"],
];

/// Names a message: its publisher and a number that ascends.
type Name = (u8, u32);

fn name_of(message: &Message) -> Name {
    let bytes = <[u8; 5]>::try_from(&message.payload[..]).expect("five bytes");
    let [publisher, number @ ..] = bytes;
    (publisher, u32::from_be_bytes(number))
}

/// What was published: topic and QoS of each message.
type Published = HashMap<Name, (usize, u8)>;

/// A session of its version.
fn session(version: u8, name: &str) -> Connect {
    let connect = Connect::new(version, name).clean(false);
    if version == 5 {
        connect.expiry(u32::MAX)
    } else {
        connect
    }
}

/// One publisher, whose acknowledgements are waited for.
struct Publisher {
    number: u8,
    version: u8,
    client: Client,
    next: u32,
    next_id: u16,
    /// QoS 2 messages that are sent and not released.
    open: VecDeque<(u16, Publish)>,
}

impl Publisher {
    fn connect(server: &Server, number: u8, version: u8) -> Self {
        let client = server.connect(&session(version, &format!("publisher {number}")));
        Self {
            number,
            version,
            client,
            next: 0,
            next_id: 1,
            open: VecDeque::new(),
        }
    }

    fn step(&mut self, server: &Server, random: &mut Random, published: &mut Published) {
        match random.below(12) {
            0 => self.reconnect(server, random),
            1 | 2 => self.release(),
            _ => self.publish(random, published),
        }
    }

    fn publish(&mut self, random: &mut Random, published: &mut Published) {
        let (topic, qos) = (random.below(TOPICS.len()), random.below(3) as u8);
        let mut payload = vec![self.number];
        payload.extend(self.next.to_be_bytes());
        published.insert((self.number, self.next), (topic, qos));
        self.next += 1;

        let id = self.next_id;
        self.next_id = if id == 60_000 { 1 } else { id + 1 };

        let publish = Publish::new(TOPICS[topic], payload).qos(qos, id);
        self.client.send(publish.bytes_for(self.version));
        match qos {
            0 => self.client.expect_nothing(),
            1 => assert!(self.client.expect_ack(Kind::Puback, id).code < 0x80),
            _ => {
                assert!(self.client.expect_ack(Kind::Pubrec, id).code < 0x80);
                self.open.push_back((id, publish));
                if self.open.len() > 5 || random.one_in(2) {
                    self.release();
                }
            }
        }
    }

    /// Releases the oldest QoS 2 message.
    fn release(&mut self) {
        if let Some((id, _)) = self.open.pop_front() {
            self.client.send(ack(Kind::Pubrel, id));
            assert_eq!(self.client.expect_ack(Kind::Pubcomp, id).code, 0);
        }
    }

    /// Loses its connection, and sends again what it does not know the end of.
    fn reconnect(&mut self, server: &Server, random: &mut Random) {
        let connect = session(self.version, &format!("publisher {}", self.number));

        // Half of the time the broker learns of it only by the next connection.
        let next = if random.one_in(2) {
            let next = server.connect(&connect);
            std::mem::replace(&mut self.client, next)
        } else {
            self.client.end();
            while self.client.recv_or_end().is_some() {}
            std::mem::replace(&mut self.client, server.connect(&connect))
        };

        drop(next);
        for (id, publish) in &self.open {
            for _ in 0..random.below(3) {
                self.client
                    .send(publish.clone().dup().bytes_for(self.version));
                assert!(self.client.expect_ack(Kind::Pubrec, *id).code < 0x80);
            }
        }
    }
}

/// One subscriber with a session, and what it has seen.
struct Subscriber {
    name: String,
    version: u8,
    window: u16,
    filters: &'static [&'static str],
    qos: u8,
    client: Option<Client>,
    /// Messages to acknowledge, in order of arrival.
    held: Vec<Message>,
    /// PUBRECs sent whose PUBREL has not come, and PUBRELs that wait for a PUBCOMP.
    released: Vec<u16>,
    /// Messages whose acknowledgement was sent before the connection was lost: they may or may
    /// not come again.
    seen: HashMap<Name, u32>,
    /// First deliveries in order, for each publisher, topic and QoS.
    last: HashMap<(u8, String, u8), u32>,
    /// In the order in which the broker sent them and not acknowledged: what comes again.
    again: VecDeque<Name>,
    /// How many did.
    again_count: usize,
    /// QoS 2 messages of which PUBREC was sent: they must never come again.
    received: HashSet<Name>,
}

impl Subscriber {
    fn new(server: &Server, number: usize, random: &mut Random) -> Self {
        let mut subscriber = Self {
            name: format!("subscriber {number}"),
            version: [3, 4, 5][random.below(3)],
            window: [1, 2, 7, 65_535][random.below(4)],
            filters: FILTERS[number % FILTERS.len()],
            qos: 1 + random.below(2) as u8,
            client: None,
            held: Vec::new(),
            released: Vec::new(),
            seen: HashMap::new(),
            last: HashMap::new(),
            again: VecDeque::new(),
            again_count: 0,
            received: HashSet::new(),
        };

        subscriber.connect(server);

        let request = subscriber
            .filters
            .iter()
            .fold(Subscribe::new(0), |request, filter| {
                request.filter(filter, subscriber.qos)
            });

        let client = subscriber.client.as_mut().expect("connected");
        client.request(&request);
        subscriber
    }

    fn connect(&mut self, server: &Server) {
        let connect = session(self.version, &self.name);
        let connect = if self.version == 5 && self.window < 65_535 {
            connect.receive_maximum(self.window)
        } else {
            connect
        };
        self.client = Some(server.connect(&connect));
    }

    fn step(&mut self, server: &Server, random: &mut Random) {
        let Some(client) = self.client.as_mut() else {
            if random.one_in(3) {
                // Now and then as a client of another version.
                if random.one_in(3) {
                    self.version = [3, 4, 5][random.below(3)];
                }
                self.connect(server);
            }
            return;
        };

        match random.below(10) {
            0 => self.lose(random),
            1..4 => {
                client.barrier();
                self.take();
            }
            _ => self.acknowledge_one(random),
        }
    }

    /// The connection ends: by itself, with DISCONNECT, or in the middle of what the broker says.
    fn lose(&mut self, random: &mut Random) {
        let Some(mut client) = self.client.take() else {
            return;
        };

        let mut rest = Vec::new();
        if random.one_in(2) {
            client.send([0xe0, 0]);
        } else {
            client.end();
        }

        while let Some(packet) = client.recv_or_end() {
            rest.push(packet);
        }

        for packet in rest {
            self.note(packet);
        }

        // What is not acknowledged comes again, in this order, before anything else.
        // Behind it comes what the window has held back since the connection before.
        let open = self.held.drain(..).filter(|message| message.qos > 0);
        let open: Vec<Name> = open.map(|message| name_of(&message)).collect();
        self.again = open.into_iter().chain(self.again.drain(..)).collect();
        self.released.clear();
    }

    /// Notes what was kept while waiting for something else.
    fn take(&mut self) {
        let Some(client) = self.client.as_mut() else {
            return;
        };
        let mut packets = Vec::new();
        // A barrier of its own: all packets before its answers are taken.
        for _ in 0..2 {
            client.send([0xc0, 0]);
            loop {
                match client.recv() {
                    Packet::Pingresp => break,
                    packet => packets.push(packet),
                }
            }
        }
        for packet in packets {
            self.note(packet);
        }
    }

    fn note(&mut self, packet: Packet) {
        match packet {
            Packet::Publish(message) => self.note_message(message),
            Packet::Ack(release) if release.kind == Kind::Pubrel => {
                if !self.released.contains(&release.id) {
                    self.released.push(release.id);
                }
            }
            other => panic!("{}: {other:?}", self.name),
        }
    }

    fn note_message(&mut self, message: Message) {
        let name = name_of(&message);

        // QoS 0 waits for no acknowledgement, so a full window does not hold it up.
        if message.qos == 0 {
            assert!(!message.dup, "{message:?}");
        } else if let Some(expected) = self.again.front() {
            assert_eq!(
                *expected, name,
                "{}: {message:?} comes again out of order",
                self.name
            );
            assert!(message.dup, "{}: {message:?} without DUP", self.name);
            self.again.pop_front();
            self.again_count += 1;
        }

        assert!(
            !self.received.contains(&name),
            "{}: {message:?} comes after its PUBREC",
            self.name
        );

        let count = self.seen.entry(name).or_default();
        *count += 1;
        if *count == 1 {
            let stream = (name.0, message.topic.clone(), message.qos);
            let last = self.last.insert(stream, name.1);
            assert!(
                last < Some(name.1),
                "{}: {message:?} behind {last:?}",
                self.name
            );
        } else {
            assert!(message.dup, "{}: {message:?} a second time", self.name);
        }

        self.held.push(message);
    }

    /// Says the next thing about one of the messages: often the oldest, sometimes any.
    fn acknowledge_one(&mut self, random: &mut Random) {
        let Some(client) = self.client.as_mut() else {
            return;
        };

        if !self.released.is_empty() && random.one_in(2) {
            let id = self.released.remove(random.below(self.released.len()));
            client.send(ack(Kind::Pubcomp, id));
        } else if !self.held.is_empty() {
            let index = if random.one_in(3) {
                random.below(self.held.len())
            } else {
                0
            };
            let message = self.held.remove(index);
            match message.qos {
                1 => client.send(ack(Kind::Puback, message.id)),
                2 => {
                    self.received.insert(name_of(&message));
                    client.send(ack(Kind::Pubrec, message.id));
                }
                _ => {}
            }
        }

        // The broker has this, whatever happens to the connection next.
        client.barrier();
        self.take();
    }

    /// Comes back and finishes everything.
    fn finish(&mut self, server: &Server) {
        if self.client.is_none() {
            self.connect(server);
        }

        loop {
            self.take();
            let client = self.client.as_mut().expect("connected");
            if self.held.is_empty() && self.released.is_empty() {
                break;
            }
            for id in self.released.drain(..) {
                client.send(ack(Kind::Pubcomp, id));
            }
            for message in self.held.drain(..) {
                match message.qos {
                    1 => client.send(ack(Kind::Puback, message.id)),
                    2 => {
                        self.received.insert(name_of(&message));
                        client.send(ack(Kind::Pubrec, message.id));
                    }
                    _ => {}
                }
            }
        }

        assert!(
            self.again.is_empty(),
            "{}: {:?} did not come again",
            self.name,
            self.again
        );
    }

    fn wants(&self, topic: &str) -> bool {
        let (first, second) = topic.split_once('/').expect("two levels");
        self.filters
            .iter()
            .any(|filter| match filter.split_once('/') {
                None => *filter == "#",
                Some((one, other)) => {
                    (one == "+" || one == first)
                        && (other == "+" || other == "#" || other == second)
                }
            })
    }

    /// What must have come has come, and nothing else.
    fn check(&self, published: &Published) {
        for (name, (topic, qos)) in published {
            let count = self.seen.get(name).copied().unwrap_or(0);
            let wanted = self.wants(TOPICS[*topic]);
            assert!(
                wanted || count == 0,
                "{}: {name:?} is not for it",
                self.name
            );
            if wanted && *qos > 0 {
                assert!(count > 0, "{}: {name:?} with QoS {qos} is lost", self.name);
            }
            if *qos == 0 {
                assert!(count <= 1, "{}: {name:?} came {count} times", self.name);
            }
            if wanted && *qos == 2 && self.qos == 2 {
                assert!(
                    self.received.contains(name),
                    "{}: {name:?} was not QoS 2",
                    self.name
                );
            }
        }

        assert!(self.seen.keys().all(|name| published.contains_key(name)));
    }
}

/// Runs one script and says how many messages came again after a new connection.
fn run(seed: u64, steps: usize, inflight: &str) -> usize {
    let mut random = Random::new(seed);
    let server = broker_set(&[("limits.inflight", inflight)]);
    let mut subscribers: Vec<_> = (0..FILTERS.len())
        .map(|number| Subscriber::new(&server, number, &mut random))
        .collect();
    let mut publishers: Vec<_> = (0..3u8)
        .map(|number| Publisher::connect(&server, number, [3, 4, 5][random.below(3)]))
        .collect();
    let mut published = Published::new();
    for _ in 0..steps {
        if random.one_in(2) {
            let publisher = random.below(publishers.len());
            publishers[publisher].step(&server, &mut random, &mut published);
        } else {
            let subscriber = random.below(subscribers.len());
            subscribers[subscriber].step(&server, &mut random);
        }
        if random.one_in(20) {
            server.pass(random.below(100) as u64);
        }
    }

    for publisher in &mut publishers {
        while !publisher.open.is_empty() {
            publisher.release();
        }
    }

    for subscriber in &mut subscribers {
        subscriber.finish(&server);
        subscriber.check(&published);
    }

    for subscriber in &mut subscribers {
        // Once more: all is acknowledged, so nothing comes.
        subscriber.client = None;
        subscriber.connect(&server);
        subscriber
            .client
            .as_mut()
            .expect("connected")
            .expect_nothing();
    }

    assert!(published.len() > steps / 6, "a script that does nothing");
    subscribers
        .iter()
        .map(|subscriber| subscriber.again_count)
        .sum()
}

/// Runs many scripts and names the seed of one that fails.
fn run_all(seeds: std::ops::Range<u64>, steps: usize, inflight: &str) {
    let mut again = 0;
    for seed in seeds {
        println!("seed {seed}");
        again += run(seed, steps, inflight);
    }
    assert!(again > 10, "scripts that interrupt nothing");
}

/// Covers: v3:MQTT-4.6.0-6, v3:MQTT-4.6.0-1, v3:MQTT-4.3.3-2, v5:MQTT-4.6.0-5, v5:MQTT-4.6.0-1, v5:MQTT-4.3.3-10
#[test]
fn short_scripts_keep_every_promise() {
    run_all(1..40, 150, "1024");
}

/// Covers: v3:MQTT-4.1.0-1, v3:MQTT-4.5.0-1, v5:MQTT-4.5.0-1, v5:MQTT-4.4.0-1
#[test]
fn long_scripts_keep_every_promise() {
    run_all(100..104, 1_500, "1024");
}

/// Covers: v3:MQTT-4.6.0-6, v5:MQTT-4.9.0-1, v5:MQTT-4.6.0-5
#[test]
fn scripts_with_a_small_window_keep_every_promise() {
    run_all(200..220, 200, "3");
    run_all(220..230, 200, "1");
}
