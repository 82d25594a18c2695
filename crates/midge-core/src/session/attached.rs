//! The connection that a session has at present: how to encode for it, what waits to be written.

use std::sync::Arc;

use bytes::Bytes;
use hashbrown::HashMap;
use midge_codec::{PublishFrame, Version};

use super::effects::Effects;
use crate::budget::{Budget, Charge, Part};
use crate::client::ClientInfo;
use crate::message::SHARE_FROM;
use crate::outbox::Outbox;
use crate::session::{Env, Link};

/// Above this many bytes in the outbox queued messages stay in the queue until it drains.
pub(crate) const OUTBOX_HIGH: usize = 64 * 1024;

/// Bytes that one batch may append to outboxes before it is charged for them.
pub(crate) const BATCH_ALLOWANCE: usize = 128 * 1024;

/// The settings of CONNECT for the connection.
#[derive(Clone, Copy, Debug)]
pub(crate) struct AttachedSettings {
    pub(crate) version: Version,
    /// Maximum Packet Size of the client.
    pub(crate) maximum_packet: u32,
    /// QoS 1 and 2 messages that may be in flight towards the client.
    pub(crate) window: u16,
    /// Topic aliases that may be used towards the client.
    pub(crate) alias_maximum: u16,
}

impl AttachedSettings {
    /// Whether a packet needs nothing that depends on this connection but its version: neither a topic
    /// alias nor a look at its size.
    #[inline]
    pub(crate) fn forwards_verbatim(&self) -> bool {
        self.alias_maximum == 0 && self.maximum_packet == u32::MAX
    }
}

/// The connected half of a session.
#[derive(Debug)]
pub(crate) struct Attached {
    pub(crate) link: Arc<Link>,
    pub(crate) settings: AttachedSettings,
    pub(crate) outbox: Outbox,
    /// Messages sent on this connection that count against the window.
    pub(crate) in_window: u16,
    /// Bytes taken for writing that may not be written yet.
    pub(crate) in_write: u32,
    /// Bytes that the outbox may hold without a charge: none while the transport is full.
    pub(crate) allowance: u32,
    /// Nothing is sent: the subscriptions of a SUBSCRIBE are being made, in slices.
    pub(crate) held: bool,
    /// A batch has taken on to flush the connection.
    pub(crate) dirty: bool,
    /// A batch has taken on to end the connection.
    pub(crate) disconnecting: bool,
    aliases: Option<Box<Aliases>>,
}

/// Topic aliases used towards a client.
#[derive(Debug)]
struct Aliases {
    known: HashMap<Box<str>, u16>,
    charge: Charge,
}

/// Memory of an alias beyond its topic name.
const ALIAS: usize = 80;

impl Aliases {
    /// Takes on a topic; its alias, unless `maximum` are in use or no more memory may be held.
    fn add(&mut self, topic: &str, maximum: u16) -> Option<u16> {
        let next = u16::try_from(self.known.len() + 1).ok()?;
        let bytes = self.charge.bytes() + ALIAS + topic.len();
        (next <= maximum && self.charge.try_set(bytes)).then(|| {
            self.known.insert(topic.into(), next);
            next
        })
    }
}

impl Attached {
    pub(crate) fn new(link: Arc<Link>, settings: AttachedSettings, budget: &Arc<Budget>) -> Self {
        let aliases = (settings.alias_maximum > 0).then(|| {
            Box::new(Aliases {
                known: HashMap::new(),
                charge: Charge::new(budget, Part::Connections),
            })
        });

        Self {
            link,
            settings,
            outbox: Outbox::default(),
            in_window: 0,
            in_write: 0,
            allowance: OUTBOX_HIGH as u32,
            held: false,
            dirty: false,
            disconnecting: false,
            aliases,
        }
    }

