//! What one thread of a script does.

use fastrand::Rng;
use midge_core::Receipt;

use super::peer::Peer;
use super::script::{Script, Step, TOPICS};
use super::world::World;
use crate::model::{Check, Finding, Kind, Moment, NEVER, Name, RightChange, Sending, tag};

/// A message of the host whose receipt is watched.
pub(super) struct Watched {
    pub(super) name: Name,
    receipt: Receipt,
    /// When the receipt was first seen to say that all is acknowledged.
    pub(super) acknowledged: Option<Moment>,
}

/// The clients of one thread and what it does with them.
pub(super) struct Lane {
    pub(super) number: usize,
    pub(super) peers: Vec<Peer>,
    pub(super) rights: Vec<RightChange>,
    pub(super) sent: Vec<Sending>,
    pub(super) watched: Vec<Watched>,
    pub(super) takeovers: u64,
    rng: Rng,
}

impl Lane {
    pub(super) fn new(script: &Script, number: usize) -> Self {
        let threads = script.lanes.len();
        let plans = script.peers.iter().enumerate();
        let own = plans.filter(|(index, _)| index % threads == number);
        Self {
            number,
            peers: own
                .map(|(index, plan)| Peer::new(index, plan.clone()))
                .collect(),
            rights: Vec::new(),
            sent: Vec::new(),
            watched: Vec::new(),
            takeovers: 0,
            rng: Rng::with_seed(script.seed ^ number as u64),
        }
    }

    /// Whether the step is one of this thread.
    pub(super) fn owns(&self, peer: usize) -> bool {
        self.peers.iter().any(|own| own.index == peer)
    }

    /// Does what a script says.
    pub(super) fn run(&mut self, world: &World, steps: &[Step]) {
        for step in steps {
            if world.has_left() && self.rng.u8(..3) == 0 {
                world.serve(self.rng.usize(..));
            }
            self.step(world, step);
            if self.number == 0 && self.rng.u8(..8) == 0 {
                self.look(world);
            }
        }
    }

    /// What goes on beside the script: the client that only watches, receipts.
    fn look(&mut self, world: &World) {
        if let Some(watcher) = self.peers.iter_mut().find(|peer| peer.index == 0) {
            watcher.pump(world, false);
        }
        self.look_at_receipts(world);
    }

    pub(super) fn look_at_receipts(&mut self, world: &World) {
        for watched in self
            .watched
            .iter_mut()
            .filter(|watched| watched.acknowledged.is_none())
        {
            if watched.receipt.is_acknowledged() {
                watched.acknowledged = Some(world.moment());
            }
        }
    }

    pub(super) fn step(&mut self, world: &World, step: &Step) {
        match *step {
            Step::Serve => {
                world.serve(self.rng.usize(..));
            }
            Step::Answer => {
                world.pending.answer_all();
            }
            Step::Advance { ms } => world.advance(ms),
            Step::Host {
                topic,
                qos,
                retain,
                as_peer,
                ..
            } => {
                self.publish(world, (topic, qos, retain), as_peer);
            }

            Step::Connect { peer, .. }
            | Step::TakeOver { peer, .. }
            | Step::Break { peer, .. }
            | Step::Leave { peer, .. }
            | Step::Subscribe { peer, .. }
            | Step::Unsubscribe { peer, .. }
            | Step::Publish { peer, .. }
            | Step::Acknowledge { peer, .. }
            | Step::Listen { peer }
            | Step::Sync { peer }
            | Step::Right { peer, .. }
            | Step::Clear { peer }
            | Step::Kick { peer } => {
                let Some(at) = self.peers.iter().position(|own| own.index == peer) else {
                    return;
                };
                self.step_of(world, step, at);
            }
        }
    }

