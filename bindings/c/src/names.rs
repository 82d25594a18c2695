//! Numbers and names for enumerations of the engine: reasons why a connection ended, MQTT reason
//! codes, packets, why a message was dropped, statuses.

use std::ffi::c_char;

use broker::{DisconnectReason, DropReason, ReasonPacket};

use crate::status::*;

/// A reason that this version of the header has no number for; the text of the event names it.
pub const MIDGE_END_OTHER: u32 = 0;
/// The client sent DISCONNECT; code is its reason code.
pub const MIDGE_END_BY_CLIENT: u32 = 1;
/// The connection was closed or broke without DISCONNECT.
pub const MIDGE_END_CONNECTION_LOST: u32 = 2;
/// Nothing came for one and a half times the keep alive.
pub const MIDGE_END_KEEP_ALIVE_TIMEOUT: u32 = 3;
/// No CONNECT came in time.
pub const MIDGE_END_CONNECT_TIMEOUT: u32 = 4;
/// The same client identifier connected again.
pub const MIDGE_END_TAKEN_OVER: u32 = 5;
/// The client broke the protocol; text says what was wrong.
pub const MIDGE_END_PROTOCOL_VIOLATION: u32 = 6;
/// CONNECT was refused.
pub const MIDGE_END_REFUSED: u32 = 7;
/// The host or a callback ended it.
pub const MIDGE_END_BY_SERVER: u32 = 8;
/// The client did not read fast enough and overflow.session says to disconnect.
pub const MIDGE_END_TOO_SLOW: u32 = 9;
/// limits.total_bytes was passed and more was held for this connection than for any other.
pub const MIDGE_END_MEMORY_FULL: u32 = 10;
/// The broker stops.
pub const MIDGE_END_SHUTDOWN: u32 = 11;
/// Something in the broker failed; the connection was ended to contain it.
pub const MIDGE_END_INTERNAL_ERROR: u32 = 12;

/// The number of a reason.
pub(crate) fn end_number(reason: &DisconnectReason) -> u32 {
    match reason {
        DisconnectReason::ByClient(_) => MIDGE_END_BY_CLIENT,
        DisconnectReason::ConnectionLost => MIDGE_END_CONNECTION_LOST,
        DisconnectReason::KeepAliveTimeout => MIDGE_END_KEEP_ALIVE_TIMEOUT,
        DisconnectReason::ConnectTimeout => MIDGE_END_CONNECT_TIMEOUT,
        DisconnectReason::TakenOver => MIDGE_END_TAKEN_OVER,
        DisconnectReason::ProtocolViolation { .. } => MIDGE_END_PROTOCOL_VIOLATION,
        DisconnectReason::Refused(_) => MIDGE_END_REFUSED,
        DisconnectReason::ByServer(_) => MIDGE_END_BY_SERVER,
        DisconnectReason::TooSlow => MIDGE_END_TOO_SLOW,
        DisconnectReason::MemoryFull => MIDGE_END_MEMORY_FULL,
        DisconnectReason::Shutdown => MIDGE_END_SHUTDOWN,
        DisconnectReason::InternalError => MIDGE_END_INTERNAL_ERROR,
        _ => MIDGE_END_OTHER,
    }
}

/// The name of a MIDGE_END_* number, for example "keep_alive_timeout"; "unknown" for others. Static.
/// @since 0.1
#[unsafe(no_mangle)]
pub extern "C" fn midge_end_reason_name(reason: u32) -> *const c_char {
    let name = match reason {
        MIDGE_END_OTHER => c"other",
        MIDGE_END_BY_CLIENT => c"by_client",
        MIDGE_END_CONNECTION_LOST => c"connection_lost",
        MIDGE_END_KEEP_ALIVE_TIMEOUT => c"keep_alive_timeout",
        MIDGE_END_CONNECT_TIMEOUT => c"connect_timeout",
        MIDGE_END_TAKEN_OVER => c"taken_over",
        MIDGE_END_PROTOCOL_VIOLATION => c"protocol_violation",
        MIDGE_END_REFUSED => c"refused",
        MIDGE_END_BY_SERVER => c"by_server",
        MIDGE_END_TOO_SLOW => c"too_slow",
        MIDGE_END_MEMORY_FULL => c"memory_full",
        MIDGE_END_SHUTDOWN => c"shutdown",
        MIDGE_END_INTERNAL_ERROR => c"internal_error",
        _ => c"unknown",
    };
    name.as_ptr()
}

