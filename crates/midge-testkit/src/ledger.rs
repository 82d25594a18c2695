//! What one connection has seen so far, and the rules that only this memory can check.

use std::collections::{HashMap, VecDeque};

use crate::packet::{Ack, Auth, Codes, Connack, Kind, Message, Packet};
use crate::props::{Props, id, read};
use crate::reader::Reader;

/// A message of the broker that the client has not finished.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Open {
    Qos1,
    Qos2,
    /// PUBREC was sent.
    Received,
}

/// What the client said in its CONNECT.
#[derive(Debug)]
struct Facts {
    clean: bool,
    no_client_id: bool,
    props: Props,
}

impl Facts {
    fn number(&self, id: u8, default: u32) -> u32 {
        self.props.number(id).unwrap_or(default)
    }
}

/// The memory of a connection.
#[derive(Debug)]
pub(crate) struct Ledger {
    pub(crate) version: u8,
    facts: Option<Facts>,
    connack: Option<u8>,
    ended: bool,
    aliases: HashMap<u16, String>,
    open: HashMap<u16, Open>,
    /// Acknowledgements that the broker owes, by kind and packet identifier.
    owed: HashMap<(Kind, u16), usize>,
    /// Option bytes of SUBSCRIBE (8) and number of filters of UNSUBSCRIBE (10) without an answer.
    requests: HashMap<(u8, u16), VecDeque<Vec<u8>>>,
}

impl Ledger {
    pub(crate) fn new() -> Self {
        Self {
            version: 5,
            facts: None,
            connack: None,
            ended: false,
            aliases: HashMap::new(),
            open: HashMap::new(),
            owed: HashMap::new(),
            requests: HashMap::new(),
        }
    }

    /// How many QoS 1 and 2 messages of the broker wait for this client.
    pub(crate) fn open(&self) -> usize {
        self.open.len()
    }

    /// Takes note of what the client sends, as far as it is well-formed.
    pub(crate) fn outgoing(&mut self, bytes: &[u8]) {
        let mut rest = Reader::new(bytes);
        while let Ok(first) = rest.u8() {
            let Ok(length) = rest.var() else { return };
            let Ok(body) = rest.take(length as usize) else {
                return;
            };
            // A packet that can't be understood is one that the broker must refuse.
            if self.note(first, body).is_err() {
                return;
            }
        }
    }

    fn note(&mut self, first: u8, body: &[u8]) -> Result<(), String> {
        let mut body = Reader::new(body);
        match first >> 4 {
            1 if self.facts.is_none() => self.note_connect(&mut body)?,
            3 if first & 0x06 != 0 => {
                body.binary()?;
                let id = body.u16()?;
                let kind = if first & 0x06 == 2 {
                    Kind::Puback
                } else {
                    Kind::Pubrec
                };
                *self.owed.entry((kind, id)).or_default() += 1;
            }

            4 => {
                let id = body.u16()?;
                if self.open.get(&id) == Some(&Open::Qos1) {
                    self.open.remove(&id);
                }
            }
            5 => {
                let id = body.u16()?;
                let refused = body.u8().is_ok_and(|code| code >= 0x80);
                if self.open.get(&id) == Some(&Open::Qos2) {
                    if refused {
                        self.open.remove(&id);
                    } else {
                        self.open.insert(id, Open::Received);
                    }
                }
                *self.owed.entry((Kind::Pubrel, id)).or_default() += 1;
            }

            6 => *self.owed.entry((Kind::Pubcomp, body.u16()?)).or_default() += 1,
            7 => {
                let id = body.u16()?;
                if self.open.get(&id) == Some(&Open::Received) {
                    self.open.remove(&id);
                }
            }
            kind @ (8 | 10) => {
                let id = body.u16()?;
                if self.version == 5 {
                    let length = body.var()?;
                    body.take(length as usize)?;
                }
                let mut filters = Vec::new();
                while body.binary().is_ok() {
                    filters.push(if kind == 8 { body.u8()? } else { 0 });
                }
                self.requests
                    .entry((kind, id))
                    .or_default()
                    .push_back(filters);
            }
            _ => {}
        }

        Ok(())
    }

    fn note_connect(&mut self, body: &mut Reader<'_>) -> Result<(), String> {
        body.binary()?;
        // A bridge of 3.1 or 3.1.1 adds a bit.
        self.version = body.u8()? & 0x7f;
        let flags = body.u8()?;
        body.u16()?;
        let props = if self.version == 5 {
            read(body, &id::ALL)?
        } else {
            Props::default()
        };
        let no_client_id = body.binary()?.is_empty();
        self.facts = Some(Facts {
            clean: flags & 2 != 0,
            no_client_id,
            props,
        });
        Ok(())
    }

