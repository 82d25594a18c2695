//! What a script does next.

use midge_codec::QoS;
use midge_core::OwnedMessage;

use super::world::World;
use crate::build::{Publish, Subscribe, Will, ack, disconnect, unsubscribe};
use crate::packet::Kind;
use crate::props::id;
use crate::wire::PropsBuf;

const TOPICS: [&str; 7] = ["a", "a/b", "b/c", "a/b/c", "$aws/a", "$SYS/a", "b/\u{1}"];
const FILTERS: [&str; 14] = [
    "a",
    "a",
    "a/b",
    "a/#",
    "+/b",
    "b/+",
    "#",
    "+",
    "a/b/c",
    "$share/g/a",
    "$share/g/a",
    "$share/h/a/#",
    "$share/g/#",
    "$aws/#",
];

impl World {
    /// One more step. The buffers of output are charged for their memory, which depends on how they
    /// have grown, and so on the way. Where all may be taken that ends the script before the step
    /// in which it matters.
    pub(super) fn step(&mut self) {
        if self.trace.is_cut {
            return;
        }
        let entries = self.trace.entries.len();
        self.do_something();
        self.look();
        if self.trace.is_narrow && self.hub.stats(self.now).memory.output > 0 {
            self.trace.entries.truncate(entries);
            self.trace.is_cut = true;
        }
    }

    fn do_something(&mut self) {
        let number = self.random.usize(..self.peers.len());
        let is_open = self.peers[number].wire.is_some();

        match self.random.u8(..100) {
            _ if !is_open => self.connect(number),
            0..45 => self.publish(number),
            45..58 => self.subscribe(number),
            58..61 => self.unsubscribe(number),
            61..75 => self.reads(number),
            75..85 => self.acknowledge(number),
            85..88 => self.release(number),
            88..91 => self.leave(number),
            91..93 => self.pass(),
            93..95 => self.watch_as_host(),
            95..98 => self.publish_as_host(),
            98 => self.end_by_host(number),
            _ => {
                self.trace.step("count");
                self.count();
            }
        }
    }

    fn one_in(&mut self, count: u32) -> bool {
        self.random.u32(..count) == 0
    }

    fn connect(&mut self, number: usize) {
        if self.one_in(3) {
            let clean = self.random.bool();
            self.peers[number].connect.clean = clean;
        }
        if self.one_in(8) && self.peers[number].connect.will.is_none() {
            let mut will = Will::new("a", "will").qos(self.random.u8(..3));
            will.retain = self.retains && self.random.bool();
            self.peers[number].connect.will = Some(will);
        }
        let connect = &self.peers[number].connect;
        let told = format!("{number} connects: {connect:?}");
        self.trace.step(told);
        self.open(number);
        self.read(number);
    }

    fn subscribe(&mut self, number: usize) {
        let version = self.peers[number].connect.version;
        let mut request = Subscribe::new(self.peers[number].fresh_id());
        let mut told = format!("{number} subscribes");
        for _ in 0..self.random.usize(1..4) {
            let filter = FILTERS[self.random.usize(..FILTERS.len())];
            let mut options = self.random.u8(..3);
            if version == 5 {
                // No Local, Retain As Published, Retain Handling.
                if self.one_in(4) && !filter.starts_with("$share") {
                    options |= 4;
                }
                if self.one_in(4) {
                    options |= 8;
                }
                options |= if self.retains {
                    self.random.u8(..3) << 4
                } else {
                    0x20
                };
            }
            told += &format!(" {filter} {options:02x}");
            request = request.filter(filter, options);
        }

        if version == 5 && self.one_in(4) {
            request = request.subscription_id(self.random.usize(1..300));
        }

        self.trace.step(told);
        self.say(number, &request.bytes_for(version));
    }

    fn unsubscribe(&mut self, number: usize) {
        let version = self.peers[number].connect.version;
        let filter = FILTERS[self.random.usize(..FILTERS.len())];
        let packet_id = self.peers[number].fresh_id();
        self.trace.step(format!("{number} unsubscribes {filter}"));
        self.say(
            number,
            &unsubscribe(version, packet_id, &PropsBuf::new(), &[filter]),
        );
    }

    /// Messages in one read, or in several.
    fn publish(&mut self, number: usize) {
        if self.one_in(6) {
            self.topic = self.random.usize(..TOPICS.len());
        }

        let version = self.peers[number].connect.version;
        let count = match self.random.u8(..4) {
            0 => 1,
            1 => 3,
            _ => self.random.usize(2..30),
        };

        let mut qos = self.random.u8(..3);
        let mut told = format!("{number} publishes");
        let mut reads = vec![Vec::new()];
        for _ in 0..count {
            if self.one_in(12) {
                qos = self.random.u8(..3);
            }
            let (publish, as_is) = self.message(number, qos);
            told += &format!(
                " {}{}{}",
                String::from_utf8_lossy(&publish.topic),
                ["", "¹", "²"][usize::from(publish.qos % 3)],
                if as_is { "" } else { "*" },
            );
            if let Some(read) = reads.last_mut() {
                read.extend(publish.bytes_for(version));
            }
            if self.one_in(6) {
                reads.push(Vec::new());
            }
        }

        self.trace.step(told);
        for read in reads {
            // Sometimes a packet comes in two halves.
            let half = match self.one_in(5) {
                true => self.random.usize(..=read.len()),
                false => read.len(),
            };
            self.say(number, &read[..half]);
            self.say(number, &read[half..]);
        }
    }