/// MQTT reason code: Success.
pub const MIDGE_RC_SUCCESS: u8 = 0x00;
/// MQTT reason code: Granted QoS 1.
pub const MIDGE_RC_GRANTED_QOS_1: u8 = 0x01;
/// MQTT reason code: Granted QoS 2.
pub const MIDGE_RC_GRANTED_QOS_2: u8 = 0x02;
/// MQTT reason code: Disconnect with Will Message.
pub const MIDGE_RC_DISCONNECT_WITH_WILL: u8 = 0x04;
/// MQTT reason code: No matching subscribers.
pub const MIDGE_RC_NO_MATCHING_SUBSCRIBERS: u8 = 0x10;
/// MQTT reason code: No subscription existed.
pub const MIDGE_RC_NO_SUBSCRIPTION_EXISTED: u8 = 0x11;
/// MQTT reason code: Continue authentication.
pub const MIDGE_RC_CONTINUE_AUTHENTICATION: u8 = 0x18;
/// MQTT reason code: Re-authenticate.
pub const MIDGE_RC_RE_AUTHENTICATE: u8 = 0x19;
/// MQTT reason code: Unspecified error.
pub const MIDGE_RC_UNSPECIFIED_ERROR: u8 = 0x80;
/// MQTT reason code: Malformed Packet.
pub const MIDGE_RC_MALFORMED_PACKET: u8 = 0x81;
/// MQTT reason code: Protocol Error.
pub const MIDGE_RC_PROTOCOL_ERROR: u8 = 0x82;
/// MQTT reason code: Implementation specific error.
pub const MIDGE_RC_IMPLEMENTATION_SPECIFIC_ERROR: u8 = 0x83;
/// MQTT reason code: Unsupported Protocol Version.
pub const MIDGE_RC_UNSUPPORTED_PROTOCOL_VERSION: u8 = 0x84;
/// MQTT reason code: Client Identifier not valid.
pub const MIDGE_RC_CLIENT_IDENTIFIER_NOT_VALID: u8 = 0x85;
/// MQTT reason code: Bad User Name or Password.
pub const MIDGE_RC_BAD_USER_NAME_OR_PASSWORD: u8 = 0x86;
/// MQTT reason code: Not authorized.
pub const MIDGE_RC_NOT_AUTHORIZED: u8 = 0x87;
/// MQTT reason code: Server unavailable.
pub const MIDGE_RC_SERVER_UNAVAILABLE: u8 = 0x88;
/// MQTT reason code: Server busy.
pub const MIDGE_RC_SERVER_BUSY: u8 = 0x89;
/// MQTT reason code: Banned.
pub const MIDGE_RC_BANNED: u8 = 0x8A;
/// MQTT reason code: Server shutting down.
pub const MIDGE_RC_SERVER_SHUTTING_DOWN: u8 = 0x8B;
/// MQTT reason code: Bad authentication method.
pub const MIDGE_RC_BAD_AUTHENTICATION_METHOD: u8 = 0x8C;
/// MQTT reason code: Keep Alive timeout.
pub const MIDGE_RC_KEEP_ALIVE_TIMEOUT: u8 = 0x8D;
/// MQTT reason code: Session taken over.
pub const MIDGE_RC_SESSION_TAKEN_OVER: u8 = 0x8E;
/// MQTT reason code: Topic Filter invalid.
pub const MIDGE_RC_TOPIC_FILTER_INVALID: u8 = 0x8F;
/// MQTT reason code: Topic Name invalid.
pub const MIDGE_RC_TOPIC_NAME_INVALID: u8 = 0x90;
/// MQTT reason code: Packet Identifier in use.
pub const MIDGE_RC_PACKET_IDENTIFIER_IN_USE: u8 = 0x91;
/// MQTT reason code: Packet Identifier not found.
pub const MIDGE_RC_PACKET_IDENTIFIER_NOT_FOUND: u8 = 0x92;
/// MQTT reason code: Receive Maximum exceeded.
pub const MIDGE_RC_RECEIVE_MAXIMUM_EXCEEDED: u8 = 0x93;
/// MQTT reason code: Topic Alias invalid.
pub const MIDGE_RC_TOPIC_ALIAS_INVALID: u8 = 0x94;
/// MQTT reason code: Packet too large.
pub const MIDGE_RC_PACKET_TOO_LARGE: u8 = 0x95;
/// MQTT reason code: Message rate too high.
pub const MIDGE_RC_MESSAGE_RATE_TOO_HIGH: u8 = 0x96;
/// MQTT reason code: Quota exceeded.
pub const MIDGE_RC_QUOTA_EXCEEDED: u8 = 0x97;
/// MQTT reason code: Administrative action.
pub const MIDGE_RC_ADMINISTRATIVE_ACTION: u8 = 0x98;
/// MQTT reason code: Payload format invalid.
pub const MIDGE_RC_PAYLOAD_FORMAT_INVALID: u8 = 0x99;
/// MQTT reason code: Retain not supported.
pub const MIDGE_RC_RETAIN_NOT_SUPPORTED: u8 = 0x9A;
/// MQTT reason code: QoS not supported.
pub const MIDGE_RC_QOS_NOT_SUPPORTED: u8 = 0x9B;
/// MQTT reason code: Use another server.
pub const MIDGE_RC_USE_ANOTHER_SERVER: u8 = 0x9C;
/// MQTT reason code: Server moved.
pub const MIDGE_RC_SERVER_MOVED: u8 = 0x9D;
/// MQTT reason code: Shared Subscriptions not supported.
pub const MIDGE_RC_SHARED_SUBSCRIPTIONS_NOT_SUPPORTED: u8 = 0x9E;
/// MQTT reason code: Connection rate exceeded.
pub const MIDGE_RC_CONNECTION_RATE_EXCEEDED: u8 = 0x9F;
/// MQTT reason code: Maximum connect time.
pub const MIDGE_RC_MAXIMUM_CONNECT_TIME: u8 = 0xA0;
/// MQTT reason code: Subscription Identifiers not supported.
pub const MIDGE_RC_SUBSCRIPTION_IDENTIFIERS_NOT_SUPPORTED: u8 = 0xA1;
/// MQTT reason code: Wildcard Subscriptions not supported.
pub const MIDGE_RC_WILDCARD_SUBSCRIPTIONS_NOT_SUPPORTED: u8 = 0xA2;