    /// Checks a packet of the broker of `size` bytes and fills in a topic that came as an alias.
    pub(crate) fn incoming(&mut self, packet: &mut Packet, size: usize) -> Result<(), String> {
        if self.ended {
            return Err("a packet after DISCONNECT (MQTT-3.14.4-1)".into());
        }

        let limit = self.fact(id::MAXIMUM_PACKET_SIZE, u32::MAX);
        if size > limit as usize {
            return Err(format!(
                "{size} bytes, the client takes {limit} (MQTT-3.1.2-24)"
            ));
        }

        let early = matches!(packet, Packet::Connack(_) | Packet::Auth(_));
        if self.connack != Some(0) && !early {
            return Err("a packet before CONNACK (MQTT-3.2.0-1, MQTT-3.14.0-1)".into());
        }

        match packet {
            Packet::Connack(connack) => self.connack(connack),
            Packet::Publish(message) => self.publish(message),
            Packet::Ack(ack) => {
                self.no_problem_information(&ack.props)?;
                self.ack(ack)
            }
            Packet::Suback(codes) => self.suback(codes),
            Packet::Unsuback(codes) => self.answer(10, codes).map(|_| ()),
            Packet::Pingresp => Ok(()),
            Packet::Disconnect(_) => {
                self.ended = true;
                Ok(())
            }
            Packet::Auth(auth) => self.auth(auth),
        }
    }

    fn fact(&self, id: u8, default: u32) -> u32 {
        self.facts
            .as_ref()
            .map_or(default, |facts| facts.number(id, default))
    }

    fn method(&self) -> Option<&str> {
        self.facts
            .as_ref()
            .and_then(|facts| facts.props.text(id::AUTHENTICATION_METHOD))
    }

    fn connack(&mut self, connack: &Connack) -> Result<(), String> {
        if self.connack.replace(connack.code).is_some() {
            return Err("a second CONNACK (MQTT-3.2.0-2)".into());
        }

        let props = &connack.props;
        if props.has(id::RESPONSE_INFORMATION)
            && self.fact(id::REQUEST_RESPONSE_INFORMATION, 0) == 0
        {
            return Err("Response Information unasked (MQTT-3.1.2-28)".into());
        }

        let method = props.text(id::AUTHENTICATION_METHOD);
        if connack.code == 0 && method != self.method() {
            return Err(format!(
                "Authentication Method {method:?} (MQTT-4.12.0-5, -6)"
            ));
        }

        let Some(facts) = &self.facts else {
            return Ok(());
        };

        if facts.clean && connack.session_present {
            return Err("Session Present with Clean Start (MQTT-3.2.2-2)".into());
        }

        let assigned = props.has(id::ASSIGNED_CLIENT_IDENTIFIER);
        if self.version == 5 && connack.code == 0 && assigned != facts.no_client_id {
            return Err(
                "Assigned Client Identifier must answer an empty one (MQTT-3.2.2-16)".into(),
            );
        }

        Ok(())
    }

    fn publish(&mut self, message: &mut Message) -> Result<(), String> {
        if let Some(alias) = message.props.number(id::TOPIC_ALIAS) {
            self.alias(alias, message)?;
        }
        if message.qos == 0 {
            return Ok(());
        }

        let state = if message.qos == 1 {
            Open::Qos1
        } else {
            Open::Qos2
        };

        if self.open.insert(message.id, state).is_some() {
            return Err(format!(
                "packet identifier {} is in use (MQTT-2.2.1-4, MQTT-4.4.0-1)",
                message.id
            ));
        }

        let limit = self.fact(id::RECEIVE_MAXIMUM, 65_535);
        if self.open.len() > limit as usize {
            return Err(format!(
                "more than {limit} messages in flight (MQTT-3.3.4-9)"
            ));
        }

        Ok(())
    }

    fn alias(&mut self, alias: u32, message: &mut Message) -> Result<(), String> {
        let limit = self.fact(id::TOPIC_ALIAS_MAXIMUM, 0);
        if alias > limit {
            return Err(format!(
                "alias {alias} of at most {limit} (MQTT-3.1.2-26, -27)"
            ));
        }
        let alias = u16::try_from(alias).map_err(|error| error.to_string())?;
        if message.topic.is_empty() {
            let topic = self
                .aliases
                .get(&alias)
                .ok_or("an alias without a topic (MQTT-3.3.2-7)")?;
            message.topic.clone_from(topic);
        } else {
            self.aliases.insert(alias, message.topic.clone());
        }
        Ok(())
    }

