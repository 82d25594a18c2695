//! A client that keeps to the rules and to its own state: it sends again what was not acknowledged,
//! remembers identifiers that it received, and writes down what it said and saw.

use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};

use super::line::Line;
use super::script::{FILTERS, PeerPlan, TOPICS, WillPlan};
use super::world::World;
use crate::build::{Connect, Publish, Subscribe, Will, ack, unsubscribe};
use crate::ledger::Ledger;
use crate::model::{
    Check, ClientHistory, ConnectionFact, Event, Finding, Kind, Moment, NEVER, Name, Sending, Span,
    SubscriptionFact, WillFact,
};
use crate::packet::Kind as AckKind;
use crate::wire::PropsBuf;

/// A message of this client that is not finished.
#[derive(Clone, Debug)]
pub(super) struct Outgoing {
    pub(super) publish: Publish,
    /// Order of the first sending.
    pub(super) order: u64,
    /// PUBREC has come.
    pub(super) released: bool,
    /// Index of the copy that was sent last.
    pub(super) sending: usize,
}

/// An acknowledgement that is due.
#[derive(Clone, Copy, Debug)]
pub(super) struct Due {
    pub(super) kind: AckKind,
    pub(super) packet_id: u16,
    /// Index of the delivery that it ends.
    pub(super) ends: Option<usize>,
}

/// A client.
pub(super) struct Peer {
    pub(super) index: usize,
    pub(super) plan: PeerPlan,
    pub(super) line: Option<Box<dyn Line>>,
    pub(super) ledger: Ledger,
    pub(super) received: Vec<u8>,
    pub(super) connected: bool,
    /// Moment at which the connection was last known to live.
    pub(super) alive: Moment,
    pub(super) attempts: u16,
    pub(super) clean: bool,
    /// The session may have ended with a DISCONNECT that may have been read.
    pub(super) may_have_ended: bool,
    /// The broker has sent DISCONNECT on the present connection.
    pub(super) dismissed: bool,
    pub(super) next_id: u16,
    pub(super) next_number: u32,
    pub(super) next_order: u64,
    pub(super) outgoing: BTreeMap<u16, Outgoing>,
    /// QoS 0 copies on this connection that are not known to be routed.
    pub(super) unconfirmed: Vec<usize>,
    /// QoS 2 messages that are not released, by packet identifier.
    pub(super) incoming: HashMap<u16, Name>,
    pub(super) due: VecDeque<Due>,
    /// QoS 1 deliveries and QoS 2 deliveries that wait for PUBREL, by packet identifier.
    pub(super) open: HashMap<u16, usize>,
    pub(super) subscribing: HashMap<u16, (usize, Option<usize>)>,
    /// Filter, and the number of subscriptions that were asked for before.
    pub(super) unsubscribing: HashMap<u16, (String, usize)>,
    pub(super) seen: HashSet<Name>,
    pub(super) pings: usize,
    /// Packets that came, answers to PINGREQ aside.
    pub(super) packets: u64,
    pub(super) history: ClientHistory,
}

impl Peer {
    pub(super) fn new(index: usize, plan: PeerPlan) -> Self {
        let history = ClientHistory {
            client_id: format!("c{index}"),
            version: plan.version,
            ..ClientHistory::default()
        };

        Self {
            index,
            plan,
            line: None,
            ledger: Ledger::new(),
            received: Vec::new(),
            connected: false,
            alive: 0,
            attempts: 0,
            clean: false,
            may_have_ended: false,
            dismissed: false,
            next_id: 1,
            next_number: 1,
            next_order: 0,
            outgoing: BTreeMap::new(),
            unconfirmed: Vec::new(),
            incoming: HashMap::new(),
            due: VecDeque::new(),
            open: HashMap::new(),
            subscribing: HashMap::new(),
            unsubscribing: HashMap::new(),
            seen: HashSet::new(),
            pings: 0,
            packets: 0,
            history,
        }
    }

    pub(super) fn tell(&mut self, at: Moment, what: String) {
        self.history.events.push(Event { at, what });
    }

    pub(super) fn connection(&self) -> u16 {
        self.attempts
    }