/// The name of an MQTT reason code in the words of the specification, for example "Not authorized"
/// for 0x87; "unknown" for others. Static.
/// @since 0.1
#[unsafe(no_mangle)]
pub extern "C" fn midge_reason_code_name(code: u8) -> *const c_char {
    let name = match code {
        MIDGE_RC_SUCCESS => c"Success",
        MIDGE_RC_GRANTED_QOS_1 => c"Granted QoS 1",
        MIDGE_RC_GRANTED_QOS_2 => c"Granted QoS 2",
        MIDGE_RC_DISCONNECT_WITH_WILL => c"Disconnect with Will Message",
        MIDGE_RC_NO_MATCHING_SUBSCRIBERS => c"No matching subscribers",
        MIDGE_RC_NO_SUBSCRIPTION_EXISTED => c"No subscription existed",
        MIDGE_RC_CONTINUE_AUTHENTICATION => c"Continue authentication",
        MIDGE_RC_RE_AUTHENTICATE => c"Re-authenticate",
        MIDGE_RC_UNSPECIFIED_ERROR => c"Unspecified error",
        MIDGE_RC_MALFORMED_PACKET => c"Malformed Packet",
        MIDGE_RC_PROTOCOL_ERROR => c"Protocol Error",
        MIDGE_RC_IMPLEMENTATION_SPECIFIC_ERROR => c"Implementation specific error",
        MIDGE_RC_UNSUPPORTED_PROTOCOL_VERSION => c"Unsupported Protocol Version",
        MIDGE_RC_CLIENT_IDENTIFIER_NOT_VALID => c"Client Identifier not valid",
        MIDGE_RC_BAD_USER_NAME_OR_PASSWORD => c"Bad User Name or Password",
        MIDGE_RC_NOT_AUTHORIZED => c"Not authorized",
        MIDGE_RC_SERVER_UNAVAILABLE => c"Server unavailable",
        MIDGE_RC_SERVER_BUSY => c"Server busy",
        MIDGE_RC_BANNED => c"Banned",
        MIDGE_RC_SERVER_SHUTTING_DOWN => c"Server shutting down",
        MIDGE_RC_BAD_AUTHENTICATION_METHOD => c"Bad authentication method",
        MIDGE_RC_KEEP_ALIVE_TIMEOUT => c"Keep Alive timeout",
        MIDGE_RC_SESSION_TAKEN_OVER => c"Session taken over",

        MIDGE_RC_TOPIC_FILTER_INVALID => c"Topic Filter invalid",
        MIDGE_RC_TOPIC_NAME_INVALID => c"Topic Name invalid",
        MIDGE_RC_PACKET_IDENTIFIER_IN_USE => c"Packet Identifier in use",
        MIDGE_RC_PACKET_IDENTIFIER_NOT_FOUND => c"Packet Identifier not found",
        MIDGE_RC_RECEIVE_MAXIMUM_EXCEEDED => c"Receive Maximum exceeded",
        MIDGE_RC_TOPIC_ALIAS_INVALID => c"Topic Alias invalid",
        MIDGE_RC_PACKET_TOO_LARGE => c"Packet too large",
        MIDGE_RC_MESSAGE_RATE_TOO_HIGH => c"Message rate too high",
        MIDGE_RC_QUOTA_EXCEEDED => c"Quota exceeded",
        MIDGE_RC_ADMINISTRATIVE_ACTION => c"Administrative action",
        MIDGE_RC_PAYLOAD_FORMAT_INVALID => c"Payload format invalid",
        MIDGE_RC_RETAIN_NOT_SUPPORTED => c"Retain not supported",
        MIDGE_RC_QOS_NOT_SUPPORTED => c"QoS not supported",
        MIDGE_RC_USE_ANOTHER_SERVER => c"Use another server",
        MIDGE_RC_SERVER_MOVED => c"Server moved",
        MIDGE_RC_SHARED_SUBSCRIPTIONS_NOT_SUPPORTED => c"Shared Subscriptions not supported",
        MIDGE_RC_CONNECTION_RATE_EXCEEDED => c"Connection rate exceeded",
        MIDGE_RC_MAXIMUM_CONNECT_TIME => c"Maximum connect time",
        MIDGE_RC_SUBSCRIPTION_IDENTIFIERS_NOT_SUPPORTED => {
            c"Subscription Identifiers not supported"
        }
        MIDGE_RC_WILDCARD_SUBSCRIPTIONS_NOT_SUPPORTED => c"Wildcard Subscriptions not supported",
        _ => c"unknown",
    };

    name.as_ptr()
}

