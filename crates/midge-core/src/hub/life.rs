//! Connections and sessions: begin, resume, take over, end.

use crate::sync::atomic::Ordering;
use std::sync::Arc;

use midge_codec::{Disconnect, Packet, PropertiesBuf, ReasonCode, Version};

use super::{After, Hub};
use crate::client::ClientInfo;
use crate::event::{Event, EventMask};
use crate::hooks::{HookSet, Refusal};
use crate::hub::Batch;
use crate::outbox::Outbox;
use crate::reason::DisconnectReason;
use crate::session::{Attached, AttachedSettings, Due, Link, Session, Sessions, State, Will};
use crate::store::{Journal, StoredWill};
use crate::time::Tick;

/// The result of CONNECT.
pub(crate) struct AttachPlan {
    pub(crate) info: Arc<ClientInfo>,
    pub(crate) clean_start: bool,
    pub(crate) expiry_s: u32,
    pub(crate) settings: AttachedSettings,
    pub(crate) will: Option<StoredWill>,
}

impl Hub {
    /// Gives a connection its session: a stored one, or a new one. An older connection with the
    /// same client identifier is ended first (MQTT-3.1.4-3). `connack` encodes the answer, given
    /// whether a session is present; it is the first thing in the outbox. Without a refusal in the
    /// error the connection has ended meanwhile and gets no answer.
    pub(crate) fn attach(
        &self,
        link: &Arc<Link>,
        mut plan: AttachPlan,
        connack: impl FnOnce(bool, &mut Vec<u8>),
        batch: &mut Batch,
    ) -> Result<Arc<Session>, Option<Refusal>> {
        let client_id = plan.info.client_id.clone();
        let will = self.admit_will(plan.will.take())?;

        // The end of an older session and the new one come together.
        let unit = self.env.journal().map(Journal::unit);
        let mut sessions = self.sessions.lock();
        // Whether the connection has a session and whether it has ended are decided under this
        // lock, here and in `end_with`.
        if link.ended().is_some() {
            return Err(None);
        }
        if self.stopping.load(Ordering::Acquire) {
            // CONNACK has no code for a server that shuts down (MQTT-3.2.2-8).
            return Err(Some(Refusal::new(ReasonCode::ServerUnavailable)));
        }

        let mut known = sessions.find(&client_id).cloned();
        if let Some(old) = &known {
            self.check_user(old, &plan.info)?;
            self.end_older_connection(&mut sessions, old, batch);
            if plan.clean_start {
                self.end_session(&mut sessions, old, batch);
            }
            // Its connection may have taken it along.
            known = sessions.find(&client_id).cloned();
        }

        let (session, present) = self.admit_session(&mut sessions, known, &plan.info)?;
        let info = plan.info.clone();
        self.attach_locked(&session, link, (plan, will), present, connack, batch);
        self.report_connected(&session, link, &info, present, batch);
        drop(sessions);
        drop(unit);

        self.wait_for_publishers();
        self.no_longer_fresh(link);
        link.set_caller(None);
        self.env.counters.client_connected();
        if !present {
            batch.after.push(After::SessionStarted(client_id));
        }
        if self.hooks.intersects(HookSet::LIFE) {
            batch.after.push(After::Connected {
                info,
                session_present: present,
            });
        }
        Ok(session)
    }

    /// Ends the connection that a session has at present, because its client connects again.
    #[inline]
    fn end_older_connection(
        &self,
        sessions: &mut Sessions,
        session: &Arc<Session>,
        batch: &mut Batch,
    ) {
        let holder = session
            .lock()
            .attached
            .as_ref()
            .map(|attached| attached.link.clone());

        if let Some(holder) = holder {
            let reason = (DisconnectReason::TakenOver, None);
            self.detach(sessions, session, &holder, reason, batch);
        }
    }

    /// Records that a client has connected, under the lock of the registry.
    #[inline]
    fn report_connected(
        &self,
        session: &Session,
        link: &Link,
        info: &ClientInfo,
        session_present: bool,
        batch: &mut Batch,
    ) {
        if batch.wants_change(&self.env, EventMask::CLIENT_CONNECTED) {
            let event = Event::ClientConnected {
                client_id: info.client_id.clone(),
                username: info.username.clone(),
                version: info.version,
                peer: link.peer.clone(),
                session_present,
                connection: link.number(),
                session: session.number,
            };
            batch.record(&self.env, event);
        }
    }

    /// Whether a client may have, or end, a session with its client identifier: it belongs to the
    /// user that made it, and so does its connection.
    fn check_user(&self, session: &Session, client: &ClientInfo) -> Result<(), Option<Refusal>> {
        if session.username() == client.username.as_ref() || self.config().lenient.session_user {
            return Ok(());
        }
        let what = "the session belongs to another user";
        Err(Some(Refusal::new(ReasonCode::NotAuthorized).text(what)))
    }

