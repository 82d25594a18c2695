//! The engine: one thread, one epoll instance, connections and publishers by index.

mod arrival;
mod conn;
mod incoming;
mod publisher;
mod run;

use std::io::IoSlice;
use std::net::{Ipv4Addr, SocketAddrV4};

use rustix::event::{Timespec, epoll};
use rustix::io::Errno;
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, sockopt};

pub(crate) use self::conn::{Conn, Role, State};
pub(crate) use self::publisher::{Message, PAYLOAD_HEAD, Publisher, TopicGen};
pub(crate) use self::run::{Measured, RunOptions, Stats};
use crate::error::{Error, Result};
use crate::hist::Hist;
use crate::mqtt;
use crate::os::{Rng, now_ns};

/// Marks payloads of this generator, combined with the publisher's index.
const MAGIC: u32 = 0x4d51_0000;
/// Bytes asked for in one read.
const READ_BYTES: usize = 256 * 1024;
/// No wait is longer, so that limits of time are noticed.
const LONGEST_WAIT_NS: u64 = 100_000_000;

/// All connections and publishers, and what they saw.
pub(crate) struct Engine {
    epoll: rustix::fd::OwnedFd,
    addr: SocketAddrV4,
    version: u8,
    pub(crate) conns: Vec<Conn>,
    pub(crate) publishers: Vec<Publisher>,
    events: Vec<epoll::Event>,
    read_buffer: Vec<u8>,
    /// Payload of big messages.
    tail: Vec<u8>,
    dirty: Vec<u32>,
    dirty_spare: Vec<u32>,
    rng: Rng,
    dials: u32,
    /// Next expected sequence number by `subscriber * publishers + publisher`; empty: not checked.
    pub(crate) sequence: Vec<u32>,
    pub(crate) stats: Stats,
    pub(crate) latency: Hist,
    /// The way of scheduled messages from the time they were written to the time they arrived in
    /// their subscriber's socket, by the kernel's stamp: without what this generator was late.
    pub(crate) way: Hist,
    /// Whether the kernel is asked when bytes arrived.
    pub(crate) stamps: bool,
    /// When the bytes at hand arrived; with stamps only.
    arrived_ns: u64,
    pub(crate) latency_on: bool,
    pub(crate) first_received_ns: u64,
    pub(crate) last_received_ns: u64,
    /// Connections that are up.
    pub(crate) ready: usize,
    pub(crate) connect_time: Hist,
    pub(crate) connect_failed: u64,
}

impl Engine {
    /// An engine for one broker; `largest` is the largest payload that will be sent.
    pub(crate) fn new(host: &str, port: u16, version: u8, largest: usize) -> Result<Self> {
        let ip: Ipv4Addr = host
            .parse()
            .map_err(|_| Error::new("--host must be an IPv4 address"))?;

        if !ip.is_loopback() {
            return Err(Error::new("only loopback addresses are loaded"));
        }

        Ok(Self {
            epoll: epoll::create(epoll::CreateFlags::CLOEXEC)?,
            addr: SocketAddrV4::new(ip, port),
            version,
            conns: Vec::new(),
            publishers: Vec::new(),
            events: Vec::with_capacity(1024),
            read_buffer: Vec::new(),
            tail: vec![b'x'; largest],
            dirty: Vec::new(),
            dirty_spare: Vec::new(),
            rng: Rng::new(),
            dials: 0,
            sequence: Vec::new(),
            stats: Stats::default(),
            latency: Hist::new()?,
            way: Hist::new()?,
            stamps: false,
            arrived_ns: 0,
            latency_on: true,
            first_received_ns: 0,
            last_received_ns: 0,
            ready: 0,
            connect_time: Hist::new()?,
            connect_failed: 0,
        })
    }

    /// The version of the protocol: 4 or 5.
    pub(crate) fn version(&self) -> u8 {
        self.version
    }

    /// Adds a connection that is not dialled yet.
    pub(crate) fn add_conn(&mut self, role: Role, index: usize, hello: Vec<u8>) -> usize {
        self.conns.push(Conn::new(role, index, hello));
        self.conns.len() - 1
    }

    /// Starts to connect; a failure is counted.
    pub(crate) fn dial(&mut self, at: usize) {
        if self.try_dial(at).is_err() {
            self.connect_failed += 1;
        }
    }

    fn try_dial(&mut self, at: usize) -> rustix::io::Result<()> {
        let fd = rustix::net::socket_with(
            AddressFamily::INET,
            SocketType::STREAM,
            SocketFlags::NONBLOCK | SocketFlags::CLOEXEC,
            None,
        )?;
        sockopt::set_tcp_nodelay(&fd, true)?;
        if self.stamps {
            arrival::ask(&fd)?;
        }

        // Source addresses rotate, so that a storm of connections never runs out of ports.
        self.dials = self.dials.wrapping_add(1);

        let source = Ipv4Addr::new(127, 0, 0, 2 + (self.dials % 200) as u8);
        rustix::net::bind(&fd, &SocketAddrV4::new(source, 0))?;
        match rustix::net::connect(&fd, &self.addr) {
            Ok(()) | Err(Errno::INPROGRESS) => {}
            Err(e) => return Err(e),
        }

        let flags = epoll::EventFlags::IN | epoll::EventFlags::OUT;
        epoll::add(
            &self.epoll,
            &fd,
            epoll::EventData::new_u64(at as u64),
            flags,
        )?;
        self.conns[at].restart(fd, now_ns());
        Ok(())
    }

