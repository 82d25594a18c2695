//! All messages and all sessions.

use std::collections::HashMap;

use super::history::known;
use super::verdict::qos_range;
use super::{
    Change, Check, Checks, Delivery, Finding, History, Judge, Kind, MARK_DELIVERY, MARK_PUBLISH,
    Moment, NEVER, Name, Sending, Verdict, group_filter, order, shared,
};

/// A message, whatever connection it was sent on.
type Message = (Kind, u8, u32);

/// What the checks look up.
pub(crate) struct Index<'a> {
    pub(crate) history: &'a History,
    pub(crate) judge: Judge<'a>,
    sendings: HashMap<Name, &'a Sending>,
    /// All copies of a message that were sent.
    copies: HashMap<Message, Vec<&'a Sending>>,
    /// By client, session and message.
    arrived: HashMap<(usize, usize, Message), Vec<&'a Delivery>>,
}

impl<'a> Index<'a> {
    fn new(history: &'a History) -> Self {
        let mut index = Self {
            history,
            judge: Judge::new(history),
            sendings: HashMap::new(),
            copies: HashMap::new(),
            arrived: HashMap::new(),
        };

        for sending in history.sendings() {
            index.sendings.insert(sending.name, sending);
            index
                .copies
                .entry(sending.name.message())
                .or_default()
                .push(sending);
        }

        for (client, facts) in history.clients.iter().enumerate() {
            for delivery in &facts.deliveries {
                let key = (client, delivery.session, delivery.name.message());
                index.arrived.entry(key).or_default().push(delivery);
            }
        }

        index
    }

    pub(crate) fn sending(&self, name: Name) -> Option<&'a Sending> {
        self.sendings.get(&name).copied()
    }

    /// What came to a session of a message: of all its copies, or of this one.
    pub(crate) fn arrived(&self, client: usize, session: usize, name: Name) -> Vec<&'a Delivery> {
        let all = self.arrived.get(&(client, session, name.message()));
        let all = all.into_iter().flatten().copied();
        all.filter(|delivery| name.qos == 2 || delivery.name == name)
            .collect()
    }

    /// The span within which a message was routed that was acknowledged on this copy. A QoS 2 message
    /// is routed once, for whichever copy.
    pub(crate) fn routed(&self, sending: &Sending) -> (Moment, Moment) {
        let copies = self.copies.get(&sending.name.message());
        let first = copies.into_iter().flatten().map(|copy| copy.from).min();
        let from = if sending.name.qos == 2 {
            first.unwrap_or(sending.from)
        } else {
            sending.from
        };
        (from, known(sending.done))
    }
}

/// Makes the checks that need nothing but the facts of a script.
#[must_use]
pub fn check(history: &History, checks: &Checks) -> Vec<Finding> {
    let index = Index::new(history);
    let mut found = Vec::new();
    deliveries(&index, &mut found);
    repetitions(&index, &mut found);
    obligations(&index, &mut found);
    wills(&index, &mut found);
    order::check(&index, &mut found);
    shared::check(&index, &mut found);
    found.retain(|finding| checks.has(finding.check));
    found
}

/// Everything that came may have come, as it came.
fn deliveries(index: &Index<'_>, found: &mut Vec<Finding>) {
    for (client, facts) in index.history.clients.iter().enumerate() {
        for delivery in &facts.deliveries {
            let finding =
                |check, what: String| Finding::new(check, what).client(client).name(delivery.name);
            let Some(sending) = index.sending(delivery.name) else {
                let what = format!(
                    "{} got {}, which was never sent",
                    facts.client_id, delivery.name
                );
                found.push(finding(Check::Unasked, what));
                continue;
            };
            let verdict = index
                .judge
                .arrival(sending, client, delivery.session, delivery.at);

            if let Verdict::MustNot(check, why) = verdict {
                let what = format!(
                    "{} got {} on {} at {}: {why}",
                    facts.client_id, delivery.name, delivery.topic, delivery.at
                );
                found.push(finding(check, what));
                continue;
            }

            for (check, what) in wrong_form(index, sending, client, delivery) {
                let what = format!("{} got {}: {what}", facts.client_id, delivery.name);
                found.push(finding(check, what));
            }

            if let Some(what) = wrong_expiry(sending, delivery) {
                let what = format!("{} got {}: {what}", facts.client_id, delivery.name);
                found.push(finding(Check::Expired, what));
            }
        }
    }
}

