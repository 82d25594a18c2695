//! The physical bound: a forwarder that answers CONNECT and SUBSCRIBE like a broker and then pipes
//! bytes.
//!
//! `p2p`: client `p-i` to `s-i` and back, so that acknowledgements travel from end to end;
//! `fanout`: `p-0` to every subscriber; `fanin`: every publisher to the first subscriber, whole
//! packets only. It trusts its clients (this generator), and a broken packet ends that client.

use std::collections::HashMap;
use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{Ipv4Addr, TcpListener, TcpStream};

use rustix::event::epoll::{self, EventData, EventFlags};
use rustix::fd::OwnedFd;

use crate::error::{Error, Result};
use crate::mqtt;

const LISTENER: u64 = u64::MAX;
/// Above this much unsent, a publisher is not read.
const PAUSE_BYTES: usize = 1 << 20;

#[derive(Clone, Copy, PartialEq)]
enum Mode {
    P2p,
    FanIn,
    FanOut,
}

struct Client {
    stream: Option<TcpStream>,
    id: String,
    /// The handshake is over: bytes are piped now.
    up: bool,
    out: Vec<u8>,
    pos: usize,
    /// Start of a packet (fan-in only).
    part: Vec<u8>,
    paused: bool,
}

struct Forwarder {
    mode: Mode,
    epoll: OwnedFd,
    listener: TcpListener,
    clients: Vec<Client>,
    by_id: HashMap<String, usize>,
    subscribers: Vec<usize>,
}

/// Forwards until the process is ended.
pub(crate) fn run(mode: &str, port: u16) -> Result<()> {
    let mode = match mode {
        "p2p" => Mode::P2p,
        "fanin" => Mode::FanIn,
        "fanout" => Mode::FanOut,
        _ => return Err(Error::new("--mode p2p, fanin or fanout")),
    };

    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port))?;
    listener.set_nonblocking(true)?;

    let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
    epoll::add(
        &epoll,
        &listener,
        EventData::new_u64(LISTENER),
        EventFlags::IN,
    )?;

    let mut forwarder = Forwarder {
        mode,
        epoll,
        listener,
        clients: Vec::new(),
        by_id: HashMap::new(),
        subscribers: Vec::new(),
    };

    let mut events: Vec<epoll::Event> = Vec::with_capacity(1024);
    let mut buffer = vec![0u8; 256 * 1024];
    loop {
        events.clear();
        match epoll::wait(
            &forwarder.epoll,
            rustix::buffer::spare_capacity(&mut events),
            None,
        ) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(e) => return Err(e.into()),
        }
        for event in &events {
            match event.data.u64() {
                LISTENER => forwarder.accept()?,
                at => forwarder.on_event(at as usize, event.flags, &mut buffer),
            }
        }
    }
}

/// The length of the first packet, when its header is whole.
fn packet_len(bytes: &[u8]) -> Option<usize> {
    let (mut len, mut shift, mut at) = (0usize, 0, 1);
    loop {
        let byte = *bytes.get(at)?;
        at += 1;
        len |= usize::from(byte & 0x7f) << shift;
        shift += 7;
        if byte & 0x80 == 0 || shift > 21 {
            return Some(at + len);
        }
    }
}

/// How many bytes at the start are whole packets.
fn whole_packets(bytes: &[u8]) -> usize {
    let mut end = 0;
    while let Some(len) = packet_len(&bytes[end..]) {
        if end + len > bytes.len() {
            break;
        }
        end += len;
    }
    end
}

/// The client identifier of a CONNECT, and whether it is one of 5.0.
fn client_id(packet: &[u8]) -> Option<(String, bool)> {
    let v5 = *packet.get(8)? == 5;
    let at = if v5 {
        13 + usize::from(*packet.get(12)?)
    } else {
        12
    };
    let len = usize::from(u16::from_be_bytes([*packet.get(at)?, *packet.get(at + 1)?]));
    let id = packet.get(at + 2..at + 2 + len)?;
    Some((String::from_utf8_lossy(id).into_owned(), v5))
}

impl Forwarder {
    fn accept(&mut self) -> Result<()> {
        loop {
            match self.listener.accept() {
                Ok((stream, _)) => {
                    stream.set_nonblocking(true)?;
                    stream.set_nodelay(true)?;
                    let at = EventData::new_u64(self.clients.len() as u64);
                    epoll::add(&self.epoll, &stream, at, EventFlags::IN)?;
                    self.clients.push(Client {
                        stream: Some(stream),
                        id: String::new(),
                        up: false,
                        out: Vec::new(),
                        pos: 0,
                        part: Vec::new(),
                        paused: false,
                    });
                }
                Err(e) if e.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(_) => {}
            }
        }
    }

    fn watch(&self, at: usize, flags: EventFlags) {
        if let Some(stream) = &self.clients[at].stream {
            // It can only fail for a descriptor that is not registered; all of these are.
            let _ = epoll::modify(&self.epoll, stream, EventData::new_u64(at as u64), flags);
        }
    }

    fn close(&mut self, at: usize) {
        self.clients[at].stream = None;
        self.subscribers.retain(|&s| s != at);
    }

