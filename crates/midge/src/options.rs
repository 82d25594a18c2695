//! The one table of options: keys, values, defaults, documentation. The configuration file, the
//! bindings and `docs/configuration.md` are made from it.

use midge_codec::QoS;
use midge_core::{Config, Limits, Overflow};

use crate::error::OptionError;

/// What kind of value an option takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum OptionKind {
    /// `true` or `false`.
    Bool,
    /// A whole number.
    Integer,
    /// Text.
    Text,
}

/// One option.
#[derive(Clone, Copy, Debug)]
pub struct OptionInfo {
    /// Its key, `section.name`.
    pub key: &'static str,
    /// What kind of value it takes.
    pub kind: OptionKind,
    /// The accepted values in words.
    pub accepted: &'static str,
    /// What it does, with its unit.
    pub doc: &'static str,
    set: fn(&mut Config, &str) -> Option<()>,
    get: fn(&Config) -> String,
}

impl OptionInfo {
    /// Its value in a configuration.
    pub fn value(&self, config: &Config) -> String {
        (self.get)(config)
    }

    /// Its default value.
    pub fn default_value(&self) -> String {
        self.value(&Config::default())
    }
}

fn parse_bool(value: &str) -> Option<bool> {
    match value {
        "true" | "on" | "yes" | "1" => Some(true),
        "false" | "off" | "no" | "0" => Some(false),
        _ => None,
    }
}

macro_rules! option {
    (int $key:literal, $($field:ident).+ : $type:ty, $range:expr, $accepted:literal, $doc:literal) => {
        OptionInfo {
            key: $key,
            kind: OptionKind::Integer,
            accepted: $accepted,
            doc: $doc,
            set: |config, value| {
                let number: $type = value.trim().replace('_', "").parse().ok()?;
                let range = $range;
                range.contains(&number).then(|| config.$($field).+ = number)
            },
            get: |config| config.$($field).+.to_string(),
        }
    };
    (bool $key:literal, $($field:ident).+, $doc:literal) => {
        OptionInfo {
            key: $key,
            kind: OptionKind::Bool,
            accepted: "true or false",
            doc: $doc,
            set: |config, value| parse_bool(value.trim()).map(|value| config.$($field).+ = value),
            get: |config| config.$($field).+.to_string(),
        }
    };
}

