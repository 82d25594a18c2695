//! The rows and changes of a store as bytes, and back, field by field.

use bytes::Bytes;
use midge_codec::{Properties, PropertiesBuf, QoS, RetainHandling, SubscriptionOptions, Version};
use midge_core::{
    Message, Op, Origin, OwnedMessage, SharedMessage, StoredDelivery, StoredMessage, StoredSession,
    StoredSubscription, StoredWill, Tick,
};

use super::bytes::{Reader, Writer};

impl Writer {
    fn origin(&mut self, origin: &Origin) {
        let (kind, name) = match origin {
            Origin::Client(name) => (0, &**name),
            Origin::Host => (1, ""),
            Origin::Will(name) => (2, &**name),
            Origin::Broker => (3, ""),
            Origin::Bridge(name) => (4, &**name),
            other => panic!("an origin that is not known here: {other:?}"),
        };
        self.u8(kind);
        self.text(name);
    }

    fn message(&mut self, message: &Message) {
        self.u64(message.id());
        self.text(message.topic());
        self.bytes(message.payload());
        self.u8(message.qos() as u8);
        self.bool(message.retain());
        self.origin(message.origin());
        self.u64(message.expires().0);
        self.bytes(message.properties().as_bytes());
    }

    fn will(&mut self, will: &StoredWill) {
        let message = &will.message;
        self.text(&message.topic);
        self.bytes(&message.payload);
        self.u8(message.qos as u8);
        self.bool(message.retain);
        self.option(message.expiry, Self::u32);
        self.bytes(message.properties.as_properties().as_bytes());
        self.u32(will.delay_s);
    }

    fn session(&mut self, session: &StoredSession) {
        self.u32(session.expiry_s);
        self.option(session.disconnected, |out, at| out.u64(at.0));
        self.option(session.username.as_deref(), Self::text);
        self.text(&session.listener);
        self.u8(match session.version {
            Version::V31 => 3,
            Version::V311 => 4,
            Version::V5 => 5,
        });
        self.option(session.will.as_ref(), Self::will);
        self.u64(session.identifiers);
        self.u64(session.sent);
    }

    fn subscription(&mut self, subscription: &StoredSubscription) {
        let options = &subscription.options;
        self.text(&subscription.filter);
        self.u8(options.qos as u8);
        self.bool(options.no_local);
        self.bool(options.retain_as_published);
        self.u8(options.retain_handling as u8);
        self.option(subscription.subscription_id, Self::u32);
        self.bool(subscription.shared);
    }

    fn delivery(&mut self, delivery: &StoredDelivery) {
        self.message(&delivery.message);
        self.u8(delivery.qos as u8);
        self.bool(delivery.retain);
        self.u32(delivery.subscription_ids.len() as u32);
        for id in &delivery.subscription_ids {
            self.u32(*id);
        }
        self.option(delivery.group.as_deref(), Self::text);
        self.option(delivery.original.as_deref(), Self::message);
        self.u16(delivery.packet_id);
        self.bool(delivery.released);
    }

    fn packet(&mut self, kind: u8, client_id: &str, packet_id: u16) {
        self.u8(kind);
        self.text(client_id);
        self.u16(packet_id);
    }

    pub(super) fn op(&mut self, op: &Op) {
        match op {
            Op::Session { client_id, session } => {
                self.u8(0);
                self.text(client_id);
                self.session(session);
            }
            Op::SessionEnded { client_id } => {
                self.u8(1);
                self.text(client_id);
            }

            Op::Subscribed {
                client_id,
                subscription,
            } => {
                self.u8(2);
                self.text(client_id);
                self.subscription(subscription);
            }
            Op::Unsubscribed { client_id, filter } => {
                self.u8(3);
                self.text(client_id);
                self.text(filter);
            }

            Op::Taken {
                client_id,
                delivery,
            } => {
                self.u8(4);
                self.text(client_id);
                self.delivery(delivery);
            }
            Op::Released {
                client_id,
                message_id,
                packet_id,
            } => {
                self.packet(5, client_id, *packet_id);
                self.u64(*message_id);
            }
            Op::Done {
                client_id,
                message_id,
                packet_id,
            } => {
                self.packet(6, client_id, *packet_id);
                self.u64(*message_id);
            }

            Op::Opened {
                client_id,
                packet_id,
            } => self.packet(7, client_id, *packet_id),
            Op::Closed {
                client_id,
                packet_id,
            } => self.packet(8, client_id, *packet_id),
            Op::Retained { message } => {
                self.u8(9);
                self.message(message);
            }
            Op::RetainedRemoved { topic } => {
                self.u8(10);
                self.text(topic);
            }
            other => panic!("a change that is not known here: {other:?}"),
        }
    }
}