    fn on_event(&mut self, at: usize, flags: EventFlags, buffer: &mut [u8]) {
        if flags.contains(EventFlags::OUT) {
            self.write_rest(at);
        }
        if flags.difference(EventFlags::OUT).is_empty() {
            return;
        }
        let Some(stream) = &mut self.clients[at].stream else {
            return;
        };
        match stream.read(buffer) {
            Ok(0) => self.close(at),
            Ok(n) => self.on_bytes(at, &buffer[..n]),
            Err(e) if e.kind() == ErrorKind::WouldBlock => {}
            Err(_) => self.close(at),
        }
    }

    fn write_rest(&mut self, at: usize) {
        let client = &mut self.clients[at];
        let Some(stream) = &mut client.stream else {
            return;
        };
        client.pos += stream.write(&client.out[client.pos..]).unwrap_or(0);
        if client.pos < client.out.len() {
            return;
        }
        client.out.clear();
        client.pos = 0;
        self.watch(at, EventFlags::IN);
        for other in 0..self.clients.len() {
            if std::mem::take(&mut self.clients[other].paused) {
                self.watch(other, EventFlags::IN);
            }
        }
    }

    fn on_bytes(&mut self, at: usize, bytes: &[u8]) {
        let mut bytes = bytes;
        if !self.clients[at].up {
            let Some(used) = self.handshake(at, bytes) else {
                self.close(at);
                return;
            };
            bytes = &bytes[used..];
        }

        if bytes.is_empty() || bytes == mqtt::DISCONNECT {
            return;
        }

        let from_publisher = self.clients[at].id.starts_with('p');
        if self.mode == Mode::FanIn && from_publisher {
            let mut part = std::mem::take(&mut self.clients[at].part);
            let whole;
            if part.is_empty() {
                whole = whole_packets(bytes);
                part.extend_from_slice(&bytes[whole..]);
                self.forward(at, from_publisher, &bytes[..whole]);
            } else {
                part.extend_from_slice(bytes);
                whole = whole_packets(&part);
                self.forward(at, from_publisher, &part[..whole]);
                part.drain(..whole);
            }
            self.clients[at].part = part;
        } else {
            self.forward(at, from_publisher, bytes);
        }
    }

    /// Answers CONNECT and, for subscribers, SUBSCRIBE; these are small and expected whole.
    fn handshake(&mut self, at: usize, bytes: &[u8]) -> Option<usize> {
        let mut used = 0;
        while used < bytes.len() && !self.clients[at].up {
            let packet = bytes.get(used..)?;
            let len = packet_len(packet)?;
            let packet = packet.get(..len)?;
            let answer = match packet[0] {
                0x10 => {
                    let (id, v5) = client_id(packet)?;
                    self.clients[at].up = id.starts_with("p-");
                    self.by_id.insert(id.clone(), at);
                    self.clients[at].id = id;
                    if v5 {
                        vec![0x20, 3, 0, 0, 0]
                    } else {
                        vec![0x20, 2, 0, 0]
                    }
                }
                0x82 => {
                    self.clients[at].up = true;
                    self.subscribers.push(at);
                    vec![0x90, 3, *packet.get(2)?, *packet.get(3)?, 0]
                }
                _ => Vec::new(),
            };
            self.clients[at].stream.as_mut()?.write_all(&answer).ok()?;
            used += len;
        }

        Some(used)
    }

    fn forward(&mut self, from: usize, from_publisher: bool, bytes: &[u8]) {
        match self.mode {
            Mode::FanOut if from_publisher => {
                for index in 0..self.subscribers.len() {
                    self.send(from, self.subscribers[index], bytes);
                }
            }
            Mode::FanIn if from_publisher => {
                if let Some(&to) = self.subscribers.first() {
                    self.send(from, to, bytes);
                }
            }
            Mode::P2p => {
                let (mine, other) = if from_publisher {
                    ('p', "s")
                } else {
                    ('s', "p")
                };
                let partner = self.clients[from].id.replacen(mine, other, 1);
                if let Some(&to) = self.by_id.get(&partner) {
                    self.send(from, to, bytes);
                }
            }
            Mode::FanIn | Mode::FanOut => {}
        }
    }

    fn send(&mut self, from: usize, to: usize, bytes: &[u8]) {
        let client = &mut self.clients[to];
        let Some(stream) = &mut client.stream else {
            return;
        };

        let mut written = 0;
        if client.out.is_empty() {
            written = stream.write(bytes).unwrap_or(0);
            if written == bytes.len() {
                return;
            }
            self.watch(to, EventFlags::IN | EventFlags::OUT);
        }

        let client = &mut self.clients[to];
        client.out.extend_from_slice(&bytes[written..]);
        if client.out.len() > PAUSE_BYTES && !self.clients[from].paused {
            self.clients[from].paused = true;
            self.watch(from, EventFlags::empty());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whole_packets_leave_the_start_of_the_next() {
        let bytes = b"\x30\x02ab\x30\x03abc\x30\x7f";
        assert_eq!(whole_packets(bytes), 9);
        assert_eq!(whole_packets(&bytes[..8]), 4);
        assert_eq!(packet_len(b"\x30\x80"), None);
    }

    #[test]
    fn client_id_of_both_versions() {
        let mut c = mqtt::Connect {
            version: 4,
            id: "p-3",
            clean: true,
            expiry: 0,
            user: None,
        };
        assert_eq!(
            client_id(&mqtt::connect(&c)),
            Some(("p-3".to_string(), false))
        );
        c.version = 5;
        c.expiry = 60;
        assert_eq!(
            client_id(&mqtt::connect(&c)),
            Some(("p-3".to_string(), true))
        );
    }
}
