//! CONNACK in all its forms.

use midge_codec::{
    Connack, DecodeError, Packet, Properties, PropertiesBuf, Property, QoS, ReasonCode, Version,
};

use super::handshake::Handshake;
use crate::config::Config;
use crate::hooks::Refusal;

/// Encodes the CONNACK of success. Only what differs from the defaults is in it; what is merely
/// good to know is left out when the client's Maximum Packet Size is too small for it. `false` if
/// nothing fits.
pub(super) fn encode_success(
    config: &Config,
    handshake: &Handshake,
    present: bool,
    expiry_s: u32,
    keep_alive: u16,
    out: &mut Vec<u8>,
) -> bool {
    for frugal in [false, true] {
        let mut properties = PropertiesBuf::new();
        if handshake.version == Version::V5 {
            fill(
                &mut properties,
                config,
                handshake,
                expiry_s,
                keep_alive,
                frugal,
            );
        }

        let packet = Packet::Connack(Connack {
            // A 3.1 client does not know the flag.
            session_present: present && !handshake.version.is_v31(),
            reason: ReasonCode::Success,
            properties: properties.as_properties(),
        });
        let fits = midge_codec::encoded_len(&packet, handshake.version)
            .is_ok_and(|len| len <= handshake.maximum_packet as usize);
        if fits {
            return midge_codec::encode(&packet, handshake.version, out).is_ok();
        }
    }

    false
}

fn fill(
    properties: &mut PropertiesBuf,
    config: &Config,
    handshake: &Handshake,
    expiry_s: u32,
    keep_alive: u16,
    frugal: bool,
) {
    let mut add = |property: Property<'_>| {
        // Nothing here is longer than what came in or what was configured within bounds.
        let _ = properties.push(property);
    };

    let (mqtt, limits) = (&config.mqtt, &config.limits);
    if expiry_s != handshake.expiry_s {
        add(Property::SessionExpiryInterval(expiry_s));
    }
    if limits.receive_maximum < u16::MAX {
        add(Property::ReceiveMaximum(limits.receive_maximum.max(1)));
    }
    if mqtt.maximum_qos < QoS::ExactlyOnce {
        add(Property::MaximumQoS(mqtt.maximum_qos as u8));
    }
    if !mqtt.retain_available {
        add(Property::RetainAvailable(0));
    }
    if !frugal && (limits.packet_bytes as usize) < midge_codec::MAX_PACKET_BYTES {
        add(Property::MaximumPacketSize(limits.packet_bytes));
    }

    if handshake.assigned {
        add(Property::AssignedClientIdentifier(
            &handshake.request.client.client_id,
        ));
    }

    if !frugal && mqtt.topic_alias_maximum > 0 {
        add(Property::TopicAliasMaximum(mqtt.topic_alias_maximum));
    }
    if !mqtt.wildcard_available {
        add(Property::WildcardSubscriptionAvailable(0));
    }
    if !mqtt.subscription_identifiers_available {
        add(Property::SubscriptionIdentifierAvailable(0));
    }
    if !mqtt.shared_available {
        add(Property::SharedSubscriptionAvailable(0));
    }
    if keep_alive != handshake.request.keep_alive {
        add(Property::ServerKeepAlive(keep_alive));
    }
    if !frugal && handshake.response_information && !mqtt.response_information.is_empty() {
        add(Property::ResponseInformation(&mqtt.response_information));
    }
    if let Some(method) = &handshake.method {
        add(Property::AuthenticationMethod(method));
    }
    if let Some(data) = &handshake.answer_data {
        add(Property::AuthenticationData(data));
    }
}

/// Encodes the CONNACK of a refusal; `false` if there is none for this version (MQTT-3.2.2-6 of
/// 3.1.1) or none that the client could take.
pub(super) fn encode_refusal(
    version: Version,
    refusal: &Refusal,
    maximum: u32,
    out: &mut Vec<u8>,
) -> bool {
    if version != Version::V5 && refusal.reason.v3_connack().is_none() {
        return false;
    }

    let full = match version {
        Version::V5 => refusal.explained(refusal.reason),
        Version::V311 | Version::V31 => PropertiesBuf::new(),
    };

    for properties in [full.as_properties(), Properties::EMPTY] {
        let packet = Packet::Connack(Connack {
            session_present: false,
            reason: refusal.reason,
            properties,
        });
        if midge_codec::encoded_len(&packet, version).is_ok_and(|len| len <= maximum as usize) {
            return midge_codec::encode(&packet, version, out).is_ok();
        }
    }

    false
}

/// The answer to a CONNECT that cannot be read: a 5.0 client is told why, an unknown version is
/// told so, all else gets silence (MQTT-3.1.4-1 of 3.1.1). A client of 3.1 or 3.1.1 that asked for
/// more than this broker knows, such as a bridge, tries again with less when it gets the answer in
/// its own form.
pub(super) fn refusal_for_unreadable(error: &DecodeError, body: &[u8], out: &mut Vec<u8>) -> bool {
    let version = match body {
        [0, 6, b'M', b'Q', b'I', b's', b'd', b'p', _, ..] => Version::V31,
        // The bit of a bridge is no part of the level.
        [0, 4, b'M', b'Q', b'T', b'T', level, ..] if level & 0x7F < 5 => Version::V311,
        [0, 4, b'M', b'Q', b'T', b'T', _, ..] => Version::V5,
        _ => return false,
    };

    let unknown = error.reason == ReasonCode::UnsupportedProtocolVersion;
    if !unknown && version != Version::V5 {
        return false;
    }

    let refusal = Refusal::new(error.reason).text(error.what);

    // Its Maximum Packet Size is not known: the short form fits nearly always.
    let refusal = if unknown {
        Refusal::new(refusal.reason)
    } else {
        refusal
    };

    encode_refusal(version, &refusal, u32::MAX, out)
}