/// MQTT control packet type: CONNACK.
pub const MIDGE_PACKET_CONNACK: u32 = 2;
/// MQTT control packet type: PUBACK.
pub const MIDGE_PACKET_PUBACK: u32 = 4;
/// MQTT control packet type: PUBREC.
pub const MIDGE_PACKET_PUBREC: u32 = 5;
/// MQTT control packet type: PUBREL.
pub const MIDGE_PACKET_PUBREL: u32 = 6;
/// MQTT control packet type: PUBCOMP.
pub const MIDGE_PACKET_PUBCOMP: u32 = 7;
/// MQTT control packet type: SUBACK.
pub const MIDGE_PACKET_SUBACK: u32 = 9;
/// MQTT control packet type: UNSUBACK.
pub const MIDGE_PACKET_UNSUBACK: u32 = 11;
/// MQTT control packet type: DISCONNECT.
pub const MIDGE_PACKET_DISCONNECT: u32 = 14;
/// MQTT control packet type: AUTH.
pub const MIDGE_PACKET_AUTH: u32 = 15;

/// The control packet type of a packet with reason codes.
pub(crate) fn packet_number(packet: ReasonPacket) -> u32 {
    match packet {
        ReasonPacket::Connack => MIDGE_PACKET_CONNACK,
        ReasonPacket::Puback => MIDGE_PACKET_PUBACK,
        ReasonPacket::Pubrec => MIDGE_PACKET_PUBREC,
        ReasonPacket::Pubrel => MIDGE_PACKET_PUBREL,
        ReasonPacket::Pubcomp => MIDGE_PACKET_PUBCOMP,
        ReasonPacket::Suback => MIDGE_PACKET_SUBACK,
        ReasonPacket::Unsuback => MIDGE_PACKET_UNSUBACK,
        ReasonPacket::Disconnect => MIDGE_PACKET_DISCONNECT,
        ReasonPacket::Auth => MIDGE_PACKET_AUTH,
    }
}