    /// The facts of the present connection.
    pub(super) fn facts(&mut self) -> Option<&mut ConnectionFact> {
        self.history.connections.last_mut()
    }

    pub(super) fn write(&mut self, bytes: &[u8]) {
        self.ledger.outgoing(bytes);
        if let Some(line) = &mut self.line {
            line.write(bytes);
        }
    }

    // --- connecting ------------------------------------------------------------------------------

    /// Connects and reads CONNACK.
    pub(super) fn connect(&mut self, world: &World, clean: bool, will: Option<WillPlan>) {
        if self.line.is_some() {
            return;
        }

        let Some(line) = world.engine.open(&self.plan, &world.clock) else {
            world.find(
                Finding::new(Check::Gauge, "a connection was not accepted").client(self.index),
            );
            return;
        };

        self.line = Some(line);
        self.ledger = Ledger::new();
        self.attempts += 1;
        self.dismissed = false;
        self.clean = clean || (self.plan.version == 4 && self.plan.expiry == 0);

        let at = world.moment();
        self.alive = at;

        let (packet, will) = self.connect_packet(will);
        self.history.connections.push(ConnectionFact {
            number: self.attempts,
            session: usize::MAX,
            at,
            up: NEVER,
            down: NEVER,
            over: NEVER,
            synced: 0,
            will,
            said_goodbye: false,
            cut: false,
            tick: 0,
        });

        self.tell(
            at,
            format!("CONNECT {} clean {}", self.attempts, self.clean),
        );
        self.write(&packet);
        while self.line.is_some() && !self.connected {
            self.pump(world, true);
            if self.line.as_ref().is_some_and(|line| line.is_waiting()) {
                world.pending.answer_all();
            } else if !self.connected && self.line.as_ref().is_some_and(|line| line.is_direct()) {
                let finding = Finding::new(Check::Stuck, "CONNECT was not answered");
                world.find(finding.client(self.index));
                self.lose(world);
            }
        }
    }

    fn connect_packet(&self, will: Option<WillPlan>) -> (Vec<u8>, Option<WillFact>) {
        let id = &self.history.client_id;
        let mut connect = Connect::new(self.plan.version, id)
            .clean(self.clean)
            .keep_alive(self.plan.keep_alive)
            .user(format!("{id} {}", self.attempts));

        if self.plan.version == 5 {
            connect = connect
                .expiry(self.plan.expiry)
                .receive_maximum(self.plan.window);
        }

        let fact = will.map(|plan| {
            let name = Name {
                kind: Kind::Will,
                publisher: self.index as u8,
                number: u32::from(self.attempts),
                connection: self.attempts,
                qos: plan.qos,
            };
            let delay = if self.plan.version == 5 {
                plan.delay
            } else {
                0
            };
            (
                WillFact {
                    name,
                    topic: format!("w/c{}", self.index),
                    delay,
                },
                plan,
            )
        });

        if let Some((fact, plan)) = &fact {
            let mut will = Will::new(&fact.topic, fact.name.payload(0)).qos(plan.qos);
            if fact.delay > 0 {
                will = will.delay(fact.delay);
            }
            connect = connect.will(will);
        }

        (connect.bytes(), fact.map(|(fact, _)| fact))
    }

    /// CONNACK with success has come.
    pub(super) fn accepted(&mut self, world: &World, present: bool) {
        let at = world.moment();
        let sent = self.facts().map_or(at, |facts| facts.at);
        self.connected = true;
        self.check_present(world, present);
        if !present {
            self.history.end_session(Span {
                from: self.last_end(),
                to: at,
            });
            self.history.begin_session(Span { from: sent, to: at });
            self.outgoing.clear();
            self.incoming.clear();
            self.open.clear();
            self.seen.clear();
        }

        self.may_have_ended = false;

        let session = self.history.sessions.len() - 1;
        if let Some(facts) = self.facts() {
            facts.up = at;
            facts.session = session;
        }

        self.tell(
            at,
            format!(
                "CONNACK {} present {present}, session {session}",
                self.attempts
            ),
        );
        if present {
            self.send_again(world);
        }
    }

