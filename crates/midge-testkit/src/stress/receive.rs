//! What a client does with what it receives.

use super::peer::{Due, Peer};
use super::world::World;
use crate::build::ack;
use crate::model::{Check, Delivery, Finding, Moment, NEVER, Name, tag};
use crate::packet::{Ack, Codes, Connack, Kind as AckKind, Message, Packet};
use crate::parse::parse;
use crate::props::id;

const PINGREQ: [u8; 2] = [0xc0, 0];

impl Peer {
    /// Lets the broker work and reads what comes; whether anything has happened. Waits for something if
    /// `wait` and the connection is not synchronous.
    pub(super) fn pump(&mut self, world: &World, wait: bool) -> bool {
        let mut any = false;
        let mut wait = wait;

        loop {
            let Some(line) = &mut self.line else {
                return any;
            };
            let now = world.moment();
            // With threads of its own the broker may have ended it already.
            if line.is_direct() && !line.ended() {
                self.alive = now;
            }
            let mut progress = line.work();
            progress |= line.read(&mut self.received, wait);
            wait = false;
            let ended = line.ended();
            self.parse(world);
            if ended {
                self.lose(world);
                return true;
            }
            any |= progress;
            if !progress {
                return any;
            }
        }
    }

    /// Makes the broker read all that this client sent, and reads all that was on its way to it. With
    /// `asks` also output whose notification is still owed by another thread.
    pub(super) fn sync(&mut self, world: &World, asks: bool) -> bool {
        let mut any = false;
        let mut asks = asks;

        loop {
            let from = world.moment();
            let Some(line) = &self.line else { return any };
            let (direct, mut progress) = (line.is_direct(), false);
            if direct {
                if std::mem::take(&mut asks) && self.connected {
                    self.write(&PINGREQ);
                    progress = true;
                }
                progress |= self.pump(world, false);
                if self.line.as_ref().is_some_and(|line| line.is_waiting()) {
                    progress |= world.pending.answer_all();
                }
            } else {
                // A PINGRESP may overtake what is ready at the same moment, but not what was before.
                for _ in 0..2 {
                    progress |= self.ping(world);
                }
            }
            any |= progress;
            let unread = self.line.as_ref().map_or(0, |line| line.unread());
            if progress && direct {
                continue;
            }
            if self.connected && unread == 0 {
                self.synced(world, from);
            }
            return any;
        }
    }

    /// One PINGREQ and everything up to its answer; whether a message came.
    fn ping(&mut self, world: &World) -> bool {
        let before = self.packets;
        if self.line.is_none() {
            return false;
        }
        let asked = world.moment();
        self.write(&PINGREQ);
        self.pings += 1;
        while self.pings > 0 && self.line.is_some() {
            self.pump(world, true);
        }
        if self.line.is_some() {
            self.alive = asked;
        }
        self.packets > before
    }

    fn synced(&mut self, world: &World, from: Moment) {
        let at = world.moment();
        // What waits for room in the window is still on its way.
        let all_is_acknowledged = self.due.is_empty() && self.ledger.open() == 0;
        if let Some(facts) = self.facts().filter(|_| all_is_acknowledged) {
            facts.synced = from;
        }
        for sending in std::mem::take(&mut self.unconfirmed) {
            self.history.sendings[sending].done = Some(at);
        }
    }

    pub(super) fn parse(&mut self, world: &World) {
        let bytes = std::mem::take(&mut self.received);
        let mut rest = &bytes[..];
        loop {
            match parse(rest, self.plan.version) {
                Ok(Some((mut packet, size))) => {
                    rest = &rest[size..];
                    if let Err(what) = self.ledger.incoming(&mut packet, size) {
                        let what = format!("{what}; {packet:?}");
                        world.find(Finding::new(Check::Protocol, what).client(self.index));
                    }
                    self.handle(world, packet);
                }
                Ok(None) => break,
                Err(what) => {
                    world.find(Finding::new(Check::Protocol, what).client(self.index));
                    rest = &[];
                    break;
                }
            }
        }

        self.received = rest.to_vec();
    }

    fn handle(&mut self, world: &World, packet: Packet) {
        self.packets += u64::from(packet != Packet::Pingresp);

        match packet {
            Packet::Connack(Connack {
                code: 0,
                session_present,
                ..
            }) => {
                self.accepted(world, session_present);
            }
            Packet::Publish(message) => self.arrived(world, &message),
            Packet::Ack(ack) => self.acknowledged(world, &ack),
            Packet::Suback(codes) => self.subscribed(world, &codes),
            Packet::Unsuback(codes) => {
                let at = world.moment();
                if let Some((filter, before)) = self.unsubscribing.remove(&codes.id) {
                    self.ended_before(&filter, before, at);
                }
                self.tell(at, "UNSUBACK".into());
            }

            Packet::Pingresp => self.pings = self.pings.saturating_sub(1),
            Packet::Disconnect(packet) => {
                self.dismissed = true;
                let at = world.moment();
                self.tell(
                    at,
                    format!("DISCONNECT {:#04x} from the broker", packet.code),
                );
                if matches!(packet.code, 0x81 | 0x82 | 0x93 | 0x94 | 0x95) {
                    let what = format!("the broker disconnects with {packet:02x?}");
                    world.find(Finding::new(Check::Protocol, what).client(self.index));
                }
            }
            Packet::Connack(_) | Packet::Auth(_) => {}
        }
    }

    /// The subscriptions of a filter that were asked for first, answered or not, have ended by now.
    fn ended_before(&mut self, filter: &str, before: usize, at: Moment) {
        let facts = self.history.subscriptions.iter_mut().take(before);
        for fact in facts.filter(|fact| fact.filter == filter) {
            if let Some(off) = &mut fact.off {
                off.to = off.to.min(at);
            }
        }
    }

