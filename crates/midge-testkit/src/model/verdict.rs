//! One message and one session: must, may, must not.

use super::history::known;
use super::{
    Change, Check, ClientHistory, History, Moment, NEVER, Sending, SubscriptionFact, group_filter,
    matches,
};

/// What the rules say about one message and one session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It has to arrive.
    Must,
    /// It may arrive.
    May,
    /// It must not arrive: the check that a delivery fails, and why.
    MustNot(Check, &'static str),
}

/// The subscriptions that one message meets in one session.
#[derive(Debug, Default)]
pub(crate) struct Coverage<'a> {
    /// Active during the whole span of the routing.
    pub(crate) sure: Vec<&'a SubscriptionFact>,
    /// Active at some moment of it.
    pub(crate) possible: Vec<&'a SubscriptionFact>,
    /// One filter matches at every moment of it.
    pub(crate) covered: bool,
    /// No Local has hidden the message from a subscription.
    pub(crate) hidden: bool,
}

/// Judges with the facts of a script.
#[derive(Clone, Copy, Debug)]
pub struct Judge<'a> {
    history: &'a History,
}

impl<'a> Judge<'a> {
    /// A judge with these facts.
    #[must_use]
    pub fn new(history: &'a History) -> Self {
        Self { history }
    }

    /// The subscriptions without a group that a message meets when it is routed within a span.
    pub(crate) fn coverage(
        &self,
        sending: &Sending,
        client: usize,
        session: usize,
        (from, to): (Moment, Moment),
    ) -> Coverage<'a> {
        let mut found = Coverage::default();
        let mut filters: Vec<&str> = Vec::new();
        let facts = self.subscriptions(client, session);
        for fact in facts.filter(|fact| {
            group_filter(&fact.filter).is_none() && matches(&fact.filter, &sending.topic)
        }) {
            if !is_possible(fact, from, to) {
                continue;
            }
            if fact.no_local && sending.origin == Some(client) {
                found.hidden = true;
                continue;
            }
            if !filters.contains(&&*fact.filter) {
                filters.push(&fact.filter);
            }
            found.possible.push(fact);
            if fact.on.to < from && fact.off.is_none_or(|off| off.from > to) {
                found.sure.push(fact);
            }
        }

        found.covered = filters.iter().any(|filter| {
            let versions = self
                .subscriptions(client, session)
                .filter(|fact| fact.filter == *filter && is_possible(fact, from, to));
            is_continuous(
                &versions.collect::<Vec<_>>(),
                sending.origin == Some(client),
                from,
                to,
            )
        });

