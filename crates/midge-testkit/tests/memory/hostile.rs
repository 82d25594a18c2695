//! Clients that do their worst, by chance.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};

use midge_testkit::{Connect, Kind, PropsBuf, Publish, Subscribe, Will, ack, unsubscribe};

/// Most connections at a time.
const CONNECTIONS: usize = 120;
/// The largest packet that the broker takes.
pub(crate) const PACKET: usize = 256 << 10;

pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1)
    }

    pub(crate) fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) as usize % limit.max(1)
    }

    fn one_in(&mut self, count: usize) -> bool {
        self.below(count) == 0
    }

    /// Mostly small, sometimes as large as it gets.
    fn size(&mut self, largest: usize) -> usize {
        match self.below(4) {
            0 => self.below(largest),
            1 => self.below(largest / 16),
            _ => self.below(100),
        }
    }

    fn topic(&mut self) -> String {
        match self.below(8) {
            0 => format!("ask/{}", self.below(20)),
            1 => format!("t/{}/{}", self.below(1000), "x".repeat(self.below(800))),
            _ => format!("t/{}", self.below(20)),
        }
    }

    fn filter(&mut self) -> String {
        match self.below(6) {
            0 => "#".into(),
            1 => format!("$share/{}/t/#", self.below(100)),
            2 => format!("t/+/{}/{}", self.below(1000), "y".repeat(self.below(900))),
            3 => format!(
                "{}/#",
                (0..20).map(|_| "l/").collect::<String>() + &self.below(5000).to_string()
            ),
            4 => format!("f/{}/{}", self.below(100_000), "z".repeat(self.below(900))),
            _ => format!("t/{}", self.below(20)),
        }
    }

    fn properties(&mut self, room: usize) -> PropsBuf {
        let mut properties = PropsBuf::new();
        let bytes = self.size(room);
        let length = 1 + self.size(200);
        let mut used = 0;
        while used + length + 10 < bytes {
            properties = properties.user("k", "v".repeat(length));
            used += length + 6;
        }
        properties
    }
}

struct Hostile {
    stream: TcpStream,
    unsent: Vec<u8>,
    version: u8,
    next_id: u16,
    dead: bool,
}

impl Hostile {
    fn send(&mut self, bytes: &[u8]) {
        self.unsent.extend_from_slice(bytes);
        let mut sent = 0;
        while sent < self.unsent.len() && !self.dead {
            match self.stream.write(&self.unsent[sent..]) {
                Ok(0) => self.dead = true,
                Ok(count) => sent += count,
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(_) => self.dead = true,
            }
        }
        self.unsent.drain(..sent);
        // Nothing more than that is kept on this side.
        self.dead |= self.unsent.len() > 4 * PACKET;
    }

    fn read(&mut self, limit: usize) {
        let mut buffer = [0; 4096];
        let mut got = 0;
        while got < limit {
            match self.stream.read(&mut buffer) {
                Ok(0) => return self.dead = true,
                Ok(count) => got += count,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return,
                Err(_) => return self.dead = true,
            }
        }
    }

    fn id(&mut self) -> u16 {
        self.next_id = self.next_id % 60_000 + 1;
        self.next_id
    }
}

pub(crate) struct Crowd {
    address: SocketAddr,
    random: Random,
    clients: Vec<Hostile>,
}

impl Crowd {
    pub(crate) fn new(address: SocketAddr, random: Random) -> Self {
        Self {
            address,
            random,
            clients: Vec::new(),
        }
    }

    /// Bytes that the clients themselves hold.
    pub(crate) fn held(&self) -> usize {
        let held = self.clients.iter().map(|client| client.unsent.capacity());
        held.sum()
    }

    /// One client does something; what it was.
    pub(crate) fn step(&mut self) -> &'static str {
        self.clients.retain(|client| !client.dead);

        let random = &mut self.random;
        if self.clients.len() < CONNECTIONS && (self.clients.len() < 10 || random.one_in(6)) {
            let stream = TcpStream::connect(self.address).expect("the broker listens");
            stream.set_nonblocking(true).expect("a socket");
            let version = [3, 4, 5, 5, 5][random.below(5)];
            let mut client = Hostile {
                stream,
                unsent: Vec::new(),
                version,
                next_id: 0,
                dead: false,
            };
            let what = match random.below(12) {
                0 => "a connection",
                1 => {
                    let whole = random.below(PACKET);
                    let bytes = connect(random, version, PACKET).header();
                    client.send(&bytes);
                    client.send(&vec![b'x'; whole]);
                    "a part of a CONNECT"
                }
                _ => {
                    client.send(&connect(random, version, PACKET).bytes());
                    "CONNECT"
                }
            };
            self.clients.push(client);
            return what;
        }