    /// A message, and whether it could leave as it comes.
    fn message(&mut self, number: usize, qos: u8) -> (Publish, bool) {
        let version = self.peers[number].connect.version;
        self.number += 1;

        let mut payload = self.number.to_be_bytes().to_vec();
        payload.resize(self.random.usize(4..40), b'.');

        let topic = TOPICS[self.topic];
        let packet_id = self.peers[number].fresh_id();
        let mut publish = Publish::new(topic, payload).qos(qos, packet_id);
        let v5 = version == 5;
        match self.random.u8(..90) {
            0 => publish.retain = self.retains,
            1 => publish.payload.resize(9_000, b'l'),
            2 => publish.payload.resize(25_000, b'l'),
            3 if self.one_in(4) => publish.payload.resize(40_000, b'l'),
            4 => publish.payload.clear(),
            5 => publish.topic = TOPICS[self.random.usize(..TOPICS.len())].into(),
            6 if self.one_in(4) => publish.topic = b"a/b/c/d/e".to_vec(),
            7 if qos > 0 => publish.dup = true,
            8 if qos > 0 && self.one_in(4) => publish.id = 0,
            9 if qos > 0 => publish.id = packet_id.saturating_sub(1).max(1),
            10 if self.one_in(4) => publish.qos = 3,
            11 if v5 => publish = publish.props(PropsBuf::new().user("k", "v")),
            12 if v5 => publish = publish.props(PropsBuf::new().user("k", "v").user("k", "w")),
            13 if v5 => publish = publish.expiry(self.random.u32(..8)),
            14 if v5 => publish = publish.alias(1),
            15 if v5 && self.one_in(2) => {
                publish = publish.alias(1);
                publish.topic.clear();
            }

            16 if v5 && self.one_in(2) => publish = publish.alias(self.random.u16(..5)),
            17 if v5 => {
                let marked = PropsBuf::new().u8(id::PAYLOAD_FORMAT_INDICATOR, 1);
                publish = publish.props(marked);
                if self.random.bool() {
                    publish.payload.push(0xff);
                }
            }
            18 if v5 => publish = publish.props(PropsBuf::new().text(id::CONTENT_TYPE, "x")),
            _ => return (publish, true),
        }

        (publish, false)
    }

    fn reads(&mut self, number: usize) {
        if self.one_in(3) {
            self.trace.step("all read");
            for number in 0..self.peers.len() {
                self.read(number);
            }
        } else {
            self.trace.step(format!("{number} reads"));
            self.read(number);
        }
    }

    fn acknowledge(&mut self, number: usize) {
        self.read(number);
        let count = self.random.usize(1..20);
        let refuses = self.one_in(8);
        let bytes = self.peers[number].acknowledge(count, refuses);
        self.trace
            .step(format!("{number} acknowledges {}", bytes.len()));
        self.say(number, &bytes);
    }

    fn release(&mut self, number: usize) {
        self.read(number);
        let mut bytes = Vec::new();
        for _ in 0..self.random.usize(1..8) {
            if let Some(packet_id) = self.peers[number].to_release.pop_front() {
                bytes.extend(ack(Kind::Pubrel, packet_id));
            }
        }
        self.trace
            .step(format!("{number} releases {}", bytes.len() / 4));
        self.say(number, &bytes);
    }

    /// A connection ends: with DISCONNECT, without a word, or because there is another one.
    fn leave(&mut self, number: usize) {
        let version = self.peers[number].connect.version;

        match self.random.u8(..3) {
            0 => {
                self.trace.step(format!("{number} disconnects"));
                let packet = match version {
                    5 => disconnect(self.random.u8(..2) * 4, &PropsBuf::new()),
                    _ => vec![0xE0, 0],
                };
                self.say(number, &packet);
                self.read(number);
            }
            1 => {
                self.trace.step(format!("{number} breaks"));
                if let Some(wire) = self.peers[number].wire.take() {
                    wire.close(self.now);
                }
            }
            _ => {
                self.trace.step(format!("{number} takes over"));
                let old = self.peers[number].wire.take();
                self.open(number);
                if let Some(old) = old {
                    old.close(self.now);
                }
            }
        }
    }

    fn pass(&mut self) {
        let ms = [100, 1_000, 3_000, 20_000][self.random.usize(..4)];
        self.trace.step(format!("{ms} ms pass"));
        self.advance(ms);
    }

    fn watch_as_host(&mut self) {
        let filters: &[&str] =
            [&["a/#"][..], &["a"], &["$share/g/a"], &[], &[]][self.random.usize(..5)];
        let qos = QoS::from_u8(self.random.u8(..3)).unwrap_or_default();
        let retained = self.random.bool();
        self.trace
            .step(format!("the host watches {filters:?} {qos:?}"));
        self.watch(filters, qos, retained);
    }

    fn publish_as_host(&mut self) {
        self.number += 1;
        let mut message = OwnedMessage::new(TOPICS[self.topic], self.number.to_be_bytes().to_vec());
        message.qos = QoS::from_u8(self.random.u8(..3)).unwrap_or_default();
        message.retain = self.retains && self.one_in(5);
        let (count, receipt) = (self.random.usize(1..5), self.random.bool());
        self.trace
            .step(format!("the host publishes {count}: {message:?}"));
        self.publish_from_host(&message, count, receipt);
    }

    fn end_by_host(&mut self, number: usize) {
        if self.random.bool() {
            self.trace.step(format!("the host clears {number}"));
            self.clear(number);
        } else {
            self.trace.step(format!("the host disconnects {number}"));
            self.disconnect(number);
        }
    }
}