    fn step_of(&mut self, world: &World, step: &Step, at: usize) {
        let peer = &mut self.peers[at];

        match *step {
            Step::Connect { clean, will, .. } => peer.connect(world, clean, will),
            Step::TakeOver {
                clean, will, rest, ..
            } => {
                self.takeovers += u64::from(peer.line.is_some());
                peer.abandon(world, rest);
                peer.connect(world, clean, will);
            }
            Step::Break { rest, .. } => peer.abandon(world, rest),
            Step::Leave {
                code, ends_session, ..
            } => peer.leave(world, code, ends_session),
            Step::Subscribe {
                filter, options, ..
            } => {
                peer.subscribe(world, filter, options);
                peer.pump(world, false);
            }
            Step::Unsubscribe { filter, .. } => {
                peer.unsubscribe(world, filter);
                peer.pump(world, false);
            }

            Step::Publish {
                topic,
                qos,
                retain,
                count,
                expiry,
                size,
                now,
                ..
            } => {
                for _ in 0..count {
                    peer.publish(world, (topic, qos, retain), expiry, size);
                }
                if now {
                    peer.pump(world, false);
                }
            }

            Step::Acknowledge { count, now, .. } => {
                peer.acknowledge(world, usize::from(count));
                if now {
                    peer.pump(world, false);
                }
            }
            Step::Listen { .. } => {
                peer.pump(world, false);
            }
            Step::Sync { .. } => {
                peer.sync(world, true);
            }
            Step::Right { allowed, .. } => self.rights.push(peer.set_right(world, allowed)),
            Step::Clear { .. } => peer.clear(world),
            Step::Kick { .. } => peer.kick(world),
            Step::Serve | Step::Answer | Step::Advance { .. } | Step::Host { .. } => {}
        }
    }

    fn publish(
        &mut self,
        world: &World,
        (topic, qos, retain): (usize, u8, bool),
        as_peer: Option<usize>,
    ) {
        let name = Name {
            kind: Kind::Host,
            publisher: self.number as u8,
            number: self.sent.len() as u32 + 1,
            connection: 0,
            qos,
        };

        let client = as_peer.map(|peer| format!("c{peer}"));
        let topic = TOPICS[topic];
        let (from, tick) = (world.moment(), world.clock.now().0);
        world.tell(format!(
            "{} the host publishes on {topic} QoS {qos} as {client:?}",
            tag(name)
        ));

        let receipt = world
            .engine
            .publish((name, topic, retain), client.as_deref(), &world.clock);
        let done = world.moment();
        let code = if receipt.is_some() { 0 } else { 0x87 };
        self.sent.push(Sending {
            name,
            topic: topic.into(),
            retain,
            expiry: None,
            from,
            tick,
            done: Some(done),
            code,
            over: NEVER,
            origin: as_peer,
        });

        if let Some(receipt) = receipt.filter(|_| qos > 0) {
            self.watched.push(Watched {
                name,
                receipt,
                acknowledged: None,
            });
        }
    }

    /// A receipt that says too early that all is acknowledged.
    pub(super) fn check_receipts(&self, history: &crate::model::History) -> Vec<Finding> {
        let mut found = Vec::new();
        for watched in &self.watched {
            let Some(said) = watched.acknowledged else {
                let what = format!(
                    "the receipt of {} never says that all is acknowledged",
                    watched.name
                );
                found.push(Finding::new(Check::Receipt, what).name(watched.name));
                continue;
            };

            for (index, client) in history.clients.iter().enumerate() {
                let late = client.deliveries.iter().find(|delivery| {
                    let ended = client.sessions[delivery.session].off.is_some();
                    let finished = client
                        .deliveries
                        .iter()
                        .filter(|one| one.name == delivery.name)
                        .map(|one| one.finished)
                        .min();
                    delivery.name == watched.name
                        && delivery.qos > 0
                        && !delivery.retain
                        && !client.is_host()
                        && !ended
                        && finished > Some(said)
                });
                if late.is_some() {
                    let what = format!(
                        "the receipt of {} said acknowledged at {said}, before {} had",
                        watched.name, client.client_id
                    );
                    found.push(
                        Finding::new(Check::Receipt, what)
                            .client(index)
                            .name(watched.name),
                    );
                }
            }
        }

        found
    }
}