    fn ack(&mut self, ack: &Ack) -> Result<(), String> {
        let key = (ack.kind, ack.id);
        if ack.kind == Kind::Pubrel {
            return match self.open.get(&ack.id) {
                Some(Open::Received) | None => Ok(()),
                Some(_) => Err(format!("PUBREL {} before PUBREC", ack.id)),
            };
        }
        match self.owed.get_mut(&key) {
            Some(count) if *count > 0 => {
                *count -= 1;
                Ok(())
            }
            _ => Err(format!(
                "{:?} {} answers nothing (MQTT-2.2.1-5)",
                ack.kind, ack.id
            )),
        }
    }

    /// MQTT-3.1.2-29.
    fn no_problem_information(&self, props: &Props) -> Result<(), String> {
        let asked = self.fact(id::REQUEST_PROBLEM_INFORMATION, 1) == 1;
        let told = props.has(id::REASON_STRING) || props.has(id::USER_PROPERTY);
        if told && !asked {
            return Err("problem information unasked (MQTT-3.1.2-29)".into());
        }
        Ok(())
    }

    fn suback(&mut self, suback: &Codes) -> Result<(), String> {
        let options = self.answer(8, suback)?;
        for (code, options) in suback.codes.iter().zip(options) {
            if *code < 0x80 && *code > options & 3 {
                return Err(format!(
                    "granted {code}, asked {} (MQTT-3.8.4-7)",
                    options & 3
                ));
            }
        }
        Ok(())
    }

    /// The request that SUBACK or UNSUBACK answers (MQTT-2.2.1-6, MQTT-3.8.4-6, MQTT-3.11.3-2).
    fn answer(&mut self, kind: u8, codes: &Codes) -> Result<Vec<u8>, String> {
        self.no_problem_information(&codes.props)?;
        let request = self
            .requests
            .get_mut(&(kind, codes.id))
            .and_then(VecDeque::pop_front);
        let filters = request.ok_or_else(|| format!("{} answers nothing", codes.id))?;
        let silent = kind == 10 && self.version != 5;
        if !silent && filters.len() != codes.codes.len() {
            return Err(format!(
                "{} codes for {} filters",
                codes.codes.len(),
                filters.len()
            ));
        }
        Ok(filters)
    }

