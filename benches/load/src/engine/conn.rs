//! One connection: its socket, what is not yet parsed and what is not yet written.

use rustix::fd::OwnedFd;

use super::incoming::Received;

/// What a connection is there for.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(crate) enum Role {
    Publisher,
    Subscriber,
    Idle,
}

/// Where a connection stands.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(crate) enum State {
    Closed,
    Connecting,
    AwaitConnack,
    Ready,
}

/// One connection of the generator.
pub(crate) struct Conn {
    pub(super) fd: Option<OwnedFd>,
    pub(crate) role: Role,
    /// Which publisher or subscriber of its kind this is.
    pub(crate) index: usize,
    pub(crate) state: State,
    /// The CONNECT to send.
    pub(super) hello: Vec<u8>,
    pub(super) dialed_ns: u64,
    /// Start of a packet whose rest did not arrive yet.
    pub(super) stash: Vec<u8>,
    /// Payload bytes of a large PUBLISH that are still to come and are not looked at.
    pub(super) skip: usize,
    /// The PUBLISH that is complete when `skip` is 0.
    pub(super) pending: Option<Received>,
    pub(super) out: Vec<u8>,
    pub(super) out_pos: usize,
    /// Bytes of the shared payload that follow `out`.
    pub(super) tail_left: usize,
    /// Whether the socket is watched for room to write.
    pub(super) watch_write: bool,
    /// Whether this connection reads at all (a stalled subscriber does not).
    pub(super) reading: bool,
    /// The broker may end this connection: that is no fault.
    pub(crate) may_close: bool,
    pub(crate) subacks: u32,
    pub(crate) refused: u32,
    pub(crate) receive_maximum: u16,
    pub(crate) session_present: bool,
    pub(crate) received: u64,
}

impl Conn {
    pub(super) fn new(role: Role, index: usize, hello: Vec<u8>) -> Self {
        Self {
            fd: None,
            role,
            index,
            state: State::Closed,
            hello,
            dialed_ns: 0,
            stash: Vec::new(),
            skip: 0,
            pending: None,
            out: Vec::new(),
            out_pos: 0,
            tail_left: 0,
            watch_write: false,
            reading: true,
            may_close: false,
            subacks: 0,
            refused: 0,
            receive_maximum: u16::MAX,
            session_present: false,
            received: 0,
        }
    }

    /// Forgets the previous connection.
    pub(super) fn restart(&mut self, fd: OwnedFd, now: u64) {
        self.fd = Some(fd);
        self.state = State::Connecting;
        self.dialed_ns = now;
        self.stash.clear();
        self.skip = 0;
        self.pending = None;
        self.out.clear();
        self.out_pos = 0;
        self.tail_left = 0;
        self.watch_write = true;
        self.reading = true;
    }

    /// True while there is a socket.
    pub(crate) fn is_open(&self) -> bool {
        self.fd.is_some()
    }

    /// True when everything queued has been handed to the socket.
    #[inline]
    pub(crate) fn is_drained(&self) -> bool {
        self.out.len() == self.out_pos && self.tail_left == 0
    }
}