const TABLE: &[OptionInfo] = &[
    OptionInfo {
        key: "limits.preset",
        kind: OptionKind::Text,
        accepted: "default or device",
        doc: "All limits at once; what is set after it, or beside it in a file, changes single ones. device is for a few MiB of memory: the table in docs/memory.md.",
        set: |config, value| {
            config.limits = match value.trim() {
                "default" => Limits::default(),
                "device" => Limits::device(),
                _ => return None,
            };
            Some(())
        },
        get: |config| {
            let device = config.limits == Limits::device();
            if device { "device" } else { "default" }.to_owned()
        },
    },
    option!(int "limits.connections", limits.connections: usize, 1.., "1 or more",
        "Connections open at the same time. More are closed at once, counted as refused."),
    option!(int "limits.sessions", limits.sessions: usize, 1.., "1 or more",
        "Sessions kept, connected or not. More are refused with 0x97 Quota exceeded."),
    option!(int "limits.packet_bytes", limits.packet_bytes: u32, 128..=268_435_460, "128 to 268435460",
        "Largest packet that a client may send, in bytes; announced as Maximum Packet Size. Larger ones end the connection with 0x95."),
    option!(int "limits.topic_bytes", limits.topic_bytes: usize, 1..=65_535, "1 to 65535",
        "Longest topic name or filter, in bytes."),
    option!(int "limits.topic_levels", limits.topic_levels: usize, 1..=1024, "1 to 1024",
        "Most levels of a topic name or filter."),
    option!(int "limits.client_id_bytes", limits.client_id_bytes: usize, 23..=65_535, "23 to 65535",
        "Longest client identifier, in bytes. Longer ones are refused with 0x85."),
    option!(int "limits.subscriptions_per_client", limits.subscriptions_per_client: usize, 1.., "1 or more",
        "Subscriptions of one client. More are refused with 0x97 (0x80 before 5.0)."),
    option!(int "limits.shared_subscriptions_per_client", limits.shared_subscriptions_per_client: usize, 1.., "1 or more",
        "Shared subscriptions of one client, each of which may bring it a copy of a message. More are refused with 0x97 (0x80 before 5.0)."),
    option!(int "limits.wildcard_patterns_per_client", limits.wildcard_patterns_per_client: usize, 1.., "1 or more",
        "Different patterns of wildcards among the filters of one client: the number of levels, and which of them are + or #. A message matches at most one filter of each pattern, so this bounds its matches and the subscription identifiers that it carries. Filters with one more pattern are refused with 0x97 (0x80 before 5.0)."),
    option!(int "limits.filters_per_packet", limits.filters_per_packet: usize, 1.., "1 or more",
        "Topic filters in one SUBSCRIBE or UNSUBSCRIBE. One more ends the connection, with 0x97 in 5.0."),
    option!(int "limits.user_properties", limits.user_properties: usize, 0.., "0 or more",
        "User properties in one packet; those of a will are counted for themselves. One more ends the connection, with 0x97."),
    option!(int "limits.connect_bytes", limits.connect_bytes: u32, 128..=268_435_460, "128 to 268435460",
        "Largest packet before a client is accepted, its CONNECT with user name, password and will, in bytes, if it is below `limits.packet_bytes`. Larger ones end the connection, with 0x95 in 5.0."),
    option!(int "limits.inflight", limits.inflight: u16, 1.., "1 to 65535",
        "QoS 1 and 2 messages in flight towards one client, unless its Receive Maximum is lower."),
    option!(int "limits.receive_maximum", limits.receive_maximum: u16, 1.., "1 to 65535",
        "QoS 2 messages in flight from one client; announced as Receive Maximum if below 65535."),
    option!(int "limits.session_queue_messages", limits.session_queue_messages: usize, 1.., "1 or more",
        "Messages waiting for one client. What happens beyond is `overflow.session`."),
    option!(int "limits.session_queue_bytes", limits.session_queue_bytes: usize, 1024.., "1024 or more",
        "Bytes waiting for one client: messages queued or in flight, and separately bytes not yet written."),
    option!(int "limits.total_queue_bytes", limits.total_queue_bytes: usize, 1024.., "1024 or more",
        "Bytes waiting for all clients together."),
    option!(int "limits.retained_messages", limits.retained_messages: usize, 0.., "0 or more",
        "Retained messages. More are delivered but not retained."),
    option!(int "limits.retained_bytes", limits.retained_bytes: usize, 0.., "0 or more",
        "Bytes of all retained messages."),
    option!(int "limits.total_bytes", limits.total_bytes: usize, 0.., "0 or more; 0 is no limit",
        "Bytes held for clients in whatever form: connections, sessions, subscriptions, wills, incomplete packets, messages, unwritten output, retained messages. The table in docs/memory.md says what happens to each when it is reached."),
    option!(int "limits.connect_timeout_ms", limits.connect_timeout_ms: u64, 1..=86_400_000, "1 to 86400000",
        "Time from accepting a connection to its CONNECT, authentication included, in milliseconds."),
    option!(int "limits.publish_rate", limits.publish_rate: u32, 0.., "0 or more; 0 is no limit",
        "PUBLISH packets a second of one client, with one second's worth of burst. More end the connection with 0x96."),
    option!(int "limits.connect_rate", limits.connect_rate: u32, 0.., "0 or more; 0 is no limit",
        "New connections a second, with one second's worth of burst. More are closed at once."),
    option!(int "limits.session_expiry_s", limits.session_expiry_s: u32, 0.., "0 to 4294967295; the largest is no limit",
        "Longest session expiry interval, in seconds; a 5.0 client that asks for more is told in CONNACK."),
    option!(int "limits.keep_alive_s", limits.keep_alive_s: u16, 0.., "0 to 65535; 0 is no limit",
        "Longest keep alive of a client, in seconds; a client that asks for more, or for none, gets this one. Announced to 5.0 clients as Server Keep Alive. Clients of 3.1.1 and 3.1 cannot be told: they are disconnected after one and a half times this without a packet, PINGREQ included."),
    option!(int "limits.arrival_rate", limits.arrival_rate: u32, 0.., "0 or more; 0: any byte counts like a packet",
        "Lowest rate, in bytes a second, at which an incomplete packet keeps its client alive: so many of its bytes extend keep alive by one second. A slower client is disconnected after one and a half keep alives, like a silent one."),
    OptionInfo {
        key: "overflow.session",
        kind: OptionKind::Text,
        accepted: "drop_newest, drop_oldest or disconnect",
        doc: "What happens when a client's queue is full. QoS 0 messages to a connected client are always the newest that is dropped, unless it is disconnected.",
        set: |config, value| {
            config.overflow = match value.trim() {
                "drop_newest" => Overflow::DropNewest,
                "drop_oldest" => Overflow::DropOldest,
                "disconnect" => Overflow::Disconnect,
                _ => return None,
            };
            Some(())
        },
        get: |config| {
            match config.overflow {
                Overflow::DropOldest => "drop_oldest",
                Overflow::Disconnect => "disconnect",
                // The default; there is no other one.
                _ => "drop_newest",
            }
            .to_owned()
        },
    },
    OptionInfo {
        key: "mqtt.versions",
        kind: OptionKind::Text,
        accepted: "a list of 3.1, 3.1.1 and 5",
        doc: "Protocol versions that are accepted.",
        set: |config, value| {
            let (mut v31, mut v311, mut v5) = (false, false, false);
            for version in value.split(',') {
                match version.trim() {
                    "3.1" => v31 = true,
                    "3.1.1" => v311 = true,
                    "5" | "5.0" => v5 = true,
                    _ => return None,
                }
            }
            (config.mqtt.v31, config.mqtt.v311, config.mqtt.v5) = (v31, v311, v5);
            Some(())
        },
        get: |config| {
            let mqtt = &config.mqtt;
            let all = [(mqtt.v31, "3.1"), (mqtt.v311, "3.1.1"), (mqtt.v5, "5")];
            let on: Vec<_> = all
                .iter()
                .filter(|(on, _)| *on)
                .map(|(_, name)| *name)
                .collect();
            on.join(",")
        },
    },
    OptionInfo {
        key: "mqtt.maximum_qos",
        kind: OptionKind::Integer,
        accepted: "0, 1 or 2",
        doc: "Highest QoS that clients may publish with and are granted.",
        set: |config, value| {
            config.mqtt.maximum_qos = QoS::from_u8(value.trim().parse().ok()?)?;
            Some(())
        },
        get: |config| (config.mqtt.maximum_qos as u8).to_string(),
    },
    option!(bool "mqtt.retain_available", mqtt.retain_available,
        "Whether retained messages are supported."),
    option!(bool "mqtt.wildcard_available", mqtt.wildcard_available,
        "Whether filters may have wildcards."),
    option!(bool "mqtt.subscription_identifiers_available", mqtt.subscription_identifiers_available,
        "Whether subscription identifiers are supported."),
    option!(bool "mqtt.shared_available", mqtt.shared_available,
        "Whether shared subscriptions are supported."),
    option!(bool "mqtt.shared_v3", mqtt.shared_v3,
        "Whether $share/... is a shared subscription for 3.1.1 and 3.1 clients too, or an ordinary filter."),
    option!(int "mqtt.topic_alias_maximum", mqtt.topic_alias_maximum: u16, 0.., "0 to 65535",
        "Topic aliases that a client may use; announced as Topic Alias Maximum."),
    option!(int "mqtt.topic_alias_outbound", mqtt.topic_alias_outbound: u16, 0.., "0 to 65535",
        "Topic aliases used towards a client, at most what it allows."),
    OptionInfo {
        key: "mqtt.response_information",
        kind: OptionKind::Text,
        accepted: "text of at most 65535 bytes",
        doc: "Response Information for clients that ask for it; empty for none.",
        set: |config, value| {
            (value.len() <= 65_535 && !value.contains('\0'))
                .then(|| config.mqtt.response_information = value.to_owned())
        },
        get: |config| config.mqtt.response_information.clone(),
    },
    option!(bool "mqtt.queue_qos0_offline", mqtt.queue_qos0_offline,
        "Whether QoS 0 messages are queued for disconnected sessions."),
    option!(bool "lenient.receive_maximum", lenient.receive_maximum,
        "Tolerate more QoS 2 messages in flight than Receive Maximum allows, instead of 0x93."),
    option!(bool "lenient.session_user", lenient.session_user,
        "Let a client have or clear a session that another user made, instead of refusing it with 0x87."),
    option!(bool "strict.v31_client_id", strict.v31_client_id,
        "Refuse client identifiers of 3.1 clients that are longer than 23 characters."),
    option!(bool "strict.control_characters", strict.control_characters,
        "Refuse control characters in every text of a packet: 0x81, in a client identifier 0x85."),
    option!(bool "strict.payload_format", strict.payload_format,
        "Check payloads that are marked as UTF-8; 0x99 if they are not."),
    option!(bool "strict.dollar_publish", strict.dollar_publish,
        "Refuse what clients publish to topics that begin with $; otherwise $share alone, and $SYS is dropped."),
    option!(int "sys.interval_s", sys.interval_s: u32, 0..=86_400, "0 to 86400; 0 is never",
        "Seconds between updates of the $SYS topics."),
    option!(int "tcp.keepalive_s", tcp.keepalive_s: u16, 0..=32_767, "0 to 32767; 0 is never",
        "Idle seconds of a TCP connection before the operating system probes the peer (SO_KEEPALIVE). Detects clients without keep alive that have vanished."),
    option!(int "tcp.keepalive_interval_s", tcp.keepalive_interval_s: u16, 1..=32_767, "1 to 32767",
        "Seconds between unanswered TCP probes."),
    option!(int "tcp.keepalive_probes", tcp.keepalive_probes: u8, 1..=127, "1 to 127",
        "Unanswered TCP probes after which a connection is lost."),
    option!(int "hooks.timeout_ms", hooks.timeout_ms: u64, 1..=3_600_000, "1 to 3600000",
        "Time for a deferred answer of a hook, in milliseconds; then the answer is no."),
    option!(bool "shutdown.wills", shutdown.wills,
        "Whether the wills of connected clients are published when the broker stops."),
    option!(int "shutdown.patience_ms", shutdown.patience_ms: u64, 0..=3_600_000, "0 to 3600000",
        "Milliseconds that a stop waits for running hooks and callbacks beyond its drain. Then they are abandoned, named in a warning and counted."),
];

