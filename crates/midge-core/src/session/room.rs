//! Whether a message may wait for a client: how large its packet is, and what room there is.
//!
//! The words for memory:
//!
//! - *charge*: bytes that the budget of the broker (`limits.total_bytes`) counts for one holder.
//! - *appended*: bytes put into the outbox of a connection. Mostly they are written at once, so they
//!   are charged only when they may stay.
//! - *allowance* of a connection: bytes that its outbox may hold without a charge; none while its
//!   transport is full.
//! - *uncharged*: what a batch has appended without a charge and not flushed yet; above
//!   `BATCH_ALLOWANCE` the batch charges each further append (`needs_charge`, `charge_appended`).
//! - *to exceed a charge*: an outbox would need more memory than it was charged for.

use midge_codec::{PublishFrame, QoS, Version};

use super::deliver::Deliverable;
use super::effects::Effects;
use super::{Attached, Delivery, LONGEST_IDENTIFIER, State};
use crate::message::SHARE_FROM;
use crate::reason::DropReason;
use crate::session::Env;
use crate::session::attached::OUTBOX_HIGH;
use crate::time::Tick;

/// Bytes that a shared payload adds to an outbox.
pub(super) const SEGMENT: usize = 64;

/// Why a packet of `size` bytes, of which so many are copied, may not wait for a connection, if so.
#[cold]
pub(super) fn over_budget(
    attached: &Attached,
    size: usize,
    copied: usize,
    env: &Env,
) -> Option<DropReason> {
    let limits = &env.config.limits;
    let all = attached.outbox.len() + size;
    if all <= OUTBOX_HIGH && !attached.outbox.exceeds_charge(copied) {
        return None; // It needs no memory.
    }
    let waiting = all + attached.in_write as usize;
    if waiting > limits.session_queue_bytes {
        Some(DropReason::QueueFull)
    } else {
        env.has_no_room(copied)
    }
}

/// Whether the session's client, if it is connected, takes a packet as large as that. It is asked
/// before anything is charged or makes way for it.
pub(super) fn takes(state: &State, delivery: &Delivery, now: Tick) -> bool {
    state.attached.as_deref().is_none_or(|attached| {
        attached.settings.maximum_packet == u32::MAX || attached.takes(&frame_of(delivery, 1, now))
    })
}

/// Why a QoS 0 message may not wait for a connection, if so.
#[cold]
pub(super) fn refusal_qos0<O: Deliverable>(
    attached: &Attached,
    deliverable: &O,
    retain: bool,
    ids: &[u32],
    env: &Env,
    effects: &mut Effects,
) -> Option<DropReason> {
    let version = attached.settings.version;
    if attached.settings.maximum_packet < u32::MAX {
        // Before it is refused for want of room, or the client for being full.
        let block = block_of(deliverable, version, effects.scratch());
        if !attached.takes(&qos0_frame(deliverable, retain, ids, block)) {
            return Some(DropReason::PacketTooLarge);
        }
    }

    let parts = deliverable.parts();
    let block_len = match version {
        Version::V5 => parts.properties.block_len(),
        Version::V31 | Version::V311 => 0,
    };
    let head = parts.topic.len() + block_len + ids.len() * LONGEST_IDENTIFIER;
    let is_shared = parts.backing.is_some() && parts.payload.len() >= SHARE_FROM;
    let copied = if is_shared {
        head + SEGMENT
    } else {
        head + parts.payload.len()
    };
    over_budget(attached, head + parts.payload.len(), copied, env)
}

/// Encodes a PUBLISH for a kept message.
pub(crate) fn encode(
    attached: &mut Attached,
    delivery: &Delivery,
    packet_id: u16,
    dup: bool,
    now: Tick,
) -> bool {
    let message = &delivery.message;
    let frame = PublishFrame {
        dup,
        ..frame_of(delivery, packet_id, now)
    };
    attached.publish(frame, message.payload(), message.backing())
}

pub(super) fn frame_of(delivery: &Delivery, packet_id: u16, now: Tick) -> PublishFrame<'_> {
    let message = &delivery.message;
    PublishFrame {
        dup: false,
        qos: delivery.qos,
        retain: delivery.retain,
        topic: message.topic(),
        packet_id,
        topic_alias: None,
        message_expiry: message.remaining_expiry(now),
        subscription_ids: delivery.subscription_ids(),
        block: message.block(),
        payload_len: message.payload().len(),
    }
}

pub(super) fn qos0_frame<'a, O: Deliverable>(
    deliverable: &'a O,
    retain: bool,
    subscription_ids: &'a [u32],
    block: &'a [u8],
) -> PublishFrame<'a> {
    let parts = deliverable.parts();

    PublishFrame {
        dup: false, // MQTT-3.3.1-2
        qos: QoS::AtMostOnce,
        retain,
        topic: parts.topic,
        packet_id: 0,
        topic_alias: None,
        message_expiry: parts.expiry,
        subscription_ids,
        block,
        payload_len: parts.payload.len(),
    }
}

/// The forwarded properties of a message, encoded into `scratch` unless a kept message has them.
pub(super) fn block_of<'a, O: Deliverable>(
    deliverable: &'a O,
    version: Version,
    scratch: &'a mut Vec<u8>,
) -> &'a [u8] {
    if version != Version::V5 {
        return &[];
    }
    if let Some(message) = deliverable.kept() {
        return message.block();
    }
    scratch.clear();
    deliverable.parts().properties.append_block(scratch);
    scratch
}