    fn watch(&self, at: usize) {
        let conn = &self.conns[at];
        let Some(fd) = &conn.fd else { return };
        let mut flags = epoll::EventFlags::empty();
        flags.set(epoll::EventFlags::IN, conn.reading);
        flags.set(epoll::EventFlags::OUT, conn.watch_write);
        // It can only fail for a descriptor that is not registered; all of ours are.
        let _ = epoll::modify(&self.epoll, fd, epoll::EventData::new_u64(at as u64), flags);
    }

    fn watch_write(&mut self, at: usize, on: bool) {
        if self.conns[at].watch_write != on {
            self.conns[at].watch_write = on;
            self.watch(at);
        }
    }

    /// Stops or starts reading from a connection.
    pub(crate) fn set_reading(&mut self, at: usize, on: bool) {
        self.conns[at].reading = on;
        self.watch(at);
    }

    /// Closes a connection, with a DISCONNECT or without.
    pub(crate) fn close(&mut self, at: usize, graceful: bool) {
        let conn = &mut self.conns[at];
        let Some(fd) = conn.fd.take() else { return };
        if conn.state == State::Ready {
            self.ready -= 1;
        }
        conn.state = State::Closed;
        if graceful {
            // A peer that is gone already needs no goodbye.
            let _ = rustix::net::send(&fd, &mqtt::DISCONNECT, SendFlags::NOSIGNAL);
        }
    }

    fn lost(&mut self, at: usize) {
        match self.conns[at].state {
            State::Ready if self.conns[at].may_close => {}
            State::Ready => self.stats.closed += 1,
            _ => self.connect_failed += 1,
        }
        self.close(at, false);
    }

    /// Appends bytes to what a connection sends.
    pub(crate) fn queue(&mut self, at: usize, bytes: &[u8]) {
        self.conns[at].out.extend_from_slice(bytes);
    }

    /// Writes what is queued; true when nothing is left.
    pub(crate) fn flush(&mut self, at: usize) -> bool {
        loop {
            let conn = &mut self.conns[at];
            let Some(fd) = &conn.fd else { return false };
            if conn.is_drained() {
                conn.out.clear();
                conn.out_pos = 0;
                self.watch_write(at, false);
                return true;
            }
            self.stats.writes += 1;
            let queued = &conn.out[conn.out_pos..];
            let written = if conn.tail_left > 0 {
                let tail = &self.tail[self.tail.len() - conn.tail_left..];
                rustix::io::writev(fd, &[IoSlice::new(queued), IoSlice::new(tail)])
            } else {
                rustix::net::send(fd, queued, SendFlags::NOSIGNAL)
            };

            match written {
                Ok(n) => {
                    let of_queue = n.min(queued.len());
                    conn.out_pos += of_queue;
                    conn.tail_left -= n - of_queue;
                }
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => {
                    self.watch_write(at, true);
                    return false;
                }
                Err(_) => {
                    self.lost(at);
                    return false;
                }
            }
        }
    }

    /// Waits for events, at most so long, and handles them.
    pub(crate) fn poll(&mut self, timeout_ns: u64) {
        let wait = timeout_ns.min(LONGEST_WAIT_NS);
        let timeout = Timespec {
            tv_sec: 0,
            tv_nsec: wait as i64,
        };
        self.events.clear();
        let spare = rustix::buffer::spare_capacity(&mut self.events);
        if epoll::wait(&self.epoll, spare, Some(&timeout)).is_err() {
            return; // interrupted
        }
        let events = std::mem::take(&mut self.events);
        for event in &events {
            self.on_event(event.data.u64() as usize, event.flags);
        }
        self.events = events;
    }

    fn on_event(&mut self, at: usize, flags: epoll::EventFlags) {
        if self.conns[at].fd.is_none() {
            return;
        }

        let readable = flags.contains(epoll::EventFlags::IN);
        if !readable && flags.intersects(epoll::EventFlags::ERR | epoll::EventFlags::HUP) {
            self.lost(at);
            return;
        }

        if flags.contains(epoll::EventFlags::OUT) {
            let conn = &mut self.conns[at];
            if conn.state == State::Connecting {
                conn.state = State::AwaitConnack;
                conn.out.extend_from_slice(&conn.hello);
                self.flush(at);
            } else if self.flush(at) && self.conns[at].role == Role::Publisher {
                let publisher = self.conns[at].index;
                if publisher < self.publishers.len() {
                    self.mark(publisher);
                }
            }
        }

        if readable {
            self.on_readable(at);
        }
    }

    fn on_readable(&mut self, at: usize) {
        let conn = &mut self.conns[at];
        let Some(fd) = &conn.fd else { return };
        let mut buffer = std::mem::take(&mut self.read_buffer);
        let old = conn.stash.len();
        if buffer.len() < old + READ_BYTES {
            buffer.resize(old + READ_BYTES, 0);
        }

        self.stats.reads += 1;

        let room = &mut buffer[old..old + READ_BYTES];
        let read = if self.stamps {
            arrival::recv(fd, room).map(|(n, at)| {
                self.arrived_ns = at;
                n
            })
        } else {
            rustix::net::recv(fd, room, RecvFlags::empty()).map(|(n, _)| n)
        };

        match read {
            Ok(n) if n > 0 => {
                buffer[..old].copy_from_slice(&conn.stash);
                conn.stash.clear();
                let end = old + n;
                let used = self.parse(at, &buffer[..end], now_ns());
                let conn = &mut self.conns[at];
                conn.stash.extend_from_slice(&buffer[used..end]);
                if !conn.is_drained() && !conn.watch_write {
                    self.flush(at);
                }
            }
            Err(Errno::AGAIN | Errno::INTR) => {}
            Ok(_) | Err(_) => self.lost(at),
        }

        self.read_buffer = buffer;
    }
}
