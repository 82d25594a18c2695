//! What one batch of work has touched and has to tell, once its locks are released.

use std::sync::Arc;

use crate::event::{DisconnectReason, DropReason, Event, EventMask};
use crate::hub::{After, Shared};
use crate::link::Link;
use crate::observer::Observer;
use crate::session::{Attached, Delivery};
use crate::stats::Local;
use crate::time::Tick;

/// The work of one batch: a read buffer's packets, one publish of the host, one deadline. It is
/// ended with [`crate::Hub::finish`], which notifies each touched connection once.
#[derive(Default)]
pub struct Batch {
    pub(crate) now: Tick,
    mask: u32,
    pub(crate) links: Vec<Arc<Link>>,
    pub(crate) observers: Vec<Arc<Observer>>,
    pub(crate) events: Vec<Event>,
    pub(crate) kicks: Vec<(Arc<Link>, DisconnectReason)>,
    /// Messages of shared groups whose member left, to be given to another one.
    pub(crate) orphans: Vec<Delivery>,
    pub(crate) after: Vec<After>,
    pub(crate) local: Local,
    scratch: Vec<u8>,
    pub(crate) frame_v3: Vec<u8>,
    pub(crate) frame_v5: Vec<u8>,
}

impl Batch {
    pub(crate) fn start(&mut self, now: Tick, shared: &Shared) {
        self.now = now;
        self.mask = shared.taps.mask();
    }

    /// The moment of this batch.
    pub fn now(&self) -> Tick {
        self.now
    }

    pub(crate) fn has_more(&self) -> bool {
        !(self.links.is_empty()
            && self.observers.is_empty()
            && self.events.is_empty()
            && self.kicks.is_empty()
            && self.orphans.is_empty()
            && self.after.is_empty())
    }

    pub(crate) fn wants(&self, kind: EventMask) -> bool {
        self.mask & kind.0 != 0
    }

    pub(crate) fn event(&mut self, event: Event) {
        self.events.push(event);
    }

    /// Remembers to notify a connection; at most one batch does.
    #[inline]
    pub(crate) fn touch(&mut self, attached: &mut Attached) {
        if !attached.dirty {
            attached.dirty = true;
            self.links.push(attached.link.clone());
        }
    }

    pub(crate) fn kick(&mut self, link: Arc<Link>, reason: DisconnectReason) {
        if !self
            .kicks
            .iter()
            .any(|(known, _)| Arc::ptr_eq(known, &link))
        {
            self.kicks.push((link, reason));
        }
    }

    pub(crate) fn packet_sent(&mut self) {
        self.local.packets_sent += 1;
    }

    pub(crate) fn scratch(&mut self) -> &mut Vec<u8> {
        &mut self.scratch
    }

    pub(crate) fn dropped(
        &mut self,
        shared: &Shared,
        client_id: Option<&Arc<str>>,
        topic: &str,
        reason: DropReason,
    ) {
        shared.counters.dropped(reason, 1);
        if self.wants(EventMask::DROPPED) {
            self.event(Event::Dropped {
                client_id: client_id.cloned(),
                topic: topic.into(),
                reason,
            });
        }
    }
}