/// The name of a MIDGE_PACKET_* number, for example "PUBACK"; "unknown" for others. Static.
/// @since 0.1
#[unsafe(no_mangle)]
pub extern "C" fn midge_packet_name(packet: u32) -> *const c_char {
    let name = match packet {
        MIDGE_PACKET_CONNACK => c"CONNACK",
        MIDGE_PACKET_PUBACK => c"PUBACK",
        MIDGE_PACKET_PUBREC => c"PUBREC",
        MIDGE_PACKET_PUBREL => c"PUBREL",
        MIDGE_PACKET_PUBCOMP => c"PUBCOMP",
        MIDGE_PACKET_SUBACK => c"SUBACK",
        MIDGE_PACKET_UNSUBACK => c"UNSUBACK",
        MIDGE_PACKET_DISCONNECT => c"DISCONNECT",
        MIDGE_PACKET_AUTH => c"AUTH",
        _ => c"unknown",
    };
    name.as_ptr()
}

/// The client's queue is full.
pub const MIDGE_DROP_QUEUE_FULL: u32 = 0;
/// All queues together are full.
pub const MIDGE_DROP_TOTAL_QUEUE_FULL: u32 = 1;
/// Larger than the client's Maximum Packet Size.
pub const MIDGE_DROP_PACKET_TOO_LARGE: u32 = 2;
/// QoS 0 and the client is not connected.
pub const MIDGE_DROP_NOT_CONNECTED: u32 = 3;
/// It expired before it could be sent.
pub const MIDGE_DROP_EXPIRED: u32 = 4;
/// A callback refused it.
pub const MIDGE_DROP_REFUSED_BY_HOOK: u32 = 5;
/// The publisher may not publish to this topic.
pub const MIDGE_DROP_NOT_AUTHORIZED: u32 = 6;
/// The session ended with the message still waiting.
pub const MIDGE_DROP_SESSION_ENDED: u32 = 7;
/// The retained store is full.
pub const MIDGE_DROP_RETAINED_FULL: u32 = 8;
/// The publisher sends too fast.
pub const MIDGE_DROP_RATE_EXCEEDED: u32 = 9;
/// A queue of the host is full.
pub const MIDGE_DROP_OBSERVER_FULL: u32 = 10;
/// The receiver refused it with a reason code.
pub const MIDGE_DROP_REFUSED_BY_RECEIVER: u32 = 11;
/// No more memory may be held for clients (limits.total_bytes).
pub const MIDGE_DROP_MEMORY_FULL: u32 = 12;
/// A client's message or will to $SYS: those topics are the broker's own.
pub const MIDGE_DROP_RESERVED_TOPIC: u32 = 13;
/// Number of reasons; the size of midge_stats.dropped that is in use.
pub const MIDGE_DROP_COUNT: u32 = 14;