/// All options, in the order of the documentation.
pub fn options() -> &'static [OptionInfo] {
    TABLE
}

/// Sets an option by its key.
///
/// # Errors
/// An unknown key, or a value that the option does not take.
pub fn set(config: &mut Config, key: &str, value: &str) -> Result<(), OptionError> {
    let Some(option) = TABLE.iter().find(|option| option.key == key) else {
        return Err(OptionError::Unknown {
            key: key.to_owned(),
            nearest: nearest(key),
        });
    };
    (option.set)(config, value).ok_or_else(|| OptionError::Value {
        key: option.key,
        value: value.to_owned(),
        accepted: option.accepted,
    })
}

/// Checks a configuration that was changed without [`set`].
pub(crate) fn check(config: &Config) -> Result<(), OptionError> {
    let mut scratch = config.clone();
    for option in TABLE {
        let value = option.value(config);
        if (option.set)(&mut scratch, &value).is_none() {
            return Err(OptionError::Value {
                key: option.key,
                value,
                accepted: option.accepted,
            });
        }
    }
    Ok(())
}

/// The key that takes the fewest changes.
fn nearest(key: &str) -> &'static str {
    let key: String = key.chars().take(64).collect(); // longer than any option
    TABLE
        .iter()
        .map(|option| option.key)
        .min_by_key(|known| strsim::levenshtein(&key, known))
        .unwrap_or("")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_default_can_be_set_again_and_changes_nothing() {
        let mut config = Config::default();
        for option in options() {
            let value = option.default_value();
            set(&mut config, option.key, &value).unwrap();
            assert_eq!(option.value(&config), value, "{}", option.key);
        }
    }

    #[test]
    fn a_preset_is_followed_by_single_limits() {
        let mut config = Config::default();
        let mut put = |key, value: &str| set(&mut config, key, value).unwrap();
        put("limits.inflight", "7");
        put("limits.preset", "device");
        put("limits.sessions", "9");
        let device = Limits::device();
        assert_eq!(config.limits.inflight, device.inflight);
        assert_eq!(config.limits.total_bytes, 4 << 20);
        assert_eq!(config.limits.sessions, 9);
    }

    #[test]
    fn mistakes_are_named() {
        let mut config = Config::default();
        let error = set(&mut config, "limit.inflght", "1").unwrap_err();
        assert_eq!(
            error,
            OptionError::Unknown {
                key: "limit.inflght".into(),
                nearest: "limits.inflight"
            }
        );

        for (key, value) in [
            ("limits.preset", "large"),
            ("limits.inflight", "0"),
            ("limits.inflight", "65536"),
            ("limits.packet_bytes", "x"),
            ("mqtt.maximum_qos", "3"),
            ("mqtt.versions", "4"),
            ("overflow.session", "block"),
            ("sys.interval_s", "-1"),
            ("shutdown.wills", "perhaps"),
        ] {
            assert!(
                matches!(set(&mut config, key, value), Err(OptionError::Value { .. })),
                "{key}"
            );
        }
    }
}
