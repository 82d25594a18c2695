//! How connections and sessions of a client end: by the client, by the host, without a word.

use super::line::{Ended, lock};
use super::peer::Peer;
use super::script::Rest;
use super::world::{Left, World};
use crate::build::disconnect;
use crate::model::{Check, Event, Finding, Moment, NEVER, RightChange, Span};
use crate::props::id;
use crate::wire::PropsBuf;

impl Peer {
    /// Notes that the connection has ended, or may end from now on, for the client.
    fn gone(&mut self, down: Moment) {
        let connected = std::mem::take(&mut self.connected);
        let ends = self.ends_with_connection();
        if let Some(facts) = self.facts() {
            facts.down = down;
        }
        if connected && ends {
            self.history.end_session(Span::since(down));
        }
        self.due.clear();
        self.unconfirmed.clear();
        self.pings = 0;
        // Whether the broker has taken these in shows later.
        for (_, (new, _)) in self.subscribing.drain() {
            self.history.subscriptions[new].on.to = NEVER;
        }
        self.unsubscribing.clear();
    }

    /// The broker has ended the connection, or it is closed without a word.
    pub(super) fn lose(&mut self, world: &World) {
        let Some(line) = self.line.take() else { return };
        let down = self.alive;
        let mut received = std::mem::take(&mut self.received);
        let stuck = line.is_stuck();
        let ended = line.close(&mut received, false);
        if stuck || ended == Ended::Never {
            let finding = Finding::new(Check::Stuck, "the broker does nothing for a connection");
            world.find(finding.client(self.index));
        }

        self.received = received;
        self.parse(world);
        self.received.clear();
        self.gone(down);

        let over = world.moment();
        let tick = world.clock.now().0;
        let attempts = self.attempts;
        if let Some(facts) = self.facts() {
            facts.over = if ended == Ended::Now { over } else { NEVER };
            facts.tick = tick;
        }

        self.tell(
            over,
            format!("connection {attempts} is closed, it may have ended since {down}"),
        );
    }

    /// Leaves the connection to the threads.
    pub(super) fn abandon(&mut self, world: &World, rest: Rest) {
        if self.line.is_none() {
            return;
        }
        if rest == Rest::Goodbye && self.connected {
            self.say_goodbye(true, 0);
        }

        let Some(mut line) = self.line.take() else {
            return;
        };

        let unread = line.unread();
        if rest == Rest::Half {
            line.forget(unread / 2);
        }

        let direct = line.is_direct() && !line.ended();
        let now = world.moment();
        let down = if direct { now } else { self.alive };
        let cut = unread > 0 || line.is_waiting() || !line.is_direct();
        let attempts = self.attempts;
        if let Some(facts) = self.facts() {
            facts.cut = cut;
        }
        if rest == Rest::Goodbye {
            self.may_have_ended = true;
        }

        self.tell(
            now,
            format!("connection {attempts} is left with {unread} bytes unread, {rest:?}"),
        );

        let left = Left {
            line,
            received: std::mem::take(&mut self.received),
            peer: self.index,
            connection: self.history.connections.len() - 1,
            version: self.plan.version,
            reads: rest != Rest::Lost,
        };

        self.gone(down);
        world.leave(left);
    }

    fn say_goodbye(&mut self, ends_session: bool, code: u8) {
        let bytes = match (self.plan.version, ends_session) {
            (5, true) => disconnect(code, &PropsBuf::new().u32(id::SESSION_EXPIRY_INTERVAL, 0)),
            (5, false) => disconnect(code, &PropsBuf::new()),
            _ => vec![0xe0, 0],
        };
        let normal = code == 0 || self.plan.version == 4;
        if let Some(facts) = self.facts() {
            facts.said_goodbye = normal;
        }
        self.write(&bytes);
    }

    /// DISCONNECT, read by the broker.
    pub(super) fn leave(&mut self, world: &World, code: u8, ends_session: bool) {
        if !self.connected {
            return;
        }
        self.sync(world, true);
        if !self.connected {
            return;
        }
        let ends_session = ends_session && self.plan.version == 5;
        self.say_goodbye(ends_session, code);
        let at = world.moment();
        self.note_alive(at);
        self.tell(
            at,
            format!(
                "DISCONNECT {code:#04x} of connection {}, ends session {ends_session}",
                self.attempts
            ),
        );
        self.see_the_end(world);
        let ended = self.line.is_none();
        self.lose(world);

        // A broker that ends the connection by itself need not read what was sent last. It says so to
        // clients of 5.0 alone.
        let overtaken = self.dismissed || (self.plan.version != 5 && world.ends_when_full);
        if (!ended || overtaken)
            && let Some(facts) = self.facts()
        {
            facts.cut = true;
        }
        if ends_session && overtaken {
            self.may_have_ended = true;
        } else if ends_session {
            let to = self.facts().map_or(NEVER, |facts| facts.over);
            let from = self.facts().map_or(at, |facts| facts.down.min(at));
            self.history.end_session(Span { from, to });
        }
    }

    /// Ends a session from outside.
    pub(super) fn clear(&mut self, world: &World) {
        if self.history.sessions.is_empty() {
            return;
        }
        let from = world.moment();
        self.note_alive(from);
        world
            .engine
            .clear_session(&self.history.client_id, &world.clock);
        let to = world.moment();
        self.tell(to, "the host clears the session".into());
        self.history.end_session(Span { from, to });
        self.see_the_end(world);
    }

    /// Ends a connection from outside.
    pub(super) fn kick(&mut self, world: &World) {
        if !self.connected {
            return;
        }
        let at = world.moment();
        self.note_alive(at);
        self.tell(at, "the host disconnects".into());
        world
            .engine
            .disconnect(&self.history.client_id, &world.clock);
        self.see_the_end(world);
    }

    /// The connection lives, as far as that can be told without asking.
    fn note_alive(&mut self, at: Moment) {
        if self
            .line
            .as_ref()
            .is_some_and(|line| line.is_direct() && !line.ended())
        {
            self.alive = at;
        }
    }

    /// Reads up to the end that the broker has made of the connection.
    fn see_the_end(&mut self, world: &World) {
        self.pump(world, false);
        while self.line.as_ref().is_some_and(|line| !line.is_direct()) {
            self.pump(world, true);
        }
    }

    /// Takes the right to receive away, or gives it back.
    pub(super) fn set_right(&mut self, world: &World, allowed: bool) -> RightChange {
        let from = world.moment();
        world.rights.set(self.index, allowed);
        let to = world.moment();
        self.tell(to, format!("may receive: {allowed}"));
        RightChange {
            client: self.index,
            span: Span { from, to },
            allowed,
        }
    }

    /// Adds the ends that threads have seen.
    pub(super) fn note_overs(&mut self, world: &World) {
        for over in lock(&world.overs)
            .iter()
            .filter(|over| over.peer == self.index)
        {
            if let Some(facts) = self.history.connections.get_mut(over.connection) {
                facts.over = over.at;
                let what = format!("connection {} was served to its end", facts.number);
                self.history.events.push(Event { at: over.at, what });
            }
        }

        let history = &mut self.history;
        for sending in &mut history.sendings {
            let on = history
                .connections
                .iter()
                .find(|facts| facts.number == sending.name.connection);
            if let Some(facts) = on {
                sending.over = facts.over;
            }
        }
    }
}