        let at = random.below(self.clients.len());
        let client = &mut self.clients[at];
        act(client, random)
    }
}

fn connect(random: &mut Random, version: u8, largest: usize) -> Connect {
    let name = format!("c{}-{}", random.below(150), "n".repeat(random.below(100)));
    let mut connect = Connect::new(version, name)
        .clean(random.one_in(3))
        .keep_alive(0);

    if version == 5 {
        connect = connect
            .expiry([0, 100, u32::MAX][random.below(3)])
            .topic_alias_maximum(random.below(40) as u16)
            .receive_maximum(1 + random.below(65_535) as u16);
        if random.one_in(5) {
            connect = connect.maximum_packet_size(100 + random.below(2000) as u32);
        }
        if random.one_in(5) {
            connect = connect.props(random.properties(largest / 4));
        }
    }

    if random.one_in(2) {
        let mut will = Will::new(
            random.topic(),
            vec![b'w'; random.size(60_000.min(largest / 2))],
        );
        if version == 5 {
            will = will
                .delay(random.below(1000) as u32)
                .props(random.properties(largest / 4));
        }
        connect = connect.will(will);
    }

    if random.one_in(3) {
        connect = connect.user("u".repeat(random.size(8000)));
    }

    connect
}

fn publish(client: &mut Hostile, random: &mut Random, largest: usize) -> Vec<u8> {
    let mut publish = Publish::new(random.topic(), vec![b'p'; random.size(largest / 2)]);
    if client.version == 5 {
        publish = publish.props(random.properties(largest / 3));
        if random.one_in(4) {
            publish = publish.alias(1 + random.below(32) as u16);
        }
        if random.one_in(6) {
            publish = publish.expiry(random.below(1000) as u32);
        }
    }

    if random.one_in(4) {
        publish = publish.retain();
    }

    let qos = random.below(3) as u8;
    if qos > 0 {
        publish = publish.qos(qos, client.id());
    }

    publish.bytes_for(client.version)
}

fn act(client: &mut Hostile, random: &mut Random) -> &'static str {
    match random.below(16) {
        0..=4 => {
            for _ in 0..=random.below(4) {
                let bytes = publish(client, random, PACKET);
                client.send(&bytes);
            }
            "PUBLISH"
        }
        5 => {
            let bytes = publish(client, random, 600);
            for _ in 0..random.below(400) {
                client.send(&bytes);
            }
            "many PUBLISH"
        }

        6 => {
            let bytes = publish(client, random, PACKET);
            let part = random.below(bytes.len());
            client.send(&bytes[..part]);
            "a part of a PUBLISH"
        }
        7 | 8 => {
            let id = client.id();
            let mut subscribe = Subscribe::new(id);
            for _ in 0..=random.size(300) {
                subscribe = subscribe.filter(random.filter(), random.below(3) as u8);
                if subscribe.bytes_for(client.version).len() > PACKET / 4 {
                    break;
                }
            }
            if client.version == 5 && random.one_in(2) {
                subscribe = subscribe.subscription_id(1 + random.below(1000));
            }
            client.send(&subscribe.bytes_for(client.version));
            "SUBSCRIBE"
        }

        9 => {
            let id = client.id();
            let filters: Vec<_> = (0..=random.below(40)).map(|_| random.filter()).collect();
            client.send(&unsubscribe(client.version, id, &PropsBuf::new(), &filters));
            "UNSUBSCRIBE"
        }
        10 => {
            client.send(&[0xC0, 0].repeat(random.below(20_000)));
            "PINGREQ"
        }
        11 => {
            let mut acks = Vec::new();
            for id in 1..=1 + random.below(300) as u16 {
                let kinds = [Kind::Puback, Kind::Pubrec, Kind::Pubrel, Kind::Pubcomp];
                acks.extend(ack(kinds[random.below(2) * 2 * random.below(2)], id));
            }
            client.send(&acks);
            "acknowledgements"
        }

        12 | 13 => {
            client.read(random.size(1 << 20));
            "reading"
        }
        14 => {
            client.dead = random.one_in(2);
            "the end of a connection"
        }
        _ => {
            if random.one_in(4) {
                client.send(&[0xE0, 0]);
            }
            "DISCONNECT"
        }
    }
}
