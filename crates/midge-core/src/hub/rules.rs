//! The rules for a message of a client: said once, for every way that it takes.
//!
//! [`Hub::objection`] is about a message of a client, whether it came with PUBLISH or as a will.
//! [`FastPath::eligible`] says which packets may take the fast path, [`Hub::eligible_route`] and
//! [`Hub::eligible_inside`] say to which receivers; the topics of remembered routes have passed all
//! rules.

use midge_codec::{QoS, ReasonCode};

use super::Hub;
use super::routes::{Route, RouteCache};
use crate::config::Config;
use crate::event::EventMask;
use crate::hooks::HookSet;
use crate::hub::Batch;
use crate::message::MessageRef;
use crate::reason::DropReason;
use crate::router::Router;
use crate::runs::{PUBACK, PUBCOMP, PUBLISH, PUBREC, PUBREL};
use crate::session::Link;

/// Why a client's message is not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Objection {
    pub(crate) reason: ReasonCode,
    pub(crate) what: &'static str,
    pub(crate) answer: Consequence,
}

/// The consequence of an [`Objection`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Consequence {
    /// The connection ends: the client was told before that this is not supported, or it is malformed.
    /// A CONNECT with such a will is refused.
    End,
    /// The message is dropped and its client told so. A CONNECT with such a will is refused.
    Refuse,
    /// The message is dropped under this name and its client told so. A will is dropped alone: its
    /// client may come.
    Drop(DropReason),
}

impl Objection {
    fn ends(reason: ReasonCode, what: &'static str) -> Option<Self> {
        let answer = Consequence::End;
        Some(Self {
            reason,
            what,
            answer,
        })
    }

    /// The name under which the message is counted.
    pub(crate) fn drop_reason(&self) -> DropReason {
        match self.answer {
            Consequence::Drop(reason) => reason,
            Consequence::End | Consequence::Refuse => DropReason::NotAuthorized,
        }
    }
}

/// Which packets of clients may come in runs: known when the hub begins.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct FastPath {
    /// A bit for each QoS of PUBLISH.
    publish: u8,
    acknowledgements: bool,
}

/// Packets that come in a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Eligible {
    /// PUBLISH with neither DUP nor RETAIN.
    Publish,
    /// Acknowledgements, if they are short.
    Acknowledgement,
}

impl FastPath {
    /// PUBLISH may, if [`Hub::objection`] knows all that there is to say, no hook is asked, no rate
    /// counts, and nothing about it is stored; acknowledgements may, if nothing about them is stored.
    pub(super) fn new(config: &Config, hooks: HookSet, is_stored: bool) -> Self {
        let highest = match is_stored {
            true => QoS::AtMostOnce,
            false => config.mqtt.maximum_qos,
        };

        let decides = hooks.intersects(HookSet::PUBLISHING) || config.limits.publish_rate > 0;
        Self {
            publish: if decides { 0 } else { (2 << highest as u8) - 1 },
            acknowledgements: !is_stored,
        }
    }

    /// As what a packet with this first byte may be part of a run, if at all. For PUBLISH
    /// [`Hub::eligible_route`] must agree, too.
    #[inline]
    pub(crate) fn eligible(self, first_byte: u8) -> Option<Eligible> {
        match first_byte {
            _ if first_byte & !QOS == PUBLISH => {
                let is_open = self.publish >> (first_byte >> 1 & 3) & 1 == 1;
                is_open.then_some(Eligible::Publish)
            }
            PUBACK | PUBREC | PUBREL | PUBCOMP => {
                (self.acknowledgements).then_some(Eligible::Acknowledgement)
            }
            _ => None,
        }
    }
}

/// The bits of the QoS in the first byte of PUBLISH.
const QOS: u8 = 0b110;

impl Hub {
    /// The objection to a message that a client wants to publish, if any. Nothing here
    /// depends on the client: hooks decide about that.
    #[inline(always)]
    pub(crate) fn objection(&self, message: &MessageRef<'_>) -> Option<Objection> {
        let config = self.config();
        let (topic, limits) = (message.topic, &config.limits);
        if message.qos > config.mqtt.maximum_qos {
            // MQTT-3.2.2-11, MQTT-3.2.2-12
            let reason = ReasonCode::QoSNotSupported;
            return Objection::ends(reason, "QoS above Maximum QoS");
        }

        if message.retain && !config.mqtt.retain_available {
            // MQTT-3.2.2-13, MQTT-3.2.2-14
            let reason = ReasonCode::RetainNotSupported;
            return Objection::ends(reason, "retained messages are not supported here");
        }

        if topic.len() >= limits.topic_bytes.min(limits.topic_levels)
            && let Err(what) = self.check_topic(topic)
        {
            return Objection::ends(ReasonCode::TopicNameInvalid, what);
        }

        let strict = &config.strict;
        if topic.starts_with('$') || strict.payload_format {
            return self.seldom_objection(message);
        }

        None
    }

    /// The same for a will. One that is dropped whatever it is like keeps no client out: a bridge with
    /// default settings has a retained one of QoS 1 under `$SYS`.
    pub(crate) fn will_objection(&self, will: &MessageRef<'_>) -> Option<Objection> {
        let reserved = reserved(will.topic, self.config().strict.dollar_publish);
        let dropped = reserved.filter(|it| matches!(it.answer, Consequence::Drop(_)));

        dropped.or_else(|| self.objection(will))
    }