    fn attach_locked(
        &self,
        session: &Arc<Session>,
        link: &Arc<Link>,
        (plan, will): (AttachPlan, Option<Box<Will>>),
        present: bool,
        connack: impl FnOnce(bool, &mut Vec<u8>),
        batch: &mut Batch,
    ) {
        let mut state = session.lock();
        self.cancel_timers(&mut state);
        state.epoch = state.epoch.wrapping_add(1);
        state.expiry_s = plan.expiry_s;

        // A new connection before the will delay has passed suppresses the old will
        // (MQTT-3.1.3-9); from now on the new one counts.
        state.will = will;
        state.offline = None;
        state.info = Some(plan.info).filter(|info| self.is_worth_keeping(info));
        self.record_session(session, &mut state);
        state.prepare_resume();

        let mut attached = Box::new(Attached::new(link.clone(), plan.settings, &self.env.budget));
        if let Some(journal) = self.env.journal() {
            // What it says of the session, and of one before, must be so after a crash, too.
            let position = state.last_recorded().max(journal.last_end());
            if !journal.is_committed(position) {
                attached.outbox.hold(position);
            }
        }
        connack(present, attached.outbox.buffer());
        batch.packet_sent();
        batch.touch(&mut attached);
        state.attached = Some(attached);
        session.set_online(true);

        let _ = link.session.set(session.clone());
    }

    /// Waits until every message that is being routed has reached its receivers. A message of an
    /// older connection of this client is routed before this returns or, because its link has
    /// ended, not at all; so it cannot come after what the new connection sends (MQTT-4.6.0-5), and
    /// a QoS 2 message whose identifier is in use has reached its receivers.
    fn wait_for_publishers(&self) {
        drop(self.router.write());
    }

    /// Whether hooks may ask for what is known of a client, it says more than its connection, or a store
    /// is to know it.
    pub(crate) fn is_worth_keeping(&self, info: &ClientInfo) -> bool {
        self.hooks.intersects(HookSet::ALL)
            || info.username.is_some()
            || self.env.journal().is_some()
    }

    /// Ends a connection, once: later calls change nothing.
    pub(crate) fn end(&self, link: &Arc<Link>, reason: DisconnectReason, batch: &mut Batch) {
        self.end_with(link, reason, None, batch);
    }

    /// As [`Hub::end`], with a DISCONNECT that has more than the reason code.
    pub(crate) fn end_with(
        &self,
        link: &Arc<Link>,
        reason: DisconnectReason,
        refusal: Option<&Refusal>,
        batch: &mut Batch,
    ) {
        if link.ended().is_some() {
            return;
        }

        let mut sessions = self.sessions.lock();
        match link.session.get() {
            // CONNECT came at the last moment after all.
            Some(_) if reason == DisconnectReason::ConnectTimeout => {}
            Some(session) => {
                self.detach(&mut sessions, session, link, (reason, refusal), batch);
            }
            None => {
                let ended = link.set_ended(reason.clone());
                drop(sessions);
                if ended {
                    self.report_refused(link, reason, refusal, batch);
                }
            }
        }
    }

    /// A connection has ended before it had a session.
    fn report_refused(
        &self,
        link: &Arc<Link>,
        reason: DisconnectReason,
        refusal: Option<&Refusal>,
        batch: &mut Batch,
    ) {
        // Not charged: it must not stay for as long as the client waits to close.
        let caller = link.take_caller();
        self.env.counters.refused.fetch_add(1, Ordering::Relaxed);

        if batch.wants(EventMask::CONNECTION_REFUSED) {
            let text = refusal.and_then(|refusal| refusal.text.as_deref());
            batch.event(Event::ConnectionRefused {
                client_id: (caller.as_ref())
                    .map_or_else(|| "".into(), |caller| caller.client_id.clone()),
                username: caller.and_then(|caller| caller.username.clone()),
                peer: link.peer.clone(),
                reason,
                text: text.map(Arc::from),
                connection: link.number(),
            });
        }

        batch.dirty.push(link.clone());
    }

    /// Takes a session's connection away: DISCONNECT, explained if there is a refusal; will, expiry.
    pub(super) fn detach(
        &self,
        sessions: &mut Sessions,
        session: &Arc<Session>,
        link: &Arc<Link>,
        (reason, refusal): (DisconnectReason, Option<&Refusal>),
        batch: &mut Batch,
    ) {
        let mut state = session.lock();
        if !state
            .attached
            .as_ref()
            .is_some_and(|attached| Arc::ptr_eq(&attached.link, link))
            || link.ended().is_some()
        {
            return;
        }

        let Some(mut attached) = state.attached.take() else {
            return;
        };
        session.set_online(false);
        self.drop_unsendable_output(&mut attached, &reason);
        write_farewell(&mut attached, &reason, refusal, batch);

        let rest = std::mem::take(&mut attached.outbox);
        append_detached(link, rest);
        // Last: the driver of an ended connection closes it when nothing is left to write. Every
        // caller holds the lock of the registry, so the reason is set only once.
        link.set_ended(reason.clone());
        batch.dirty.push(link.clone());

        state.offline.get_or_insert_default().since = batch.now;
        state.resend.clear();
        let info = state.info.clone();
        let ends = state.expiry_s == 0;
        if !ends {
            self.record_session(session, &mut state);
        }
        self.decide_will(session, &mut state, &reason, ends, batch);
        if !ends {
            self.arm_expiry(session, &mut state, batch.now);
        }
        drop(state);
        drop(attached);

        self.env.counters.clients.fetch_sub(1, Ordering::Relaxed);
        if batch.wants_change(&self.env, EventMask::CLIENT_DISCONNECTED) {
            let event = Event::ClientDisconnected {
                client_id: session.client_id.clone(),
                reason: reason.clone(),
                connection: link.number(),
                session: session.number,
            };
            batch.record(&self.env, event);
        }
        if let (true, Some(info)) = (self.hooks.intersects(HookSet::LIFE), info) {
            batch.after.push(After::Disconnected { info, reason });
        }
        if ends {
            self.end_session(sessions, session, batch);
        }
    }