        found
    }

    fn subscriptions(
        &self,
        client: usize,
        session: usize,
    ) -> impl Iterator<Item = &'a SubscriptionFact> {
        let facts = &self.history.clients[client].subscriptions;
        facts
            .iter()
            .filter(move |fact| fact.session == session && !fact.refused)
    }

    /// Whether what was published may go anywhere at all; otherwise why not.
    pub(crate) fn refused(&self, sending: &Sending) -> Option<&'static str> {
        if sending.code >= 0x80 {
            return Some("its publisher was told that it is refused");
        }
        let access = &self.history.access;
        if let Some(client) = sending.origin
            && !access.may_publish(&self.history.clients[client].client_id, &sending.topic)
        {
            return Some("its publisher may not publish to this topic");
        }
        matches!(access.change(&sending.topic), Change::Drop | Change::Refuse)
            .then_some("a hook dropped it")
    }

    /// Whether a message may have come to a session by the moment `at`.
    #[must_use]
    pub fn arrival(&self, sending: &Sending, client: usize, session: usize, at: Moment) -> Verdict {
        if let Some(why) = self.refused(sending) {
            return Verdict::MustNot(Check::Denied, why);
        }
        if let Some(why) = self.hidden_by_hooks(sending, client, at) {
            return Verdict::MustNot(Check::Denied, why);
        }

        let live = known(sending.done).min(sending.over).min(at);
        let until = if sending.retain { at } else { live };
        let coverage = self.coverage(sending, client, session, (sending.from, until));
        if !coverage.possible.is_empty() || self.by_group(sending, client, session, until) {
            return Verdict::May;
        }

        // What No Local means for retained messages is left open.
        match coverage.hidden {
            true if sending.retain => Verdict::May,
            true => Verdict::MustNot(
                Check::NoLocal,
                "every subscription that matches has No Local",
            ),
            false => Verdict::MustNot(Check::Unasked, "no subscription matched when it was routed"),
        }
    }

    fn hidden_by_hooks(
        &self,
        sending: &Sending,
        client: usize,
        at: Moment,
    ) -> Option<&'static str> {
        let receiver = &self.history.clients[client];
        if receiver.is_host() {
            return None;
        }
        if !self
            .history
            .access
            .reaches(&receiver.client_id, &sending.topic)
        {
            return Some("a hook hides it from this client");
        }

        let (_, ever) = self.history.may_receive(client, sending.from, at);
        (!ever).then_some("the right to receive had been taken away")
    }

    /// A member of a group may get what was published before it came: it may have moved.
    fn by_group(&self, sending: &Sending, client: usize, session: usize, until: Moment) -> bool {
        self.subscriptions(client, session).any(|fact| {
            group_filter(&fact.filter).is_some_and(|inner| matches(inner, &sending.topic))
                && fact.off.is_none_or(|off| off.to >= sending.from)
                && (fact.on.from <= until || self.some_member_passed_on(&fact.filter))
        })
    }

    /// A message moves on from a member that left, or whose right to receive was taken away.
    fn some_member_passed_on(&self, filter: &str) -> bool {
        let clients = self.history.clients.iter().enumerate();
        let mut members = clients.flat_map(|(index, client)| {
            let facts = client.subscriptions.iter();
            facts
                .filter(|fact| fact.filter == filter)
                .map(move |fact| (index, fact))
        });
        members.any(|(index, fact)| {
            fact.off.is_some() || !self.history.may_receive(index, fact.on.from, NEVER).0
        })
    }

    /// Whether a session has to get a message that was routed in a span of moments.
    #[must_use]
    pub fn obligation(
        &self,
        sending: &Sending,
        client: usize,
        session: usize,
        (from, to): (Moment, Moment),
    ) -> Verdict {
        let receiver = &self.history.clients[client];
        if self.history.lossy
            || self.refused(sending).is_some()
            || self.hidden_by_hooks(sending, client, NEVER).is_some()
            || !self.history.may_receive(client, from, NEVER).0
            || receiver.sessions[session].off.is_some()
            || self.may_have_expired(sending)
        {
            return Verdict::May;
        }

        let coverage = self.coverage(sending, client, session, (from, to));
        if !coverage.covered {
            return Verdict::May;
        }

        let (lowest, _) = qos_range(sending, &coverage);
        let kept = lowest > 0 || receiver.is_host();
        if kept || is_watched(receiver, session, from, to) {
            Verdict::Must
        } else {
            Verdict::May
        }
    }

    /// Whether the clock has passed the expiry of a message.
    pub(crate) fn may_have_expired(&self, sending: &Sending) -> bool {
        sending.expiry.is_some_and(|seconds| {
            self.history.tick >= sending.tick.saturating_add(u64::from(seconds) * 1000)
        })
    }
}

fn is_possible(fact: &SubscriptionFact, from: Moment, to: Moment) -> bool {
    fact.on.from <= to && fact.off.is_none_or(|off| off.to >= from)
}

/// Whether one filter matches at each moment of a span, with whichever options.
fn is_continuous(versions: &[&SubscriptionFact], own: bool, from: Moment, to: Moment) -> bool {
    let (Some(first), Some((last, before))) = (versions.first(), versions.split_last()) else {
        return false;
    };
    first.on.to < from
        && last.off.is_none_or(|off| off.from > to)
        && before.iter().all(|fact| fact.replaced)
        && !(own && versions.iter().any(|fact| fact.no_local))
}

/// The lowest and the highest QoS with which a message may be delivered.
pub(crate) fn qos_range(sending: &Sending, coverage: &Coverage<'_>) -> (u8, u8) {
    let best = |facts: &[&SubscriptionFact]| facts.iter().map(|fact| fact.qos).max();
    let highest = best(&coverage.possible).unwrap_or(0);
    let lowest = match best(&coverage.sure) {
        Some(qos) => qos,
        None => coverage
            .possible
            .iter()
            .map(|fact| fact.qos)
            .min()
            .unwrap_or(0),
    };
    (sending.name.qos.min(lowest), sending.name.qos.min(highest))
}

/// Whether one connection of the session was up all the time, and was read from afterwards.
fn is_watched(client: &ClientHistory, session: usize, from: Moment, to: Moment) -> bool {
    client.connections.iter().any(|connection| {
        connection.session == session
            && connection.up < from
            && connection.down > to
            && connection.synced > to
    })
}
