//! `midge pub` and `midge sub`.

use std::collections::VecDeque;
use std::io::Read;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use clap::Args;
use midge_codec::{
    Packet, Properties, Publish as PublishPacket, QoS, Subscribe as SubscribePacket,
    SubscribeFilter, SubscriptionOptions, TopicFilter,
};

use crate::client::{Client, Target, check_topic, refused, user_properties};
use crate::config::pair;
use crate::{Failure, Outcome, print};

fn qos(text: &str) -> Result<QoS, String> {
    let number = text.parse().map_err(|_| "expected 0, 1 or 2")?;
    QoS::from_u8(number).ok_or_else(|| "expected 0, 1 or 2".to_owned())
}

/// Arguments of `midge pub`.
#[derive(Args)]
pub(crate) struct Publish {
    #[command(flatten)]
    target: Target,
    /// Topic name.
    #[arg(short, long)]
    topic: String,
    /// Payload.
    #[arg(short, long, conflicts_with = "file")]
    message: Option<String>,
    /// File with the payload; without it and without --message the standard input is read.
    #[arg(short, long)]
    file: Option<PathBuf>,
    /// QoS.
    #[arg(short, long, default_value = "0", value_parser = qos)]
    qos: QoS,
    /// Have it retained.
    #[arg(short, long)]
    retain: bool,
    /// A user property, for MQTT 5; may be given more than once.
    #[arg(long, value_name = "NAME=VALUE", value_parser = pair)]
    property: Vec<(String, String)>,
}

impl Publish {
    pub(crate) fn run(self) -> Outcome {
        check_topic(&self.topic)?;
        let has_properties = !self.property.is_empty();
        self.target.needs_v5(has_properties, "--property")?;

        let payload = match (&self.message, &self.file) {
            (Some(message), _) => message.clone().into_bytes(),
            (None, Some(file)) => std::fs::read(file)
                .map_err(|error| Failure::new(format!("{}: {error}", file.display())))?,
            (None, None) => {
                let mut payload = Vec::new();
                std::io::stdin()
                    .read_to_end(&mut payload)
                    .map_err(Failure::new)?;
                payload
            }
        };

        let properties = user_properties(&self.property)?;
        let mut client = Client::connect(&self.target)?;
        client.send(&Packet::Publish(PublishPacket {
            dup: false,
            qos: self.qos,
            retain: self.retain,
            topic: &self.topic,
            packet_id: if self.qos == QoS::AtMostOnce { 0 } else { 1 },
            properties: properties.as_properties(),
            payload: &payload,
        }))?;

        match self.qos {
            QoS::AtMostOnce => {}
            QoS::AtLeastOnce => client.expect(|packet| match packet {
                Packet::Puback(ack) if ack.reason.is_error() => Err(refused(
                    "message",
                    ack.reason,
                    ack.properties.reason_string(),
                )),
                Packet::Puback(_) => Ok(Some(())),
                _ => Ok(None),
            })?,
            QoS::ExactlyOnce => {
                client.expect(|packet| match packet {
                    Packet::Pubrec(ack) if ack.reason.is_error() => Err(refused(
                        "message",
                        ack.reason,
                        ack.properties.reason_string(),
                    )),
                    Packet::Pubrec(_) => Ok(Some(())),
                    _ => Ok(None),
                })?;
                client.acknowledge(Packet::Pubrel, 1)?;
                client.expect(|packet| Ok(matches!(packet, Packet::Pubcomp(_)).then_some(())))?;
            }
        }

        client.disconnect()?;
        Ok(0)
    }
}

/// Arguments of `midge sub`.
#[derive(Args)]
pub(crate) struct Subscribe {
    #[command(flatten)]
    target: Target,
    /// Topic filter; may be given more than once.
    #[arg(short, long, required = true)]
    topic: Vec<String>,
    /// Maximum QoS.
    #[arg(short, long, default_value = "0", value_parser = qos)]
    qos: QoS,
    /// End after so many messages.
    #[arg(short = 'C', short_alias = 'n', long)]
    count: Option<u64>,
    /// End after so many seconds; the exit status is then 27 unless --count was reached.
    #[arg(short = 'W', long)]
    timeout: Option<f64>,
    /// Print the topic before the payload.
    #[arg(short, long)]
    verbose: bool,
    /// Print each message as a line of JSON.
    #[arg(long, conflicts_with = "verbose")]
    json: bool,
}

