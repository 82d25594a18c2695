//! Shared groups: each message to one member, and to one at least.

use std::collections::BTreeMap;

use super::check::Index;
use super::{Check, Finding, Sending, group_filter, matches};

pub(crate) fn check(index: &Index<'_>, found: &mut Vec<Finding>) {
    let groups = groups(index);
    let mut told: Vec<(super::Kind, u8, u32)> = Vec::new();

    for sending in index.history.sendings() {
        for (filter, ids) in &groups {
            let inner = group_filter(filter).unwrap_or_default();
            if !matches(inner, &sending.topic) || sending.name.kind == super::Kind::Will {
                continue;
            }
            let holders = holders(index, sending, ids);
            if too_many(index, &holders) && !told.contains(&sending.name.message()) {
                told.push(sending.name.message());
                let what = format!("{} came to {holders:?} through {filter}", sending.name);
                let mut finding = Finding::new(Check::SharedTwice, what).name(sending.name);
                finding
                    .clients
                    .extend(holders.iter().map(|(client, _)| *client));
                found.push(finding);
            }
            if holders.is_empty()
                && let Some((client, why)) = owes(index, sending, filter)
            {
                let what = format!("{} came to no member of {filter}: {why}", sending.name);
                found.push(
                    Finding::new(Check::SharedLost, what)
                        .client(client)
                        .name(sending.name),
                );
            }
        }
    }
}

/// The groups with the subscription identifiers that tell them apart.
fn groups<'a>(index: &Index<'a>) -> BTreeMap<&'a str, Vec<u32>> {
    let mut groups: BTreeMap<&str, Vec<u32>> = BTreeMap::new();
    for fact in index
        .history
        .clients
        .iter()
        .flat_map(|client| &client.subscriptions)
    {
        if group_filter(&fact.filter).is_some() {
            groups.entry(&fact.filter).or_default().push(fact.id);
        }
    }
    groups
}

/// The sessions that a message came to through a group.
fn holders(index: &Index<'_>, sending: &Sending, ids: &[u32]) -> Vec<(usize, usize)> {
    let mut holders = Vec::new();
    for (client, facts) in index.history.clients.iter().enumerate() {
        for session in 0..facts.sessions.len() {
            let came = index
                .arrived(client, session, sending.name)
                .iter()
                .any(|delivery| delivery.ids.iter().any(|id| ids.contains(id)));
            if came {
                holders.push((client, session));
            }
        }
    }
    holders
}

/// A message moves on from a session that ended; otherwise it stays.
fn too_many(index: &Index<'_>, holders: &[(usize, usize)]) -> bool {
    let lasting = holders.iter().filter(|(client, session)| {
        index.history.clients[*client].sessions[*session]
            .off
            .is_none()
    });
    lasting.count() > 1
}

/// A member that was there all the time and may take the message, if there is one.
fn owes(index: &Index<'_>, sending: &Sending, filter: &str) -> Option<(usize, String)> {
    sending.done?;

    let history = index.history;
    if history.lossy
        || sending.name.qos == 0
        || index.judge.refused(sending).is_some()
        || index.judge.may_have_expired(sending)
    {
        return None;
    }

    let (from, to) = index.routed(sending);

    // A QoS 2 message in flight ends with its session (MQTT-4.8.2-5); one with QoS 0 with its
    // connection.
    let frail = history.clients.iter().any(|client| {
        client
            .subscriptions
            .iter()
            .filter(|fact| fact.filter == filter)
            .any(|fact| {
                let ended = client.sessions[fact.session].off.is_some();
                fact.qos == 0 || ended && sending.name.qos.min(fact.qos) == 2
            })
    });

    if frail {
        return None;
    }

    history
        .clients
        .iter()
        .enumerate()
        .find_map(|(client, facts)| {
            let session = facts.session()?;
            let sure = facts.subscriptions.iter().any(|fact| {
                fact.filter == filter
                    && !fact.refused
                    && fact.session == session
                    && fact.on.to < from
                    && fact.off.is_none()
            });
            let may = history.access.reaches(&facts.client_id, &sending.topic)
                && history.may_receive(client, from, super::NEVER).0;
            (sure && may).then(|| {
                (
                    client,
                    format!(
                        "{} was a member from {from} to {to} and on",
                        facts.client_id
                    ),
                )
            })
        })
}
