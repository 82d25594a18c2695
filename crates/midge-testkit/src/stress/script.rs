//! Scripts: what clients do, by a seed.

use fastrand::Rng;
use midge_core::{Config, Overflow};

use super::line::Telling;
use super::setup::{Hooking, Setup};
use crate::model::Access;

/// Topics that anything is published to.
pub const TOPICS: [&str; 8] = ["t/0", "t/1", "t/2", "t/3", "s/a", "s/b", "r/0", "r/1"];

/// Filters that clients subscribe to; the identifier of each is its index plus 1.
pub const FILTERS: [&str; 12] = [
    "t/0",
    "t/1",
    "t/2",
    "t/+",
    "t/#",
    "+/1",
    "+/3",
    "r/#",
    "r/0",
    "w/#",
    "$share/g/s/a",
    "$share/h/s/+",
];

/// The first filter of a group.
const FIRST_GROUP: usize = 10;

/// What a client is.
#[derive(Clone, Debug)]
pub struct PeerPlan {
    /// Protocol version, 4 or 5.
    pub version: u8,
    /// Session Expiry Interval; for version 4 a persistent session if not 0.
    pub expiry: u32,
    /// Receive Maximum.
    pub window: u16,
    /// Subscriptions have identifiers.
    pub ids: bool,
    /// Keep Alive in seconds.
    pub keep_alive: u16,
    /// Notifications take output at once, on the thread that notifies.
    pub eager: bool,
    /// How receivers are told.
    pub telling: Telling,
}

/// One step of a client, or of the host.
#[derive(Clone, Debug)]
#[allow(missing_docs)] // the fields are named like what they set
pub enum Step {
    /// Connects, if not connected.
    Connect {
        peer: usize,
        clean: bool,
        will: Option<WillPlan>,
    },
    /// Leaves the old connection to be read by any thread at any time, and connects again at once.
    TakeOver {
        peer: usize,
        clean: bool,
        will: Option<WillPlan>,
        rest: Rest,
    },
    /// Leaves the connection to be read by any thread at any time.
    Break { peer: usize, rest: Rest },
    /// DISCONNECT.
    Leave {
        peer: usize,
        code: u8,
        ends_session: bool,
    },
    /// SUBSCRIBE with one filter.
    Subscribe {
        peer: usize,
        filter: usize,
        options: u8,
    },
    /// UNSUBSCRIBE.
    Unsubscribe { peer: usize, filter: usize },
    /// PUBLISH, several times; read by the broker now or later.
    Publish {
        peer: usize,
        topic: usize,
        qos: u8,
        retain: bool,
        count: u8,
        expiry: Option<u32>,
        size: usize,
        now: bool,
    },
    /// Sends some of the acknowledgements that are due.
    Acknowledge { peer: usize, count: u8, now: bool },
    /// Lets the broker read and reads what comes.
    Listen { peer: usize },
    /// As `Listen`, until nothing more comes.
    Sync { peer: usize },
    /// A message of the host, or in the name of a client.
    Host {
        lane: usize,
        topic: usize,
        qos: u8,
        retain: bool,
        as_peer: Option<usize>,
    },
    /// Moves the clock.
    Advance { ms: u64 },
    /// Serves a connection that was left.
    Serve,
    /// Gives the answers of hooks that are due.
    Answer,
    /// Gives or takes the right to receive.
    Right { peer: usize, allowed: bool },
    /// The host ends a session.
    Clear { peer: usize },
    /// The host ends a connection.
    Kick { peer: usize },
}

/// A will.
#[derive(Clone, Copy, Debug)]
pub struct WillPlan {
    /// Its QoS.
    pub qos: u8,
    /// Will Delay Interval in seconds.
    pub delay: u32,
}

/// What becomes of a connection that is left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rest {
    /// The broker reads all that was sent, then finds the end.
    Read,
    /// The broker reads a part of it.
    Half,
    /// The broker finds the end at once.
    Lost,
    /// A DISCONNECT that ends the session is the last that was sent.
    Goodbye,
}

/// A whole script.
#[derive(Clone, Debug)]
pub struct Script {
    /// Its seed.
    pub seed: u64,
    /// What hooks answer.
    pub access: Access,
    /// The clients; each belongs to the lane of its index modulo their number. The first one does nothing
    /// but watch.
    pub peers: Vec<PeerPlan>,
    /// What happens before: connections and subscriptions.
    pub setup: Vec<Step>,
    /// What each thread does.
    pub lanes: Vec<Vec<Step>>,
    /// The clock moves.
    pub moves_clock: bool,
    /// Queues and the retained store have little room: what becomes of what does not fit.
    pub tight: Option<Overflow>,
}

