//! The end of a hub.

use std::sync::Arc;

use super::Hub;
use crate::reason::DisconnectReason;
use crate::session::Session;
use crate::sync::atomic::Ordering;

impl Hub {
    /// Ends every connection; wills go out before. New ones are refused from now on.
    pub fn shut_down(&self, now: crate::time::Tick) {
        self.stopping.store(true, Ordering::Release);

        let mut batch = self.begin(now);

        // In this order: what is fresh may get a session meanwhile.
        let mut links: Vec<_> = self.fresh.lock().values().cloned().collect();
        let attached =
            |session: &Arc<Session>| Some(session.lock().attached.as_ref()?.link.clone());
        links.extend(self.all_sessions().iter().filter_map(attached));
        if self.config().shutdown.wills {
            // All connections are still there to receive the wills.
            for session in self.all_sessions() {
                let mut state = session.lock();
                if state.attached.is_some() {
                    self.release_will(&session, &mut state, &mut batch);
                }
            }
            self.finish(&mut batch);
        }

        for link in links {
            self.end(&link, DisconnectReason::Shutdown, &mut batch);
        }
    }

    /// Lets go of everything: sessions, deadlines, observers. After [`Hub::shut_down`], when all
    /// connections are closed. State for the next hub is left in the [`Handover`](super::Handover), if
    /// there is one.
    pub fn dispose(&self, now: crate::time::Tick) {
        while self.work() {}
        self.leave(now);
        self.env.timers.clear();
        self.env.taps.close();

        let sessions = std::mem::take(&mut *self.sessions.lock());
        for session in sessions.iter() {
            let mut state = session.lock();
            state.dead = true;
            while let Some(delivery) = state.take_any(&self.env) {
                state.end_accounting(&delivery, &self.env);
            }
            for entry in state.inflight.take() {
                state.end_accounting(&entry.delivery, &self.env);
            }
        }

        let router = {
            let mut router = self.router.write();
            let ended = router.ended();
            std::mem::replace(&mut *router, ended)
        };

        // Closes the in-process subscribers, with no lock held.
        drop(router);
        *self.retained.write() = crate::retained::Retained::default();
        crate::message::empty_depot();
    }
}
