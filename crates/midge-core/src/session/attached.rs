//! The connection that a session has at present: how to encode for it, what waits to be written.

use std::sync::Arc;

use bytes::Bytes;
use hashbrown::HashMap;
use midge_codec::{PublishFrame, Version};

use crate::hooks::ClientInfo;
use crate::link::Link;
use crate::message::SHARE_FROM;
use crate::outbox::Outbox;

/// Above this many bytes in the outbox queued messages stay in the queue until it drains.
pub(crate) const OUTBOX_HIGH: usize = 64 * 1024;

/// What CONNECT settled for the connection.
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

/// The connected half of a session.
#[derive(Debug)]
pub(crate) struct Attached {
    pub(crate) link: Arc<Link>,
    pub(crate) settings: AttachedSettings,
    pub(crate) outbox: Outbox,
    /// Messages sent on this connection that count against the window.
    pub(crate) in_window: u16,
    /// Bytes taken for writing that may not be written yet.
    pub(crate) in_write: usize,
    /// Bytes of the outbox that count in the hub's backlog.
    pub(crate) charged: usize,
    /// Position in the store that must be committed before anything is sent, 0 for none.
    pub(crate) held_until: u64,
    /// A batch has taken on to notify the connection.
    pub(crate) dirty: bool,
    /// A batch has taken on to end the connection.
    pub(crate) kicked: bool,
    #[allow(clippy::box_collection)] // few connections have any
    aliases: Option<Box<HashMap<Box<str>, u16>>>,
}

impl Attached {
    pub(crate) fn new(link: Arc<Link>, settings: AttachedSettings) -> Self {
        Self {
            link,
            settings,
            outbox: Outbox::default(),
            in_window: 0,
            in_write: 0,
            charged: 0,
            held_until: 0,
            dirty: false,
            kicked: false,
            aliases: None,
        }
    }

    /// The connected half of a session whose present connection is `link`.
    #[inline]
    pub(crate) fn of<'a>(attached: &'a mut Option<Box<Self>>, link: &Link) -> Option<&'a mut Self> {
        attached
            .as_deref_mut()
            .filter(|attached| std::ptr::eq(&*attached.link, link))
    }

    /// What is known of a client that gave no user name.
    pub(crate) fn info(&self, client_id: &Arc<str>) -> ClientInfo {
        ClientInfo {
            client_id: client_id.clone(),
            username: None,
            peer: self.link.peer.clone(),
            listener: self.link.listener.clone(),
            version: self.settings.version,
        }
    }

    pub(crate) fn has_window(&self) -> bool {
        self.in_window < self.settings.window
    }

    /// Encodes a PUBLISH; `false` if it is larger than the client takes (MQTT-3.1.2-24).
    pub(crate) fn publish(
        &mut self,
        mut frame: PublishFrame<'_>,
        payload: &[u8],
        backing: Option<&Bytes>,
    ) -> bool {
        let version = self.settings.version;
        if self.settings.maximum_packet != u32::MAX || self.settings.alias_maximum > 0 {
            let fits = |frame: &PublishFrame<'_>| {
                frame.encoded_len(version) <= self.settings.maximum_packet as usize
            };
            if self.settings.alias_maximum > 0 {
                let topic = frame.topic;
                let known = self
                    .aliases
                    .as_ref()
                    .and_then(|known| known.get(topic).copied());
                if let Some(alias) = known {
                    frame.topic_alias = Some(alias);
                    frame.topic = "";
                } else {
                    let used = self.aliases.as_ref().map_or(0, |known| known.len());
                    let next = u16::try_from(used + 1).unwrap_or(u16::MAX);
                    frame.topic_alias = (next <= self.settings.alias_maximum).then_some(next);
                    if frame.topic_alias.is_some() && !fits(&frame) {
                        frame.topic_alias = None;
                    }
                    if let Some(alias) = frame.topic_alias {
                        self.aliases
                            .get_or_insert_default()
                            .insert(topic.into(), alias);
                    }
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
