//! What all threads of a script share.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use super::engine::Engine;
use super::hooks::{Pending, Rights};
use super::line::{Clock, Ended, Line, lock};
use crate::model::{Access, Check, Event, Finding, Moment};
use crate::parse::parse;

/// A connection that its client has left.
pub(super) struct Left {
    pub(super) line: Box<dyn Line>,
    pub(super) received: Vec<u8>,
    pub(super) peer: usize,
    /// Index among the connections of the client.
    pub(super) connection: usize,
    pub(super) version: u8,
    /// The broker reads what was sent before it finds the end.
    pub(super) reads: bool,
}

/// The end of a connection that its client had left.
#[derive(Clone, Copy, Debug)]
pub(super) struct Over {
    pub(super) peer: usize,
    pub(super) connection: usize,
    pub(super) at: Moment,
}

/// What all threads of a script share.
pub(super) struct World {
    pub(super) engine: Engine,
    pub(super) clock: Arc<Clock>,
    pub(super) access: Access,
    pub(super) pending: Arc<Pending>,
    pub(super) rights: Arc<Rights>,
    /// The broker ends a connection whose queue is full, at any moment.
    pub(super) ends_when_full: bool,
    moments: AtomicU64,
    left: Mutex<Vec<Left>>,
    waiting: AtomicUsize,
    pub(super) overs: Mutex<Vec<Over>>,
    /// PUBLISH packets that came from the broker.
    pub(super) publishes: AtomicU64,
    pub(super) findings: Mutex<Vec<Finding>>,
    pub(super) events: Mutex<Vec<Event>>,
    moving: Mutex<()>,
}

impl World {
    pub(super) fn new(
        engine: Engine,
        clock: Arc<Clock>,
        access: Access,
        pending: Arc<Pending>,
        rights: Arc<Rights>,
        ends_when_full: bool,
    ) -> Self {
        Self {
            engine,
            clock,
            access,
            pending,
            rights,
            ends_when_full,
            moments: AtomicU64::new(1),
            left: Mutex::default(),
            waiting: AtomicUsize::new(0),
            overs: Mutex::default(),
            publishes: AtomicU64::new(0),
            findings: Mutex::default(),
            events: Mutex::default(),
            moving: Mutex::default(),
        }
    }

    /// The next moment.
    pub(super) fn moment(&self) -> Moment {
        self.moments.fetch_add(1, Ordering::SeqCst)
    }

    pub(super) fn find(&self, finding: Finding) {
        lock(&self.findings).push(finding);
    }

    pub(super) fn tell(&self, what: String) {
        let at = self.moment();
        lock(&self.events).push(Event { at, what });
    }

    /// Leaves a connection to the threads, and gives one of them a chance to serve it at once.
    pub(super) fn leave(&self, left: Left) {
        lock(&self.left).push(left);
        let before = self.waiting.fetch_add(1, Ordering::SeqCst);
        for _ in 0..200 {
            if self.waiting.load(Ordering::SeqCst) <= before {
                break;
            }
            std::hint::spin_loop();
        }
    }

    /// Moves the clock; one thread at a time does.
    pub(super) fn advance(&self, ms: u64) {
        let _one = lock(&self.moving);
        self.engine.advance(&self.clock, ms);
        let now = self.clock.now().0;
        self.tell(format!("the clock is at {now} ms"));
    }

    /// Whether a connection waits to be served.
    pub(super) fn has_left(&self) -> bool {
        self.waiting.load(Ordering::Relaxed) > 0
    }

    /// Serves a connection that was left: any of them, by `pick`.
    pub(super) fn serve(&self, pick: usize) -> bool {
        let next = {
            let mut left = lock(&self.left);
            let count = left.len();
            (count > 0).then(|| left.swap_remove(pick % count))
        };

        let Some(mut left) = next else { return false };
        self.waiting.fetch_sub(1, Ordering::SeqCst);
        if left.reads {
            while left.line.work() {}
            if left.line.is_waiting() && self.pending.answer_all() {
                while left.line.work() {}
            }
        }

        match left.line.close(&mut left.received, left.reads) {
            Ended::Now => {
                let at = self.moment();
                let over = Over {
                    peer: left.peer,
                    connection: left.connection,
                    at,
                };
                lock(&self.overs).push(over);
            }
            Ended::Sometime => {}
            Ended::Never => {
                let what = "a connection that was left does not end";
                self.find(Finding::new(Check::Stuck, what).client(left.peer));
            }
        }

        self.count(&left.received, left.version, left.peer);
        true
    }

    /// Counts the messages that came on a connection after its client had left it.
    fn count(&self, mut bytes: &[u8], version: u8, peer: usize) {
        let mut ended = false;

        while !bytes.is_empty() {
            match parse(bytes, version) {
                Ok(Some((packet, size))) => {
                    if ended {
                        let what = format!("a packet after DISCONNECT (MQTT-3.14.4-1): {packet:?}");
                        self.find(Finding::new(Check::Protocol, what).client(peer));
                        return;
                    }
                    ended = matches!(packet, crate::Packet::Disconnect(_));
                    if matches!(packet, crate::Packet::Publish(_)) {
                        self.publishes.fetch_add(1, Ordering::Relaxed);
                    }
                    bytes = &bytes[size..];
                }
                Ok(None) => return,
                Err(what) => {
                    self.find(Finding::new(Check::Protocol, what).client(peer));
                    return;
                }
            }
        }
    }
}
