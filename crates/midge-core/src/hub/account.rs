//! Memory that connections hold, and which of them ends when too much is held.

use std::sync::Arc;

use midge_codec::ReasonCode;

use super::Hub;
use crate::budget::{Charge, Part};
use crate::client::ClientInfo;
use crate::hooks::Refusal;
use crate::outbox::Outbox;
use crate::reason::DisconnectReason;
use crate::router::{Router, subscription_bytes};
use crate::session::{Attached, Link, Session, Sessions, Will};
use crate::store::StoredWill;
use crate::time::Tick;

/// Memory of a connection with its task, its place in the lists, a few bytes of an incomplete packet
/// and a few remembered routes.
pub(super) const CONNECTION: usize = 2048;

/// The answer to what would need more memory than may be held for clients.
pub(crate) fn no_memory() -> Refusal {
    Refusal::new(ReasonCode::QuotaExceeded).text("limits.total_bytes is reached")
}

impl Hub {
    /// Charges memory that a connection holds for what came in, for as long as what is returned lives.
    pub fn hold_input(&self, bytes: usize) -> Charge {
        self.env.budget.hold(Part::Input, bytes)
    }

    /// The same, unless no more may be held.
    pub(crate) fn try_hold_input(&self, bytes: usize) -> Option<Charge> {
        self.env.budget.try_hold(Part::Input, bytes)
    }

    /// Charges a buffer that was read into and may be kept by receivers.
    pub fn hold_payload(&self, bytes: usize) -> Charge {
        self.env.budget.hold(Part::Payloads, bytes)
    }

    /// Changes a part of what a connection is charged until it is closed; `false`, and nothing
    /// changes, if more may not be held.
    pub(crate) fn recharge_link(&self, link: &Link, before: usize, after: usize) -> bool {
        let budget = &self.env.budget;
        if after > before && !budget.try_charge(Part::Connections, after - before) {
            return false;
        }
        if after < before {
            budget.release(Part::Connections, before - after);
        }
        link.recharge(before, after);
        true
    }

    /// Charges a will, or refuses its client.
    pub(super) fn admit_will(
        &self,
        will: Option<StoredWill>,
    ) -> Result<Option<Box<Will>>, Refusal> {
        let admit = |will| Will::new(will, &self.env.budget).ok_or_else(no_memory);
        will.map(admit).transpose()
    }

    /// The session of a client, the one that is known or a new one, and whether it was there; or
    /// refuses the client.
    pub(super) fn admit_session(
        &self,
        sessions: &mut Sessions,
        known: Option<Arc<Session>>,
        client: &ClientInfo,
    ) -> Result<(Arc<Session>, bool), Refusal> {
        let client_id = &client.client_id;
        // The name of the present client, and the one that the session was made under.
        let names = 2 * client.username.as_ref().map_or(0, |name| name.len());
        let texts = client_id.len() + names;
        let present = known.is_some();
        if !present && sessions.len() >= self.config().limits.sessions {
            return Err(Refusal::new(ReasonCode::QuotaExceeded).text("too many sessions"));
        }

        let session =
            known.unwrap_or_else(|| self.new_session(client_id.clone(), client.username.clone()));
        if !session.lock().admit(&self.env.budget, texts) {
            return Err(no_memory());
        }
        if !present {
            sessions.insert(session.clone());
        }
        Ok((session, present))
    }

    /// Charges a new subscription; `false` if no more may be held.
    pub(super) fn admit_subscription(&self, filter: &str) -> bool {
        let budget = &self.env.budget;
        budget.has_room(Router::growth(filter))
            && budget.try_charge(Part::Subscriptions, subscription_bytes(filter))
    }

    /// Charges a subscription that was accepted before.
    pub(super) fn restore_subscription(&self, filter: &str) {
        let bytes = subscription_bytes(filter);
        self.env.budget.charge(Part::Subscriptions, bytes);
    }

    /// A subscription is gone.
    pub(super) fn release_subscription(&self, filter: &str) {
        let bytes = subscription_bytes(filter);
        self.env.budget.release(Part::Subscriptions, bytes);
    }

    /// Charges what was taken and cannot be written now. To be called when a transport is full, and
    /// with no lock held but the writer's own; then [`Hub::relieve`] with none at all, if it says so.
    pub fn hold_output(&self, link: &Link, out: &mut Outbox) -> bool {
        out.charge(&self.env.budget);
        link.hold_output(out.charged());
        self.charge_output(link)
    }

    /// Charges what waits for a connection that its driver writes to, later. The same holds as for
    /// [`Hub::hold_output`].
    pub fn charge_output(&self, link: &Link) -> bool {
        if let Some(session) = link.session.get()
            && let Some(attached) = Attached::of(&mut session.lock().attached, link)
        {
            attached.allowance = 0;
            attached.outbox.charge(&self.env.budget);
        }
        self.env.budget.is_exceeded()
    }

    /// Whether so much is held that nothing new is admitted.
    pub fn is_full(&self) -> bool {
        !self.env.budget.has_room(0)
    }

    /// Notes how much a connection holds for what came in. If that passes the limit the largest
    /// connection gives way, perhaps this one. To be called with no lock held.
    pub fn note_input(&self, link: &Link, bytes: usize, now: impl FnOnce() -> Tick) {
        link.hold_input(bytes);
        if bytes > 0 && self.env.budget.is_exceeded() {
            self.relieve(now());
        }
    }

    /// Ends the connection that holds most of what cannot be refused (incomplete packets, unwritten
    /// output), if more is held for all clients than `limits.total_bytes`. To be called with no lock
    /// held.
    pub fn relieve(&self, now: Tick) {
        if !self.env.budget.is_exceeded() {
            return;
        }
        if let Some(link) = self.largest() {
            let mut batch = self.batch(now);
            self.end(&link, DisconnectReason::MemoryFull, &mut batch);
            self.finish(&mut batch);
        }
    }

    fn largest(&self) -> Option<Arc<Link>> {
        let mut most = 0;
        let mut largest = None;
        let mut consider = |link: &Arc<Link>, charged: usize| {
            let held = link.held() + charged;
            if held > most && link.ended().is_none() {
                (most, largest) = (held, Some(link.clone()));
            }
        };

        for link in self.fresh.lock().values() {
            consider(link, 0);
        }
        for session in self.sessions.lock().iter() {
            if session.is_online()
                && let Some(attached) = session.lock().attached.as_deref()
            {
                consider(&attached.link, attached.outbox.charged());
            }
        }

        largest
    }
}