    /// The connected half of a session whose present connection is `link`.
    #[inline]
    pub(crate) fn of<'a>(attached: &'a mut Option<Box<Self>>, link: &Link) -> Option<&'a mut Self> {
        attached
            .as_deref_mut()
            .filter(|attached| std::ptr::eq(&*attached.link, link))
    }

    /// The client, if it gave no user name.
    pub(crate) fn info(&self, client_id: &Arc<str>) -> ClientInfo {
        ClientInfo {
            client_id: client_id.clone(),
            username: None,
            peer: self.link.peer.clone(),
            listener: self.link.listener.clone(),
            version: self.settings.version,
            connection: self.link.number(),
        }
    }

    /// Whether what is appended has to be charged, `size` bytes more included. The bytes that one
    /// batch appends are not, up to a certain sum: mostly they are written at once.
    #[inline]
    pub(crate) fn needs_charge(&self, size: usize, effects: &Effects) -> bool {
        self.outbox.len() + size > self.allowance as usize || effects.uncharged > BATCH_ALLOWANCE
    }

    /// Accounts for so many bytes that were appended.
    #[inline]
    pub(crate) fn charge_appended(
        &mut self,
        needs_charge: bool,
        size: usize,
        env: &Env,
        effects: &mut Effects,
    ) {
        effects.uncharged += size;
        if needs_charge {
            self.outbox.charge(&env.budget);
        }
    }

    /// Takes output away to be written, all of it or so many bytes: a flush that was owed is done.
    #[inline]
    pub(crate) fn take_into(&mut self, into: &mut Outbox, count: Option<usize>) {
        self.dirty = false;
        if let Some(count) = count {
            into.append(self.outbox.split_front(count));
        } else if into.is_empty() {
            std::mem::swap(into, &mut self.outbox);
        } else {
            into.append(std::mem::take(&mut self.outbox));
        }
        self.in_write = u32::try_from(into.len()).unwrap_or(u32::MAX);
    }

    /// The output that was taken before is written.
    pub(crate) fn written(&mut self) {
        self.in_write = 0;
        self.allowance = OUTBOX_HIGH as u32;
    }

    /// Appends an answer, or what else cannot be refused.
    pub(crate) fn append(&mut self, budget: &Arc<Budget>, append: impl FnOnce(&mut Outbox)) {
        append(&mut self.outbox);
        if self.allowance == 0 {
            self.outbox.charge(budget);
        }
    }

    pub(crate) fn has_window(&self) -> bool {
        self.in_window < self.settings.window
    }

    /// Whether the client takes a packet of this size, as far as that is known before it is encoded.
    pub(crate) fn takes(&self, frame: &PublishFrame<'_>) -> bool {
        let (version, maximum) = (self.settings.version, self.settings.maximum_packet);
        if maximum == u32::MAX || frame.encoded_len(version) <= maximum as usize {
            return true;
        }
        let aliases = self.aliases.as_ref();
        let known = aliases.and_then(|aliases| aliases.known.get(frame.topic));
        known.is_some_and(|alias| {
            let short = PublishFrame {
                topic: "",
                topic_alias: Some(*alias),
                ..*frame
            };
            short.encoded_len(version) <= maximum as usize
        })
    }

    /// Encodes a PUBLISH; `false` if it is larger than the client takes (MQTT-3.1.2-24).
    pub(crate) fn publish(
        &mut self,
        mut frame: PublishFrame<'_>,
        payload: &[u8],
        backing: Option<&Bytes>,
    ) -> bool {
        let version = self.settings.version;
        if !self.settings.forwards_verbatim() {
            let fits = |frame: &PublishFrame<'_>| {
                frame.encoded_len(version) <= self.settings.maximum_packet as usize
            };
            if self.settings.alias_maximum > 0 {
                let topic = frame.topic;
                let aliases = self.aliases.as_deref_mut();
                let known = aliases.as_ref().and_then(|a| a.known.get(topic).copied());
                if let Some(alias) = known {
                    frame.topic_alias = Some(alias);
                    frame.topic = "";
                } else {
                    // Whether it fits with an alias does not depend on which one.
                    frame.topic_alias = Some(1);
                    frame.topic_alias = aliases
                        .filter(|_| fits(&frame))
                        .and_then(|aliases| aliases.add(topic, self.settings.alias_maximum));
                }
            }
            if !fits(&frame) {
                return false;
            }
        }

        frame.encode_head(version, self.outbox.buffer());
        match backing {
            Some(backing) if payload.len() >= SHARE_FROM => {
                self.outbox.push_segment(backing.slice_ref(payload));
            }
            _ => self.outbox.push(payload),
        }

        true
    }
}