/// What is wrong with the form of a delivery.
fn wrong_form(
    index: &Index<'_>,
    sending: &Sending,
    client: usize,
    delivery: &Delivery,
) -> Vec<(Check, String)> {
    let mut wrong = Vec::new();
    let receiver = &index.history.clients[client];
    let access = &index.history.access;
    if delivery.topic != sending.topic {
        let what = format!("topic {} instead of {}", delivery.topic, sending.topic);
        wrong.push((Check::Form, what));
    }

    let mut marks = 0;
    if access.change(&sending.topic) == Change::Mark {
        marks |= MARK_PUBLISH;
    }
    if !receiver.is_host() && access.delivery(&receiver.client_id, &sending.topic) == Change::Mark {
        marks |= MARK_DELIVERY;
    }

    if delivery.marks != marks {
        wrong.push((
            Check::Form,
            format!("marks {} instead of {marks}", delivery.marks),
        ));
    }

    if receiver.is_host() || is_shared_topic(index.history, &sending.topic) {
        return wrong;
    }

    let until = if sending.retain {
        delivery.at
    } else {
        known(sending.done).min(sending.over).min(delivery.at)
    };

    let span = (index.routed(sending).0, until);
    let coverage = index
        .judge
        .coverage(sending, client, delivery.session, span);
    let (lowest, highest) = qos_range(sending, &coverage);
    if coverage.possible.is_empty() || sending.retain {
        return wrong;
    }

    // A subscription with No Local adds neither QoS nor identifier.
    let check = if coverage.hidden {
        Check::NoLocal
    } else {
        Check::Form
    };

    if !(lowest..=highest).contains(&delivery.qos) {
        let what = format!("QoS {} instead of {lowest} to {highest}", delivery.qos);
        wrong.push((check, what));
    }
    if delivery.retain {
        wrong.push((Check::Form, "RETAIN is set".into()));
    }

    if receiver.version == 5 {
        let sure = coverage
            .sure
            .iter()
            .map(|fact| fact.id)
            .filter(|id| *id != 0);
        let missing: Vec<_> = sure.filter(|id| !delivery.ids.contains(id)).collect();
        let known = |id: &u32| coverage.possible.iter().any(|fact| fact.id == *id);
        if !missing.is_empty() || !delivery.ids.iter().all(known) {
            let what = format!(
                "subscription identifiers {:?}, missing {missing:?}",
                delivery.ids
            );
            wrong.push((check, what));
        }
    }

    wrong
}

fn is_shared_topic(history: &History, topic: &str) -> bool {
    history
        .clients
        .iter()
        .flat_map(|client| &client.subscriptions)
        .any(|fact| group_filter(&fact.filter).is_some_and(|inner| super::matches(inner, topic)))
}

fn wrong_expiry(sending: &Sending, delivery: &Delivery) -> Option<String> {
    match (sending.expiry, delivery.expiry) {
        (None, None) => None,
        (Some(given), Some(left)) => {
            // It was sent at some moment between its publication and its arrival.
            let waited = delivery.tick.saturating_sub(sending.tick) / 1000;
            let least = u64::from(given).saturating_sub(waited + 1);
            let fits = left <= given && u64::from(left) >= least;
            (!fits).then(|| format!("{left} of {given} s left after {waited} s at most"))
        }
        // Before version 5 there is nothing to say it with.
        (Some(_), None) => None,
        (None, Some(left)) => Some(format!("an expiry of {left} s that was not sent")),
    }
}

