//! Looking at what is there.

use crate::sync::atomic::Ordering;
use std::sync::Arc;

use midge_codec::{ReasonCode, ReasonPacket, SubscriptionOptions};

use super::Hub;
use crate::client::ClientInfo;
use crate::event::Whom;
use crate::reason::DisconnectReason;
use crate::session::Session;
use crate::stats::Stats;
use crate::steps;
use crate::time::Tick;

/// A connected client.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct ClientView {
    /// The client.
    pub info: Arc<ClientInfo>,
    /// Number of its connection, as events have it.
    pub connection: u64,
    /// Number of its session, as events have it.
    pub session: u64,
    /// Messages that wait for it.
    pub queued: usize,
    /// QoS 1 and 2 messages in flight towards it.
    pub inflight: usize,
    /// Its subscriptions.
    pub subscriptions: usize,
}

/// A session, connected or not.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct SessionView {
    /// Client identifier.
    pub client_id: Arc<str>,
    /// User name of the client that made it, if it had one: the session is for no other user.
    pub username: Option<Arc<str>>,
    /// Number of the session, as events have it.
    pub number: u64,
    /// Whether a client is connected.
    pub connected: bool,
    /// Session expiry interval in seconds, `u32::MAX` for never.
    pub expiry_s: u32,
    /// When the client was last connected, for a session without connection.
    pub disconnected_at: Option<Tick>,
    /// Messages that wait.
    pub queued: usize,
    /// Bytes of the messages that wait or are in flight.
    pub queued_bytes: usize,
    /// QoS 1 and 2 messages in flight.
    pub inflight: usize,
    /// Its subscriptions.
    pub subscriptions: usize,
    /// Whether it has a will that was not published.
    pub has_will: bool,
}

/// A subscription.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct SubscriptionView {
    /// Client identifier.
    pub client_id: Arc<str>,
    /// Topic filter as sent, `$share/` included.
    pub filter: Arc<str>,
    /// Options as granted.
    pub options: SubscriptionOptions,
    /// Subscription identifier.
    pub id: Option<u32>,
}

impl Hub {
    /// Open connections, those before CONNECT included.
    pub fn connections(&self) -> usize {
        let open = self.env.counters.connections.load(Ordering::Relaxed);
        usize::try_from(open).unwrap_or(0)
    }

    /// All sessions, part by part: of those that begin or end meanwhile some may be among them.
    pub(super) fn all_sessions(&self) -> Vec<Arc<Session>> {
        let mut all = Vec::new();
        let mut parts = 0;
        let mut number = 0;

        loop {
            let _section = steps::section(steps::Section::Sessions);
            let sessions = self.sessions.lock();
            if sessions.parts() != parts {
                // It has got more parts meanwhile, or this is the first one.
                parts = sessions.parts();
                number = 0;
                all.clear();
            }
            let before = all.len();
            all.extend(sessions.part(number).cloned());
            steps::add(all.len() - before);
            number += 1;
            if number >= parts {
                return all;
            }
        }
    }

    /// The connected clients.
    pub fn clients(&self) -> Vec<ClientView> {
        let look = |session: Arc<Session>| {
            let state = session.lock();
            let attached = state.attached.as_ref()?;
            let info = || Arc::new(attached.info(&session.client_id));
            Some(ClientView {
                info: state.info.clone().unwrap_or_else(info),
                connection: attached.link.number(),
                session: session.number,
                queued: state.queue.len() + state.retained_backlog.len(),
                inflight: state.inflight.len(),
                subscriptions: state.subscriptions.len(),
            })
        };
        self.all_sessions().into_iter().filter_map(look).collect()
    }

    /// The sessions.
    pub fn sessions(&self) -> Vec<SessionView> {
        self.all_sessions()
            .into_iter()
            .map(|session| {
                let state = session.lock();
                SessionView {
                    client_id: session.client_id.clone(),
                    username: session.username().cloned(),
                    number: session.number,
                    connected: state.attached.is_some(),
                    expiry_s: state.expiry_s,
                    disconnected_at: state.offline.as_ref().map(|offline| offline.since),
                    queued: state.queue.len() + state.retained_backlog.len(),
                    queued_bytes: state.queued_bytes,
                    inflight: state.inflight.len(),
                    subscriptions: state.subscriptions.len(),
                    has_will: state.will.is_some(),
                }
            })
            .collect()
    }

    /// The subscriptions of one session, or of all.
    pub fn subscriptions(&self, client_id: Option<&str>) -> Vec<SubscriptionView> {
        let sessions = match client_id {
            Some(id) => self.session_of(id).into_iter().collect(),
            None => self.all_sessions(),
        };

        let mut found = Vec::new();
        for session in sessions {
            let state = session.lock();
            found.extend(
                state
                    .subscriptions
                    .iter()
                    .map(|(filter, record)| SubscriptionView {
                        client_id: session.client_id.clone(),
                        filter: filter.clone(),
                        options: record.options,
                        id: (record.id != 0).then_some(record.id),
                    }),
            );
        }

        found
    }

    /// A snapshot of all counters.
    pub fn stats(&self, now: Tick) -> Stats {
        let sessions = self.sessions.lock().len() as u64;
        let (retained, retained_bytes) = {
            let retained = self.retained.read();
            (retained.count() as u64, retained.bytes() as u64)
        };
        Stats {
            uptime_ms: now.0,
            sessions,
            retained,
            retained_bytes,
            queued_bytes: self.env.queued_bytes() as u64,
            memory: self.env.budget.snapshot(),
            ..self.env.counters.snapshot()
        }
    }

    /// Whether nothing is queued, in flight or unwritten for any connected client.
    pub fn is_settled(&self) -> bool {
        self.all_sessions()
            .iter()
            .all(|session| session.lock().is_settled())
    }

    /// Disconnects a client with a reason code of 0x80 or above, or 0x00; its will is published. A
    /// code that a server's DISCONNECT cannot carry is replaced as that of a
    /// [`Refusal`](crate::Refusal) is. `false` if it is not connected.
    pub fn disconnect(&self, client_id: &str, reason: ReasonCode, now: Tick) -> bool {
        let Some((link, version)) = self.link_of(client_id) else {
            return false;
        };

        let mut batch = self.begin(now);

        // MQTT-3.14.2-1: a normal disconnection is the only success.
        let reason = match reason {
            ReasonCode::Success => reason,
            _ => {
                let packet = (ReasonPacket::Disconnect, version);
                let client_id = client_id.into();
                let whom = Whom {
                    connection: Some(link.number()),
                    session: link.session.get().map(|session| session.number),
                    ..Whom::client(&client_id)
                };
                batch.carried(whom, packet, reason)
            }
        };

        self.end(&link, DisconnectReason::ByServer(reason), &mut batch);
        true
    }

    /// Ends a session and its connection, if any. `false` if there is none.
    pub fn clear_session(&self, client_id: &str, now: Tick) -> bool {
        let mut batch = self.begin(now);

        self.clear(client_id, ReasonCode::AdministrativeAction, &mut batch)
    }
}