    fn subscribed(&mut self, world: &World, codes: &Codes) {
        let at = world.moment();
        let Some((new, old)) = self.subscribing.remove(&codes.id) else {
            return;
        };

        let code = codes.codes.first().copied().unwrap_or(0x80);
        let filter = self.history.subscriptions[new].filter.clone();
        let may = world.access.may_subscribe(&self.history.client_id, &filter);
        if may != (code < 0x80) {
            let what = format!("SUBACK {code:#04x} for {filter}, allowed: {may}");
            world.find(Finding::new(Check::Denied, what).client(self.index));
        }

        if code < 0x80 {
            self.history.subscriptions[new].on.to = at;
            self.history.subscriptions[new].qos = code;
            self.ended_before(&filter, new, at);
        } else {
            self.history.subscriptions[new].refused = true;
            if let Some(old) = old {
                self.history.subscriptions[old].off = None;
                self.history.subscriptions[old].replaced = false;
            }
        }

        self.tell(at, format!("SUBACK {code:#04x} for {filter}"));
    }

    fn arrived(&mut self, world: &World, message: &Message) {
        world
            .publishes
            .fetch_add(1, std::sync::atomic::Ordering::Relaxed);

        let at = world.moment();
        let Some((name, marks)) = Name::read(&message.payload) else {
            let what = format!("a message that nothing has sent: {message:?}");
            world.find(Finding::new(Check::Unasked, what).client(self.index));
            return;
        };

        let known = message.qos == 2 && self.known(world, message, name);
        let session = self.history.sessions.len().saturating_sub(1);
        self.tell(
            at,
            format!(
                "{} received {name} QoS {} id {}{}{} on {}, connection {}",
                tag(name),
                message.qos,
                message.id,
                if message.dup { ", DUP" } else { "" },
                if known { ", known" } else { "" },
                message.topic,
                self.attempts
            ),
        );

        let delivery = self.history.deliveries.len();
        self.history.deliveries.push(Delivery {
            name,
            marks,
            topic: message.topic.clone(),
            qos: message.qos,
            dup: message.dup,
            retain: message.retain,
            ids: message.props.subscription_ids(),
            expiry: message.props.number(id::MESSAGE_EXPIRY_INTERVAL),
            at,
            tick: world.clock.now().0,
            session,
            connection: self.connection(),
            known,
            finished: if message.qos == 0 { at } else { NEVER },
        });

        match message.qos {
            1 => self.due.push_back(Due {
                kind: AckKind::Puback,
                packet_id: message.id,
                ends: Some(delivery),
            }),
            2 => {
                if !known {
                    self.open.insert(message.id, delivery);
                }
                let due = Due {
                    kind: AckKind::Pubrec,
                    packet_id: message.id,
                    ends: None,
                };
                self.due.push_back(due);
            }
            _ => {}
        }
    }

    /// Whether a QoS 2 message is one that the client has already.
    fn known(&mut self, world: &World, message: &Message, name: Name) -> bool {
        match self.incoming.insert(message.id, name) {
            None => false,
            Some(before) if before == name && message.dup => true,
            Some(before) => {
                let what = format!(
                    "identifier {} carries {name} (DUP {}) while {before} is not released",
                    message.id, message.dup
                );
                let finding = Finding::new(Check::Identifier, what).client(self.index);
                world.find(finding.name(name).name(before));
                false
            }
        }
    }

    fn acknowledged(&mut self, world: &World, packet: &Ack) {
        let at = world.moment();

        match packet.kind {
            AckKind::Puback => {
                if let Some(outgoing) = self.outgoing.remove(&packet.id) {
                    self.finished(world, outgoing.sending, at, packet);
                }
            }
            AckKind::Pubrec => {
                let Some(outgoing) = self.outgoing.get_mut(&packet.id) else {
                    self.write(&ack(AckKind::Pubrel, packet.id));
                    return;
                };
                outgoing.released = true;
                let sending = outgoing.sending;
                self.finished(world, sending, at, packet);
                if packet.code >= 0x80 {
                    self.outgoing.remove(&packet.id);
                } else {
                    self.due.push_back(Due {
                        kind: AckKind::Pubrel,
                        packet_id: packet.id,
                        ends: None,
                    });
                }
            }

            AckKind::Pubcomp => {
                self.outgoing.remove(&packet.id);
            }
            AckKind::Pubrel => {
                let ends = self.open.get(&packet.id).copied();
                self.due.push_back(Due {
                    kind: AckKind::Pubcomp,
                    packet_id: packet.id,
                    ends,
                });
            }
        }
    }

    /// A message of this client was answered.
    fn finished(&mut self, world: &World, sending: usize, at: Moment, packet: &Ack) {
        let client_id = self.history.client_id.clone();
        let sending = &mut self.history.sendings[sending];
        sending.done.get_or_insert(at);
        sending.code = packet.code;

        let (name, topic) = (sending.name, sending.topic.clone());
        let may = world.access.may_publish(&client_id, &topic)
            && world.access.change(&topic) != crate::model::Change::Refuse;
        if self.plan.version == 5 && may != (packet.code < 0x80) {
            let what = format!(
                "{:?} {:#04x} for {name} on {topic}, allowed: {may}",
                packet.kind, packet.code
            );
            world.find(
                Finding::new(Check::Denied, what)
                    .client(self.index)
                    .name(name),
            );
        }

        self.tell(
            at,
            format!(
                "{} {:?} {:#04x} id {}",
                tag(name),
                packet.kind,
                packet.code,
                packet.id
            ),
        );
    }
}