/// A message that was received, and what its acknowledgement needs.
struct Taken {
    line: Vec<u8>,
    qos: QoS,
    packet_id: u16,
    released: Option<u16>,
}

impl Subscribe {
    pub(crate) fn run(self) -> Outcome {
        for filter in &self.topic {
            TopicFilter::new(filter).map_err(|e| Failure::new(format!("{filter:?}: {e}")))?;
        }

        let deadline = match self.timeout {
            Some(seconds) => {
                let wait = Duration::try_from_secs_f64(seconds).map_err(Failure::new)?;
                Instant::now().checked_add(wait)
            }
            None => None,
        };

        let mut client = Client::connect(&self.target)?;
        let options = SubscriptionOptions {
            qos: self.qos,
            ..Default::default()
        };

        let filters = self
            .topic
            .iter()
            .map(|filter| SubscribeFilter { filter, options })
            .collect();

        client.send(&Packet::Subscribe(SubscribePacket {
            packet_id: 1,
            properties: Properties::EMPTY,
            filters,
        }))?;
        // Messages of a session that was resumed come before SUBACK.
        let mut early = VecDeque::new();
        client.expect(|packet| {
            let Packet::Suback(suback) = packet else {
                early.extend(self.take(packet));
                return Ok(None);
            };
            match suback.reasons.iter().find(|reason| reason.is_error()) {
                Some(reason) => Err(refused(
                    "subscription",
                    *reason,
                    suback.properties.reason_string(),
                )),
                None => Ok(Some(())),
            }
        })?;

        let mut left = self.count;
        while left != Some(0) {
            let taken = match early.pop_front() {
                Some(taken) => Some(Some(taken)),
                None => client.next(deadline, |packet| Ok(self.take(packet)))?,
            };
            let Some(taken) = taken else {
                client.disconnect()?;
                return Ok(27);
            };
            let Some(taken) = taken else { continue };
            if let Some(packet_id) = taken.released {
                client.acknowledge(Packet::Pubcomp, packet_id)?;
                continue;
            }
            print(&taken.line)?;
            match taken.qos {
                QoS::AtMostOnce => {}
                QoS::AtLeastOnce => client.acknowledge(Packet::Puback, taken.packet_id)?,
                QoS::ExactlyOnce => client.acknowledge(Packet::Pubrec, taken.packet_id)?,
            }
            left = left.map(|left| left - 1);
        }

        client.disconnect()?;
        Ok(0)
    }

    fn take(&self, packet: &Packet<'_>) -> Option<Taken> {
        match packet {
            Packet::Publish(publish) => Some(Taken {
                line: self.line(publish),
                qos: publish.qos,
                packet_id: publish.packet_id,
                released: None,
            }),
            Packet::Pubrel(ack) => Some(Taken {
                line: Vec::new(),
                qos: QoS::ExactlyOnce,
                packet_id: ack.packet_id,
                released: Some(ack.packet_id),
            }),
            _ => None,
        }
    }

    fn line(&self, publish: &PublishPacket<'_>) -> Vec<u8> {
        if self.json {
            let payload = String::from_utf8_lossy(publish.payload);
            let topic = serde_json::Value::from(publish.topic);
            let payload = serde_json::Value::from(payload);
            let (qos, retain) = (publish.qos as u8, publish.retain);
            return format!(
                "{{\"topic\":{topic},\"payload\":{payload},\"qos\":{qos},\"retain\":{retain}}}\n"
            )
            .into_bytes();
        }

        let mut line = Vec::new();
        if self.verbose {
            line.extend_from_slice(publish.topic.as_bytes());
            line.push(b' ');
        }

        line.extend_from_slice(publish.payload);
        line.push(b'\n');
        line
    }
}