    /// The first moment at which the present session may have ended before this connection.
    fn last_end(&self) -> Moment {
        let before = self.history.connections.iter().rev().skip(1);
        let last = before.clone().find(|facts| facts.up != NEVER);
        last.map_or(0, |facts| facts.down)
    }

    fn check_present(&self, world: &World, present: bool) {
        let known = self.history.session().is_some();
        let lasting = self.plan.expiry == u32::MAX;
        let must = known && lasting && !self.clean && !self.may_have_ended;
        let must_not = !known && !present_is_possible(self);
        if must && !present || present && (must_not || self.clean) {
            let what = format!(
                "{} connection {}: session present {present}",
                self.history.client_id, self.attempts
            );
            world.find(Finding::new(Check::SessionPresent, what).client(self.index));
        }
    }

    /// Sends again what was not acknowledged, in the order of the first sending (MQTT-4.4.0-1).
    fn send_again(&mut self, world: &World) {
        let mut order: Vec<(u64, u16)> = self
            .outgoing
            .iter()
            .map(|(id, outgoing)| (outgoing.order, *id))
            .collect();
        order.sort_unstable();

        for (_, packet_id) in order {
            let Some(outgoing) = self.outgoing.get(&packet_id).cloned() else {
                continue;
            };
            if outgoing.released {
                self.write(&ack(AckKind::Pubrel, packet_id));
                continue;
            }
            let name = Name {
                connection: self.attempts,
                ..self.history.sendings[outgoing.sending].name
            };
            let mut publish = outgoing.publish.clone().dup();
            publish.payload = name.payload(publish.payload.len());
            let sending = self.note_sending(world, name, &publish);
            if let Some(outgoing) = self.outgoing.get_mut(&packet_id) {
                outgoing.sending = sending;
            }
            self.write(&publish.bytes_for(self.plan.version));
        }
    }

    /// Whether the session of the present connection ends with it.
    pub(super) fn ends_with_connection(&self) -> bool {
        self.plan.expiry == 0 || self.plan.version == 4 && self.clean
    }

    // --- requests --------------------------------------------------------------------------------

    pub(super) fn fresh_id(&mut self) -> u16 {
        loop {
            let packet_id = self.next_id;
            self.next_id = if packet_id == 60_000 {
                1
            } else {
                packet_id + 1
            };
            let free = !self.outgoing.contains_key(&packet_id)
                && !self.subscribing.contains_key(&packet_id)
                && !self.unsubscribing.contains_key(&packet_id);
            if free {
                return packet_id;
            }
        }
    }

    pub(super) fn subscribe(&mut self, world: &World, filter: usize, options: u8) {
        if !self.connected {
            return;
        }

        let packet_id = self.fresh_id();
        let at = world.moment();
        let session = self.history.sessions.len() - 1;
        let text = FILTERS[filter];
        let with_id = self.plan.version == 5 && self.plan.ids;
        let known = self.active(text);
        let fact = SubscriptionFact {
            filter: text.into(),
            qos: options & 3,
            no_local: options & 4 != 0,
            as_published: options & 8 != 0,
            retain_handling: options >> 4,
            id: if with_id { filter as u32 + 1 } else { 0 },
            session,
            on: Span::since(at),
            off: None,
            replaced: false,
            refused: false,
        };

        self.history.subscriptions.push(fact);

        let new = self.history.subscriptions.len() - 1;
        if let Some(old) = known {
            self.history.subscriptions[old].off = Some(Span::since(at));
            self.history.subscriptions[old].replaced = true;
        }

        self.subscribing.insert(packet_id, (new, known));
        self.tell(at, format!("SUBSCRIBE {text} options {options:#04x}"));

        let mut packet = Subscribe::new(packet_id).filter(text, options);
        if with_id {
            packet = packet.subscription_id(filter + 1);
        }

        self.write(&packet.bytes_for(self.plan.version));
    }

    /// The subscription of a filter that is there, or may be.
    fn active(&self, filter: &str) -> Option<usize> {
        let session = self.history.session()?;
        self.history.subscriptions.iter().rposition(|fact| {
            fact.session == session && fact.filter == filter && !fact.refused && fact.off.is_none()
        })
    }