/// The numbers are those of the engine.
const _: () = {
    let all = [
        (MIDGE_DROP_QUEUE_FULL, DropReason::QueueFull),
        (MIDGE_DROP_TOTAL_QUEUE_FULL, DropReason::TotalQueueFull),
        (MIDGE_DROP_PACKET_TOO_LARGE, DropReason::PacketTooLarge),
        (MIDGE_DROP_NOT_CONNECTED, DropReason::NotConnected),
        (MIDGE_DROP_EXPIRED, DropReason::Expired),
        (MIDGE_DROP_REFUSED_BY_HOOK, DropReason::RefusedByHook),
        (MIDGE_DROP_NOT_AUTHORIZED, DropReason::NotAuthorized),
        (MIDGE_DROP_SESSION_ENDED, DropReason::SessionEnded),
        (MIDGE_DROP_RETAINED_FULL, DropReason::RetainedFull),
        (MIDGE_DROP_RATE_EXCEEDED, DropReason::RateExceeded),
        (MIDGE_DROP_OBSERVER_FULL, DropReason::ObserverFull),
        (
            MIDGE_DROP_REFUSED_BY_RECEIVER,
            DropReason::RefusedByReceiver,
        ),
        (MIDGE_DROP_MEMORY_FULL, DropReason::MemoryFull),
        (MIDGE_DROP_RESERVED_TOPIC, DropReason::ReservedTopic),
    ];
    assert!(all.len() == MIDGE_DROP_COUNT as usize && all.len() == DropReason::ALL.len());
    let mut at = 0;
    while at < all.len() {
        assert!(all[at].0 == all[at].1 as u32);
        at += 1;
    }
};

/// The name of a MIDGE_DROP_* number, for example "queue_full"; "unknown" for others. Static.
/// @since 0.1
#[unsafe(no_mangle)]
pub extern "C" fn midge_drop_reason_name(reason: u32) -> *const c_char {
    let name = match DropReason::ALL.get(reason as usize) {
        Some(DropReason::QueueFull) => c"queue_full",
        Some(DropReason::TotalQueueFull) => c"total_queue_full",
        Some(DropReason::PacketTooLarge) => c"packet_too_large",
        Some(DropReason::NotConnected) => c"not_connected",
        Some(DropReason::Expired) => c"expired",
        Some(DropReason::RefusedByHook) => c"refused_by_hook",
        Some(DropReason::NotAuthorized) => c"not_authorized",
        Some(DropReason::SessionEnded) => c"session_ended",
        Some(DropReason::RetainedFull) => c"retained_full",
        Some(DropReason::RateExceeded) => c"rate_exceeded",
        Some(DropReason::ObserverFull) => c"observer_full",
        Some(DropReason::RefusedByReceiver) => c"refused_by_receiver",
        Some(DropReason::MemoryFull) => c"memory_full",
        Some(DropReason::ReservedTopic) => c"reserved_topic",
        _ => c"unknown",
    };

    name.as_ptr()
}