    /// Drops output that an ended connection must not get: acknowledgements of uncommitted changes,
    /// not even when closing, and all of it if the connection makes room for others.
    #[inline]
    fn drop_unsendable_output(&self, attached: &mut Attached, reason: &DisconnectReason) {
        let journal = self.env.journal();
        let held = journal
            .and_then(|journal| (attached.outbox).held(|position| journal.is_committed(position)));
        if attached.held || *reason == DisconnectReason::MemoryFull {
            attached.outbox.release();
        } else if let Some((free, _)) = held {
            attached.outbox = attached.outbox.split_front(free);
        }
    }

    /// Arms the end of a session whose connection has ended, unless it stays for good.
    #[inline]
    fn arm_expiry(&self, session: &Arc<Session>, state: &mut State, now: Tick) {
        if state.expiry_s == u32::MAX {
            return;
        }

        let at = now.after_s(u64::from(state.expiry_s));
        let key = self.arm(at, Due::SessionExpiry(session.clone(), state.epoch));
        state.offline.get_or_insert_default().expiry_timer = Some(key);
    }

    /// The link of a connected client, and its protocol version.
    pub(super) fn link_of(&self, client_id: &str) -> Option<(Arc<Link>, Version)> {
        let session = self.session_of(client_id)?;
        let state = session.lock();
        let attached = state.attached.as_ref()?;
        Some((attached.link.clone(), attached.settings.version))
    }

    pub(super) fn session_of(&self, client_id: &str) -> Option<Arc<Session>> {
        self.sessions.lock().find(client_id).cloned()
    }

    /// Changes the session expiry interval of a connection's session (MQTT-3.14.2-2 and after).
    pub(crate) fn set_expiry(&self, link: &Link, session: &Session, expiry_s: u32) {
        let cap = self.config().limits.session_expiry_s;
        let Some(mut state) = session.lock_for(link) else {
            return;
        };

        state.expiry_s = expiry_s.min(cap);
        if state.expiry_s > 0 {
            self.record_session(session, &mut state);
        }
    }
}

/// The reason code that a 5.0 client is told, if any.
fn disconnect_code(reason: &DisconnectReason) -> Option<ReasonCode> {
    match reason {
        DisconnectReason::ByClient(_)
        | DisconnectReason::ConnectTimeout
        | DisconnectReason::Refused(_) => None,
        other => other.code(),
    }
}

/// Writes DISCONNECT for the end of a connection, if the client is to be told of it.
#[inline]
fn write_farewell(
    attached: &mut Attached,
    reason: &DisconnectReason,
    refusal: Option<&Refusal>,
    batch: &mut Batch,
) {
    let code = refusal.map(|refusal| refusal.reason);
    if let Some(code) = code.or_else(|| disconnect_code(reason)) {
        write_disconnect(attached, code, refusal, batch);
    }
}

/// Writes DISCONNECT to a 5.0 client, with as much of the explanation as its Maximum Packet Size
/// allows (MQTT-3.14.2-3).
fn write_disconnect(
    attached: &mut Attached,
    reason: ReasonCode,
    refusal: Option<&Refusal>,
    batch: &mut Batch,
) {
    if attached.settings.version != Version::V5 {
        return;
    }

    let full = refusal.map(|refusal| refusal.explained(reason));
    let (full, bare) = (full.unwrap_or_default(), PropertiesBuf::new());
    let maximum = attached.settings.maximum_packet as usize;
    for properties in [&full, &bare] {
        let packet = Packet::Disconnect(Disconnect {
            reason,
            properties: properties.as_properties(),
        });
        if midge_codec::encoded_len(&packet, Version::V5).is_ok_and(|len| len <= maximum) {
            if midge_codec::encode(&packet, Version::V5, attached.outbox.buffer()).is_ok() {
                batch.packet_sent();
            }
            return;
        }
    }
}

/// Everything that waits for a connection before it has a session.
pub(crate) fn push_detached(link: &Link, bytes: &[u8]) {
    if !bytes.is_empty() {
        let mut outbox = Outbox::default();
        outbox.push(bytes);
        append_detached(link, outbox);
    }
}

fn append_detached(link: &Link, rest: Outbox) {
    if !rest.is_empty() {
        link.push_detached(rest);
    }
}