/// A session gets each message once; through each group once, if it is a member of several.
fn repetitions(index: &Index<'_>, found: &mut Vec<Finding>) {
    for ((client, session, _), all) in &index.arrived {
        let shared = all
            .first()
            .is_some_and(|one| is_shared_topic(index.history, &one.topic));
        let mut fresh: Vec<&Delivery> = Vec::new();

        for delivery in all.iter().filter(|delivery| !delivery.known) {
            if index
                .sending(delivery.name)
                .is_none_or(|sending| sending.retain)
            {
                continue;
            }
            let before = fresh
                .iter()
                .filter(|one| !shared || one.ids == delivery.ids);
            let again = before.clone().find(|earlier| earlier.name == delivery.name);
            if again.is_some() && delivery.dup && delivery.qos == 1 {
                continue;
            }

            let other = before.clone().find(|_| delivery.name.qos == 2);
            if let Some(earlier) = again.or(other) {
                let check = if delivery.name.qos == 2 {
                    Check::Qos2Twice
                } else {
                    Check::Repeated
                };
                let id = &index.history.clients[*client].client_id;
                let what = format!(
                    "{id} (session {session}) got {} at {} and {} at {}, DUP {}",
                    earlier.name, earlier.at, delivery.name, delivery.at, delivery.dup
                );
                found.push(
                    Finding::new(check, what)
                        .client(*client)
                        .name(delivery.name),
                );
            }
            fresh.push(delivery);
        }
    }
}

/// What has to come has come.
fn obligations(index: &Index<'_>, found: &mut Vec<Finding>) {
    for sending in index
        .history
        .sendings()
        .filter(|sending| sending.done.is_some())
    {
        if sending.name.kind == Kind::Will {
            continue;
        }
        for (client, session) in sessions(index.history) {
            oblige(index, sending, client, session, Check::Lost, found);
        }
    }
}

pub(crate) fn sessions(history: &History) -> impl Iterator<Item = (usize, usize)> {
    let clients = history.clients.iter().enumerate();
    clients.filter_map(|(client, facts)| Some((client, facts.session()?)))
}

fn oblige(
    index: &Index<'_>,
    sending: &Sending,
    client: usize,
    session: usize,
    check: Check,
    found: &mut Vec<Finding>,
) {
    let span = index.routed(sending);
    if index.judge.obligation(sending, client, session, span) != Verdict::Must
        || !index.arrived(client, session, sending.name).is_empty()
    {
        return;
    }

    let coverage = index.judge.coverage(sending, client, session, span);
    let receiver = &index.history.clients[client];
    let check = match (check, qos_range(sending, &coverage).1) {
        (Check::Lost, 0) => Check::LostQos0,
        _ => check,
    };

    let what = format!(
        "{} (session {session}) did not get {} on {}, routed within {} to {}",
        receiver.client_id, sending.name, sending.topic, span.0, span.1
    );
    found.push(Finding::new(check, what).client(client).name(sending.name));
}

/// Wills come when they are due, and only then.
fn wills(index: &Index<'_>, found: &mut Vec<Finding>) {
    for (publisher, facts) in index.history.clients.iter().enumerate() {
        for (at, connection) in facts.connections.iter().enumerate() {
            let Some(will) = &connection.will else {
                continue;
            };
            let Some(sending) = index.sending(will.name) else {
                continue;
            };
            let deliveries = index
                .history
                .clients
                .iter()
                .flat_map(|client| &client.deliveries);
            let early = deliveries
                .filter(|delivery| delivery.name == will.name)
                .find(|delivery| delivery.at < connection.down && delivery.at > connection.up);
            let withdrawn = connection.said_goodbye && !connection.cut;
            let came = index
                .history
                .clients
                .iter()
                .flat_map(|client| &client.deliveries)
                .any(|delivery| delivery.name == will.name);
            let finding = |what: String| {
                Finding::new(Check::Will, what)
                    .client(publisher)
                    .name(will.name)
            };

            if let Some(early) = early {
                let what = format!(
                    "{} came at {} while its client was connected",
                    will.name, early.at
                );
                found.push(finding(what));
            } else if withdrawn && came {
                found.push(finding(format!("{} came after DISCONNECT", will.name)));
            }

            // What takes the connection over may be what publishes the will.
            let next = facts.connections.get(at + 1);
            let next = next.map_or(0, |next| if next.up == NEVER { next.over } else { next.up });
            let over = connection.over.max(next);
            let due = connection.up != NEVER
                && over != NEVER
                && will.delay == 0
                && !connection.said_goodbye;

            if !due {
                continue;
            }

            let sending = Sending {
                done: Some(over),
                ..sending.clone()
            };

            for (client, session) in sessions(index.history) {
                oblige(index, &sending, client, session, Check::Will, found);
            }
        }
    }
}