/// The name of a status, for example "MIDGE_E_TIMEOUT". Static, never NULL.
/// @since 0.1
#[unsafe(no_mangle)]
pub extern "C" fn midge_status_name(status: midge_status) -> *const c_char {
    let name = match status {
        MIDGE_OK => c"MIDGE_OK",
        MIDGE_PASS => c"MIDGE_PASS",
        MIDGE_E_INVALID => c"MIDGE_E_INVALID",
        MIDGE_E_STATE => c"MIDGE_E_STATE",
        MIDGE_E_TIMEOUT => c"MIDGE_E_TIMEOUT",
        MIDGE_E_WOULD_BLOCK => c"MIDGE_E_WOULD_BLOCK",
        MIDGE_E_LIMIT => c"MIDGE_E_LIMIT",
        MIDGE_E_NOT_FOUND => c"MIDGE_E_NOT_FOUND",
        MIDGE_E_DENIED => c"MIDGE_E_DENIED",
        MIDGE_E_IO => c"MIDGE_E_IO",
        MIDGE_E_ADDR_IN_USE => c"MIDGE_E_ADDR_IN_USE",
        MIDGE_E_CONFIG => c"MIDGE_E_CONFIG",
        MIDGE_E_UNSUPPORTED => c"MIDGE_E_UNSUPPORTED",
        MIDGE_E_ABI => c"MIDGE_E_ABI",
        MIDGE_E_REENTRANT => c"MIDGE_E_REENTRANT",
        MIDGE_E_FORKED => c"MIDGE_E_FORKED",
        MIDGE_E_CLOSED => c"MIDGE_E_CLOSED",
        MIDGE_E_NOMEM => c"MIDGE_E_NOMEM",
        MIDGE_E_PANIC => c"MIDGE_E_PANIC",
        _ => c"MIDGE_E_UNKNOWN",
    };

    name.as_ptr()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)] // a test may fail
mod tests {
    use std::ffi::CStr;

    use broker::ReasonCode;

    use super::*;

    fn text(name: *const c_char) -> &'static str {
        // SAFETY: static texts.
        unsafe { CStr::from_ptr(name) }.to_str().unwrap()
    }

    #[test]
    fn reason_codes_have_the_names_of_the_specification() {
        for code in 0..=255 {
            let name = ReasonCode::from_u8(code).map_or("unknown", ReasonCode::name);
            assert_eq!(text(midge_reason_code_name(code)), name);
        }
    }

    #[test]
    fn every_end_has_its_number_and_its_name() {
        let code = ReasonCode::NotAuthorized;
        let all = [
            DisconnectReason::ByClient(code),
            DisconnectReason::ConnectionLost,
            DisconnectReason::KeepAliveTimeout,
            DisconnectReason::ConnectTimeout,
            DisconnectReason::TakenOver,
            DisconnectReason::Refused(code),
            DisconnectReason::ByServer(code),
            DisconnectReason::TooSlow,
            DisconnectReason::MemoryFull,
            DisconnectReason::Shutdown,
            DisconnectReason::InternalError,
        ];

        for reason in all {
            let number = end_number(&reason);
            assert_ne!(number, MIDGE_END_OTHER);
            assert_eq!(text(midge_end_reason_name(number)), reason.name());
        }

        let violation = text(midge_end_reason_name(MIDGE_END_PROTOCOL_VIOLATION));
        assert_eq!(violation, "protocol_violation"); // which only the engine can make
        assert_eq!(text(midge_end_reason_name(99)), "unknown");
    }

    #[test]
    fn every_packet_and_every_drop_has_its_name() {
        for packet in ReasonPacket::ALL {
            assert_eq!(
                text(midge_packet_name(packet_number(packet))),
                packet.name()
            );
        }

        assert_eq!(DropReason::ALL.len(), MIDGE_DROP_COUNT as usize);
        for reason in DropReason::ALL {
            assert_eq!(text(midge_drop_reason_name(*reason as u32)), reason.name());
        }
    }
}