    #[cold]
    fn seldom_objection(&self, message: &MessageRef<'_>) -> Option<Objection> {
        let strict = &self.config().strict;
        if let Some(objection) = reserved(message.topic, strict.dollar_publish) {
            return Some(objection);
        }

        if strict.payload_format
            && message.properties.payload_format == Some(1)
            && std::str::from_utf8(message.payload).is_err()
        {
            // There is no acknowledgement that could tell it.
            let answer = match message.qos {
                QoS::AtMostOnce => Consequence::End,
                QoS::AtLeastOnce | QoS::ExactlyOnce => Consequence::Refuse,
            };
            return Some(Objection {
                reason: ReasonCode::PayloadFormatInvalid,
                what: "the payload is marked as UTF-8 and is not",
                answer,
            });
        }
        None
    }

    /// The route on which eligible PUBLISH packets may leave in a run, if any: the one of the message
    /// before, whose receivers take messages as they come, while no observer wants to see them on
    /// their way. [`Hub::is_current`] has to say the same under the router's lock.
    #[inline]
    pub(super) fn eligible_route<'a>(
        &self,
        routes: &'a RouteCache,
        qos: QoS,
        batch: &Batch,
    ) -> Option<&'a Route> {
        let route = routes.last()?;
        let watched = batch.wants(EventMask::PUBLISHED.union(EventMask::DELIVERED));
        // An acknowledgement says if there is no receiver.
        let tells_of_none = qos != QoS::AtMostOnce && route.targets.is_empty();
        (route.verbatim && !watched && !tells_of_none).then_some(route)
    }

    /// Whether an eligible route is still valid, and the connection still has its session.
    #[inline]
    pub(super) fn is_current(&self, route: &Route, link: &Link, router: &Router) -> bool {
        router.generation() == route.generation && link.ended().is_none()
    }

    /// The route on which a message of the host stays inside, if any: see [`super::fast_path::inside`].
    #[inline]
    pub(super) fn eligible_inside<'a>(
        &self,
        routes: &'a RouteCache,
        message: &MessageRef<'_>,
    ) -> Option<&'a Route> {
        let asked = self.hooks.intersects(HookSet::PUBLISHING)
            || self.env.taps.mask() & EventMask::PUBLISHED.0 != 0;
        if asked || message.retain || message.expiry.is_some() {
            return None;
        }
        (routes.last()).filter(|route| route.inside && *route.topic == *message.topic)
    }
}

/// Topics that clients may not publish to (MQTT-4.7.2-1 and the text around it).
fn reserved(topic: &str, strictly: bool) -> Option<Objection> {
    let below = |root: &str| {
        topic
            .strip_prefix(root)
            .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    };

    let (what, answer) = if strictly && topic.starts_with('$') {
        let what = "clients may not publish to topics that begin with $";
        (what, Consequence::Refuse)
    } else if below("$share") {
        let what = "clients may not publish to topics that begin with $share";
        (what, Consequence::Refuse)
    } else if below("$SYS") {
        let what = "the topics that begin with $SYS are the broker's own";
        (what, Consequence::Drop(DropReason::ReservedTopic))
    } else {
        return None;
    };

    Some(Objection {
        reason: ReasonCode::NotAuthorized,
        what,
        answer,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn first_bytes_that_may_leave_in_runs() {
        let taken = |config: &Config, hooks, is_stored| {
            let path = FastPath::new(config, hooks, is_stored);
            (0..=u8::MAX)
                .filter(|header| path.eligible(*header) == Some(Eligible::Publish))
                .collect::<Vec<_>>()
        };
        let mut config = Config::default();
        assert_eq!(taken(&config, HookSet::NONE, false), [0x30, 0x32, 0x34]);
        assert_eq!(taken(&config, HookSet::NONE, true), [0x30]);
        assert_eq!(taken(&config, HookSet::LIFE, true), [0x30]);
        assert!(taken(&config, HookSet::PUBLISHING, false).is_empty());
        config.mqtt.maximum_qos = QoS::AtLeastOnce;
        assert_eq!(taken(&config, HookSet::NONE, false), [0x30, 0x32]);
        config.mqtt.maximum_qos = QoS::AtMostOnce;
        assert_eq!(taken(&config, HookSet::NONE, false), [0x30]);
        config.limits.publish_rate = 1;
        assert!(taken(&config, HookSet::NONE, false).is_empty());
    }

    #[test]
    fn acknowledgements_come_in_runs_unless_they_are_stored() {
        for is_stored in [false, true] {
            let path = FastPath::new(&Config::default(), HookSet::ALL, is_stored);
            let taken: Vec<u8> = (0..=u8::MAX)
                .filter(|header| path.eligible(*header).is_some())
                .collect();
            let all: &[u8] = &[0x40, 0x50, 0x62, 0x70];
            assert_eq!(taken, if is_stored { &[] } else { all });
        }
    }

    #[test]
    fn reserved_topics() {
        let answer = |topic, strictly| reserved(topic, strictly).map(|objection| objection.answer);
        let dropped = Some(Consequence::Drop(DropReason::ReservedTopic));
        for (topic, loosely) in [
            ("a/$SYS", None),
            ("$", None),
            ("$aws/things", None),
            ("$SYSTEM", None),
            ("$shared/a", None),
            ("$SYS", dropped),
            ("$SYS/broker/connection/x/state", dropped),
            ("$share", Some(Consequence::Refuse)),
            ("$share/g/a", Some(Consequence::Refuse)),
        ] {
            assert_eq!(answer(topic, false), loosely, "{topic}");
            let strictly = topic.starts_with('$').then_some(Consequence::Refuse);
            assert_eq!(answer(topic, true), strictly, "{topic}");
        }
    }
}