impl Script {
    /// The script of a seed.
    #[must_use]
    pub fn new(seed: u64, setup: &Setup) -> Self {
        let Setup { threads, steps, .. } = *setup;
        let mut rng = Rng::with_seed(seed);
        let moves_clock = rng.u8(..4) == 0;
        let access = access(&mut rng, seed, moves_clock, setup.hooking);
        let count = (threads * 2).max(3) + rng.usize(..3);
        let mut peers: Vec<PeerPlan> = (0..count).map(|_| plan(&mut rng, moves_clock)).collect();
        peers[0] = PeerPlan {
            version: 5,
            expiry: 0,
            window: u16::MAX,
            ids: false,
            keep_alive: 0,
            eager: false,
            telling: Telling::AtOnce,
        };

        let mut setup = vec![
            Step::Connect {
                peer: 0,
                clean: true,
                will: None,
            },
            Step::Subscribe {
                peer: 0,
                filter: 7,
                options: 0x08,
            },
        ];

        for peer in 1..count {
            let will = will(&mut rng, moves_clock);
            setup.push(Step::Connect {
                peer,
                clean: rng.bool(),
                will,
            });
            for _ in 0..rng.usize(1..4) {
                setup.push(subscribe(&mut rng, &peers, peer));
            }
        }

        let tight = match rng.u8(..12) {
            0 => Some(Overflow::DropNewest),
            1 => Some(Overflow::DropOldest),
            2 => Some(Overflow::Disconnect),
            _ => None,
        };

        let mix = Mix::new(&mut rng);
        let lanes = (0..threads).map(|lane| {
            let mut rng = Rng::with_seed(rng.u64(..));
            let own: Vec<usize> = (1..count).filter(|peer| peer % threads == lane).collect();
            let mut maker = Maker {
                rng: &mut rng,
                peers: &peers,
                own: &own,
                lane,
                moves_clock,
                mix: &mix,
            };
            (0..steps).map(|_| maker.step()).collect()
        });

        let lanes = lanes.collect();
        Self {
            seed,
            access,
            peers,
            setup,
            lanes,
            moves_clock,
            tight,
        }
    }

    /// The settings of its broker.
    pub(super) fn configure(&self, config: &mut Config) {
        config.sys.interval_s = 0;
        // Each attempt has a user name of its own, for hooks to know it by.
        config.lenient.session_user = true;
        if let Some(overflow) = self.tight {
            config.overflow.session = overflow;
            config.limits.session_queue_messages = 4;
            config.limits.retained_messages = 1;
        }
    }
}

fn access(rng: &mut Rng, seed: u64, moves_clock: bool, hooking: Hooking) -> Access {
    let hooked = rng.u8(..3) > 0;
    let access = Access {
        seed,
        authorizes: hooked && rng.bool(),
        intercepts: hooked && rng.u8(..3) == 0,
        receives: hooked && rng.u8(..3) == 0,
        delivers: hooked && rng.u8(..3) == 0,
        // A deferred answer has a time limit.
        defers: !moves_clock && rng.bool(),
        panics: rng.u8(..3) == 0,
        halves: rng.bool(),
    };

    match hooking {
        Hooking::Any => access,
        Hooking::Calm => Access {
            panics: false,
            ..access
        },
        Hooking::Prompt => Access {
            panics: false,
            defers: false,
            ..access
        },
        Hooking::Absent => Access::default(),
    }
}

/// How much of what a script does.
#[derive(Debug)]
struct Mix {
    takeovers: u32,
    subscriptions: u32,
    publishes: u32,
    host: u32,
    qos: [u8; 4],
}

impl Mix {
    fn new(rng: &mut Rng) -> Self {
        Self {
            takeovers: rng.u32(2..30),
            subscriptions: rng.u32(2..16),
            publishes: rng.u32(15..40),
            host: rng.u32(0..6),
            qos: match rng.u8(..4) {
                0 => [2, 2, 2, 2],
                1 => [0, 1, 2, 2],
                _ => [0, 1, 1, 2],
            },
        }
    }
}

fn plan(rng: &mut Rng, moves_clock: bool) -> PeerPlan {
    let expiries: &[u32] = if moves_clock {
        &[0, 30, 3600, u32::MAX]
    } else {
        &[0, u32::MAX, u32::MAX, u32::MAX, u32::MAX]
    };

    let tellings = [Telling::AtOnce, Telling::After, Telling::Together];
    let version = if rng.u8(..4) == 0 { 4 } else { 5 };
    let expiry = expiries[rng.usize(..expiries.len())];
    let windows = [1, 2, 5, 20, 65_535];
    PeerPlan {
        version,
        expiry: if version == 4 && expiry != 0 {
            u32::MAX
        } else {
            expiry
        },
        window: if version == 4 {
            u16::MAX
        } else {
            windows[rng.usize(..windows.len())]
        },
        ids: rng.bool(),
        keep_alive: if moves_clock && rng.u8(..3) == 0 {
            20
        } else {
            0
        },
        eager: rng.bool(),
        telling: tellings[rng.usize(..3)],
    }
}

fn will(rng: &mut Rng, moves_clock: bool) -> Option<WillPlan> {
    let delay = if moves_clock && rng.bool() { 5 } else { 0 };
    (rng.u8(..3) == 0).then(|| WillPlan {
        qos: rng.u8(..3),
        delay,
    })
}