    pub(super) fn unsubscribe(&mut self, world: &World, filter: usize) {
        if !self.connected {
            return;
        }

        let packet_id = self.fresh_id();
        let at = world.moment();
        let known = self.active(FILTERS[filter]);
        if let Some(known) = known {
            self.history.subscriptions[known].off = Some(Span::since(at));
        }

        let before = self.history.subscriptions.len();
        self.unsubscribing
            .insert(packet_id, (FILTERS[filter].into(), before));
        self.tell(at, format!("UNSUBSCRIBE {}", FILTERS[filter]));

        let bytes = unsubscribe(
            self.plan.version,
            packet_id,
            &PropsBuf::new(),
            &[FILTERS[filter]],
        );
        self.write(&bytes);
    }

    pub(super) fn publish(
        &mut self,
        world: &World,
        (topic, qos, retain): (usize, u8, bool),
        expiry: Option<u32>,
        size: usize,
    ) {
        if !self.connected || self.outgoing.len() > 500 {
            return;
        }

        let packet_id = if qos > 0 { self.fresh_id() } else { 0 };
        let name = Name {
            kind: Kind::Client,
            publisher: self.index as u8,
            number: self.next_number,
            connection: self.attempts,
            qos,
        };

        self.next_number += 1;

        let mut publish = Publish::new(TOPICS[topic], name.payload(size)).qos(qos, packet_id);
        if retain {
            publish = publish.retain();
        }
        if let (5, Some(seconds)) = (self.plan.version, expiry) {
            publish = publish.expiry(seconds);
        }

        let sending = self.note_sending(world, name, &publish);
        if self.plan.version == 5 {
            self.history.sendings[sending].expiry = expiry;
        }

        if qos == 0 {
            self.unconfirmed.push(sending);
        } else {
            self.next_order += 1;
            let outgoing = Outgoing {
                publish: publish.clone(),
                order: self.next_order,
                released: false,
                sending,
            };
            self.outgoing.insert(packet_id, outgoing);
        }

        self.write(&publish.bytes_for(self.plan.version));
    }

    fn note_sending(&mut self, world: &World, name: Name, publish: &Publish) -> usize {
        let from = world.moment();
        let topic = String::from_utf8_lossy(&publish.topic).into_owned();
        let dup = if publish.dup { ", DUP" } else { "" };
        self.tell(
            from,
            format!(
                "{} PUBLISH {} QoS {} id {} on {topic}{dup}, connection {}",
                crate::model::tag(name),
                name.number,
                name.qos,
                publish.id,
                name.connection
            ),
        );

        let again = self
            .history
            .sendings
            .iter()
            .rev()
            .find(|one| one.name.message() == name.message());
        let expiry = again.and_then(|one| one.expiry);

        // A QoS 2 message is routed once: it may be as old as its first copy.
        let first = again.filter(|_| name.qos == 2).map(|one| one.tick);
        self.history.sendings.push(Sending {
            name,
            topic,
            retain: publish.retain,
            expiry,
            from,
            tick: first.unwrap_or(world.clock.now().0),
            done: None,
            code: 0,
            over: NEVER,
            origin: Some(self.index),
        });

        self.history.sendings.len() - 1
    }

    /// Sends acknowledgements that are due, in order.
    pub(super) fn acknowledge(&mut self, world: &World, count: usize) -> bool {
        let mut any = false;
        for _ in 0..count {
            let Some(due) = self.due.pop_front() else {
                break;
            };
            any = true;
            if let Some(delivery) = due.ends {
                self.history.deliveries[delivery].finished = world.moment();
            }
            match due.kind {
                AckKind::Pubcomp => {
                    self.incoming.remove(&due.packet_id);
                    self.open.remove(&due.packet_id);
                }
                AckKind::Puback | AckKind::Pubrec | AckKind::Pubrel => {}
            }
            self.write(&ack(due.kind, due.packet_id));
        }

        any
    }
}

/// Whether a session that ended for the client may be there for the broker.
fn present_is_possible(peer: &Peer) -> bool {
    // An end by time shows only in CONNACK; one by the end of a connection or by the host is known.
    peer.may_have_ended
}