    fn auth(&self, auth: &Auth) -> Result<(), String> {
        self.no_problem_information(&auth.props)?;
        let method = auth.props.text(id::AUTHENTICATION_METHOD);
        if method.is_none() || method != self.method() {
            return Err(format!("AUTH with method {method:?} (MQTT-4.12.0-5, -6)"));
        }
        if self.connack.is_none() && auth.code != 0x18 {
            return Err(format!(
                "AUTH {:#04x} before CONNACK (MQTT-4.12.0-2)",
                auth.code
            ));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::build::{Connect, Publish, Subscribe, ack, ack_code, unsubscribe};
    use crate::parse::parse;
    use crate::wire::{PropsBuf, Wire};

    /// What the ledger says to a packet of the broker.
    fn hear(ledger: &mut Ledger, bytes: &[u8]) -> Result<(), String> {
        let (mut packet, size) = parse(bytes, ledger.version).expect("legal").expect("whole");
        ledger.incoming(&mut packet, size)
    }

    fn connected(connect: &Connect) -> Ledger {
        let mut ledger = Ledger::new();
        ledger.outgoing(&connect.bytes());
        hear(&mut ledger, &[0x20, 3, 0, 0, 0]).expect("a CONNACK");
        ledger
    }

    fn message(topic: &str, qos: u8, id: u16) -> Publish {
        Publish::new(topic, "").qos(qos, id)
    }

    #[test]
    fn connack_is_first_and_fits_the_connect() {
        let mut ledger = Ledger::new();
        ledger.outgoing(&Connect::v5("a").bytes());
        assert!(
            hear(&mut ledger, &[0xe0, 1, 0x81]).is_err(),
            "DISCONNECT before CONNACK"
        );
        assert!(
            hear(&mut ledger, &[0x20, 3, 1, 0, 0]).is_err(),
            "session present, clean start"
        );
        assert!(
            hear(&mut ledger, &[0x20, 3, 0, 0, 0]).is_err(),
            "a second CONNACK"
        );

        let id = PropsBuf::new().text(id::ASSIGNED_CLIENT_IDENTIFIER, "x");
        let info = PropsBuf::new().text(id::RESPONSE_INFORMATION, "x");
        let method = PropsBuf::new().text(id::AUTHENTICATION_METHOD, "x");
        for (connect, props) in [
            (Connect::v5("a"), &id),
            (Connect::v5(""), &PropsBuf::new()),
            (Connect::v5("a"), &info),
            (Connect::v5("a"), &method),
            (Connect::v5("a").props(method.clone()), &PropsBuf::new()),
            (Connect::v5("a").maximum_packet_size(4), &PropsBuf::new()),
        ] {
            let mut ledger = Ledger::new();
            ledger.outgoing(&connect.bytes());
            let connack = Wire::new().u8(0).u8(0).props(props).packet(0x20);
            assert!(
                hear(&mut ledger, &connack).is_err(),
                "{connect:?} {props:?}"
            );
        }
    }

    #[test]
    fn limits_of_the_client_are_kept() {
        let connect = Connect::v5("a").receive_maximum(2).topic_alias_maximum(1);
        let mut ledger = connected(&connect.maximum_packet_size(20));
        assert!(hear(&mut ledger, &message("a", 0, 0).alias(2).bytes()).is_err());
        assert!(hear(&mut ledger, &message("", 0, 0).alias(1).bytes()).is_err());
        hear(&mut ledger, &message("t", 0, 0).alias(1).bytes()).expect("alias 1");
        hear(&mut ledger, &message("", 0, 0).alias(1).bytes()).expect("alias 1 again");
        assert!(hear(&mut ledger, &message("a/long/topic/name", 0, 0).bytes()).is_err());
        hear(&mut ledger, &message("t", 1, 7).bytes()).expect("first");
        assert!(
            hear(&mut ledger, &message("t", 1, 7).dup().bytes()).is_err(),
            "id in use"
        );
        hear(&mut ledger, &message("t", 2, 8).bytes()).expect("second");
        assert!(
            hear(&mut ledger, &[0x62, 2, 0, 8]).is_err(),
            "PUBREL before PUBREC"
        );
        ledger.outgoing(&ack(Kind::Pubrec, 8));
        hear(&mut ledger, &[0x62, 2, 0, 8]).expect("PUBREL");
        ledger.outgoing(&ack(Kind::Puback, 8));
        assert_eq!(ledger.open(), 2, "PUBACK does not end QoS 2");
        ledger.outgoing(&ack(Kind::Puback, 7));
        hear(&mut ledger, &message("t", 2, 9).bytes()).expect("a free slot");
        ledger.outgoing(&ack_code(Kind::Pubrec, 9, 0x80));
        hear(&mut ledger, &message("t", 1, 10).bytes()).expect("a slot freed by refusal");

        assert!(
            hear(&mut ledger, &message("t", 1, 11).bytes()).is_err(),
            "receive maximum"
        );
    }

    #[test]
    fn answers_belong_to_requests() {
        let props = PropsBuf::new().u8(id::REQUEST_PROBLEM_INFORMATION, 0);
        let mut ledger = connected(&Connect::v5("a").props(props));
        assert!(
            hear(&mut ledger, &[0x40, 2, 0, 1]).is_err(),
            "PUBACK for nothing"
        );
        ledger.outgoing(&message("t", 1, 1).bytes());
        assert!(
            hear(&mut ledger, &[0x50, 2, 0, 1]).is_err(),
            "PUBREC for QoS 1"
        );
        let told = PropsBuf::new().text(id::REASON_STRING, "why");
        let told = crate::build::ack_full(Kind::Puback, 1, 0x87, &told);
        assert!(hear(&mut ledger, &told).is_err(), "reason string unasked");
        hear(&mut ledger, &[0x40, 2, 0, 1]).expect("PUBACK");
        assert!(hear(&mut ledger, &[0x40, 2, 0, 1]).is_err(), "PUBACK twice");

        ledger.outgoing(&Subscribe::new(5).filter("a", 1).filter("b", 0).bytes());
        ledger.outgoing(&Subscribe::new(6).filter("a", 1).bytes());
        ledger.outgoing(&unsubscribe(5, 7, &PropsBuf::new(), &["a"]));
        assert!(
            hear(&mut ledger, &[0x90, 4, 0, 4, 0, 0]).is_err(),
            "SUBACK for nothing"
        );
        assert!(
            hear(&mut ledger, &[0x90, 4, 0, 5, 0, 0]).is_err(),
            "one code for two filters"
        );
        assert!(
            hear(&mut ledger, &[0x90, 4, 0, 6, 0, 2]).is_err(),
            "more than asked"
        );
        assert!(
            hear(&mut ledger, &[0xb0, 5, 0, 7, 0, 0, 0]).is_err(),
            "two codes for one filter"
        );
        hear(&mut ledger, &[0xe0, 1, 0x8b]).expect("DISCONNECT");
        assert!(
            hear(&mut ledger, &[0xd0, 0]).is_err(),
            "a packet after DISCONNECT"
        );
    }
}