fn subscribe(rng: &mut Rng, peers: &[PeerPlan], peer: usize) -> Step {
    // A group is told by its identifier, and moves nothing of QoS 0.
    let groups = peers[peer].version == 5 && peers[peer].ids;
    let filter = rng.usize(..if groups { FILTERS.len() } else { FIRST_GROUP });
    let group = filter >= FIRST_GROUP;
    let qos = if group { rng.u8(1..3) } else { rng.u8(..3) };
    let options = if peers[peer].version == 5 {
        let no_local = if group || rng.u8(..3) > 0 { 0 } else { 0x04 };
        let as_published = if rng.bool() { 0x08 } else { 0 };
        no_local | as_published | (rng.u8(..3) << 4)
    } else {
        0
    };
    Step::Subscribe {
        peer,
        filter,
        options: qos | options,
    }
}

struct Maker<'a> {
    rng: &'a mut Rng,
    peers: &'a [PeerPlan],
    own: &'a [usize],
    lane: usize,
    moves_clock: bool,
    mix: &'a Mix,
}

impl Maker<'_> {
    fn step(&mut self) -> Step {
        let Some(peer) = self.rng.choice(self.own).copied() else {
            return Step::Serve;
        };

        let mix = self.mix;
        let mut left = self
            .rng
            .u32(..mix.takeovers + mix.subscriptions + mix.publishes + mix.host + 46);
        let mut pick = |weight: u32| {
            let hit = left < weight;
            left = left.saturating_sub(weight);
            hit
        };

        if pick(mix.takeovers) {
            return self.take_over(peer);
        }

        if pick(mix.subscriptions) {
            return match self.rng.u8(..3) {
                0 => Step::Unsubscribe {
                    peer,
                    filter: self.rng.usize(..FILTERS.len()),
                },
                _ => subscribe(self.rng, self.peers, peer),
            };
        }

        if pick(mix.publishes) {
            return self.publish(peer);
        }
        if pick(mix.host) {
            return self.host(peer);
        }

        if pick(12) {
            return Step::Acknowledge {
                peer,
                count: self.rng.u8(1..8),
                now: self.rng.bool(),
            };
        }

        if pick(10) {
            return Step::Listen { peer };
        }
        if pick(6) {
            return Step::Sync { peer };
        }
        if pick(10) {
            return Step::Serve;
        }
        if pick(4) {
            return Step::Answer;
        }

        self.rare(peer)
    }

    fn will(&mut self) -> Option<WillPlan> {
        will(self.rng, self.moves_clock)
    }

    fn take_over(&mut self, peer: usize) -> Step {
        let clean = self.rng.u8(..12) == 0;
        let rest = match self.rng.u8(..10) {
            0 => Rest::Lost,
            1 => Rest::Half,
            2 => Rest::Goodbye,
            _ => Rest::Read,
        };

        match self.rng.u8(..8) {
            0 => Step::Break { peer, rest },
            1 => Step::Connect {
                peer,
                clean,
                will: self.will(),
            },
            _ => Step::TakeOver {
                peer,
                clean,
                will: self.will(),
                rest,
            },
        }
    }

    fn publish(&mut self, peer: usize) -> Step {
        let topic = self.rng.usize(..TOPICS.len());
        let retain = TOPICS[topic].starts_with("r/");
        let sizes = [11, 11, 11, 40, 300, 9_000];
        Step::Publish {
            peer,
            topic,
            qos: self.mix.qos[self.rng.usize(..4)],
            retain,
            count: self.rng.u8(1..6),
            expiry: (self.moves_clock && self.rng.u8(..4) == 0).then_some(10),
            size: sizes[self.rng.usize(..sizes.len())],
            now: self.rng.bool(),
        }
    }

    fn host(&mut self, peer: usize) -> Step {
        let topic = self.rng.usize(..TOPICS.len());
        Step::Host {
            lane: self.lane,
            topic,
            qos: self.rng.u8(..3),
            retain: TOPICS[topic].starts_with("r/"),
            as_peer: (self.rng.u8(..3) == 0).then_some(peer),
        }
    }

    fn rare(&mut self, peer: usize) -> Step {
        match self.rng.u8(..8) {
            0 | 1 if self.moves_clock => Step::Advance {
                ms: [1, 900, 5_000, 12_000][self.rng.usize(..4)],
            },
            0 | 1 => Step::Serve,
            2 | 3 => Step::Right {
                peer,
                allowed: self.rng.bool(),
            },
            4 => Step::Kick { peer },
            5 if self.rng.u8(..3) == 0 => Step::Clear { peer },
            6 => Step::Leave {
                peer,
                code: if self.rng.bool() { 0 } else { 4 },
                ends_session: self.rng.u8(..4) == 0,
            },
            _ => Step::Connect {
                peer,
                clean: false,
                will: self.will(),
            },
        }
    }
}