impl Reader<'_> {
    fn qos(&mut self) -> Option<QoS> {
        QoS::from_u8(self.u8()?)
    }

    fn origin(&mut self) -> Option<Origin> {
        let (kind, name) = (self.u8()?, self.name()?);
        Some(match kind {
            0 => Origin::Client(name),
            1 => Origin::Host,
            2 => Origin::Will(name),
            3 => Origin::Broker,
            4 => Origin::Bridge(name),
            _ => return None,
        })
    }

    fn payload(&mut self) -> Option<Bytes> {
        self.bytes().map(Bytes::copy_from_slice)
    }

    fn properties(&mut self) -> Option<PropertiesBuf> {
        Some(Properties::from_block(self.bytes()?).into())
    }

    fn message(&mut self) -> Option<SharedMessage> {
        let (id, topic, payload) = (self.u64()?, self.text()?, self.payload()?);
        let mut message = StoredMessage::new(id, topic, payload);
        message.qos = self.qos()?;
        message.retain = self.bool()?;
        message.origin = self.origin()?;
        message.expires = Tick(self.u64()?);
        message.properties = self.properties()?;

        Some(message.into())
    }

    fn will(&mut self) -> Option<StoredWill> {
        let mut message = OwnedMessage::new(self.text()?, self.payload()?);
        message.qos = self.qos()?;
        message.retain = self.bool()?;
        message.expiry = self.option(Self::u32)?;
        message.properties = self.properties()?;
        Some(StoredWill::new(message, self.u32()?))
    }

    fn session(&mut self) -> Option<StoredSession> {
        let mut session = StoredSession::new(self.u32()?);
        session.disconnected = self.option(Self::u64)?.map(Tick);
        session.username = self.option(Self::name)?;
        session.listener = self.name()?;
        session.version = match self.u8()? {
            3 => Version::V31,
            4 => Version::V311,
            5 => Version::V5,
            _ => return None,
        };
        session.will = self.option(Self::will)?;
        session.identifiers = self.u64()?;
        session.sent = self.u64()?;
        Some(session)
    }

    fn subscription(&mut self) -> Option<StoredSubscription> {
        let filter = self.text()?;
        let options = SubscriptionOptions {
            qos: self.qos()?,
            no_local: self.bool()?,
            retain_as_published: self.bool()?,
            retain_handling: match self.u8()? {
                0 => RetainHandling::Send,
                1 => RetainHandling::SendIfNew,
                2 => RetainHandling::DoNotSend,
                _ => return None,
            },
        };

        let mut subscription = StoredSubscription::new(filter, options);
        subscription.subscription_id = self.option(Self::u32)?;
        subscription.shared = self.bool()?;
        Some(subscription)
    }

    fn delivery(&mut self) -> Option<StoredDelivery> {
        let (message, qos) = (self.message()?, self.qos()?);
        let mut delivery = StoredDelivery::new(message, qos, 0);
        delivery.retain = self.bool()?;
        for _ in 0..self.u32()? {
            delivery.subscription_ids.push(self.u32()?);
        }
        delivery.group = self.option(Self::name)?;
        delivery.original = self.option(Self::message)?;
        delivery.packet_id = self.u16()?;
        delivery.released = self.bool()?;
        Some(delivery)
    }

    pub(super) fn op(&mut self) -> Option<Op> {
        let kind = self.u8()?;
        // The topic of a retained message that goes stands where the others name their session.
        let client_id = if kind == 9 { "".into() } else { self.name()? };

        Some(match kind {
            0 => Op::Session {
                client_id,
                session: self.session()?,
            },
            1 => Op::SessionEnded { client_id },

            2 => Op::Subscribed {
                client_id,
                subscription: self.subscription()?,
            },
            3 => Op::Unsubscribed {
                client_id,
                filter: self.name()?,
            },

            4 => Op::Taken {
                client_id,
                delivery: self.delivery()?,
            },
            5 => Op::Released {
                client_id,
                packet_id: self.u16()?,
                message_id: self.u64()?,
            },

            6 => Op::Done {
                client_id,
                packet_id: self.u16()?,
                message_id: self.u64()?,
            },
            7 => Op::Opened {
                client_id,
                packet_id: self.u16()?,
            },
            8 => Op::Closed {
                client_id,
                packet_id: self.u16()?,
            },

            9 => Op::Retained {
                message: self.message()?,
            },
            10 => Op::RetainedRemoved { topic: client_id },
            _ => return None,
        })
    }
}
