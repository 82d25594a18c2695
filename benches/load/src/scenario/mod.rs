//! The scenarios, and what they share.

mod attacks;
mod churn;
mod connect;
mod disturb;
mod offline;
mod retained;
mod start;
mod subscale;
mod traffic;

use std::ops::Range;

use crate::args::Args;
use crate::engine::{Engine, Measured, Role, RunOptions};
use crate::error::{Error, Result};
use crate::json::Json;
use crate::os::{raise_open_files, rss};
use crate::{limit, mqtt};

/// What the command prints when asked for help.
pub const USAGE: &str = "midge-load SCENARIO [--key value]...

scenarios  p2p fanin fanout shared connect subscale retained offline start churn disturb limit
common     --port 1883 --host 127.0.0.1 --ver 4|5 --pid BROKER_PID --duration 3 --warmup 1
           --label TEXT --user NAME --password TEXT --prefix OF_CLIENT_IDENTIFIERS
load       --pubs N --subs N --qos 0|1|2 --size BYTES --window W --rate MSGS_PER_S --spin
           --minbatch N
connect    --count N --conc 64 [--hold [--sub]]
subscale   --count N --conns C --kind exact|plus|midplus|hash --chunk 100
retained   --count N --size B --qos Q --filter '#' --rounds 3
offline    --count N --size B --qos Q
start      --cmd 'broker command' --port P --runs N
churn      --kind messages|connects|topics --count N
disturb    --kind stalled|flood|herd|huge --rate 1000 --pubs 10 --count N --payload BYTES
           --kind walks|waiting|filters|overlap|groups|deep|properties|pings
limit      --mode p2p|fanin|fanout --port P   a byte forwarder: the bound that no broker can beat

Numbers take k, m (1000s) and ki, mi (1024s). One JSON object per run on the standard output.";

/// Runs one scenario; returns its JSON object (`limit` runs until its process is ended).
pub fn run(scenario: &str, args: &Args) -> Result<String> {
    raise_open_files();

    let target = Target::new(args)?;
    let mut json = Json::new();
    json.s("scenario", scenario)
        .s("label", &args.text_or("label", ""))
        .u("ver", u64::from(target.version));
    match scenario {
        "p2p" | "fanin" | "fanout" | "shared" => traffic::run(scenario, args, &target, &mut json)?,
        "connect" => connect::run(args, &target, &mut json)?,
        "subscale" => subscale::run(args, &target, &mut json)?,
        "retained" => retained::run(args, &target, &mut json)?,
        "offline" => offline::run(args, &target, &mut json)?,
        "start" => start::run(args, &target, &mut json)?,
        "churn" => churn::run(args, &target, &mut json)?,
        "disturb" => disturb::run(args, &target, &mut json)?,
        "limit" => limit::run(&args.text_or("mode", "p2p"), target.port)?,
        _ => {
            return Err(Error::new(format!(
                "unknown scenario {scenario:?}\n\n{USAGE}"
            )));
        }
    }

    Ok(json.done())
}

/// The broker under load.
struct Target {
    host: String,
    port: u16,
    version: u8,
    pid: u64,
    user: Option<(String, String)>,
    /// In front of all client identifiers, so that two generators can load one broker.
    prefix: String,
}

impl Target {
    fn new(args: &Args) -> Result<Self> {
        let version = match args.int("ver", 4)? {
            4 | 311 => 4,
            5 => 5,
            _ => return Err(Error::new("--ver 4 or 5")),
        };
        let user = args
            .text("user")
            .map(|u| (u.to_string(), args.text_or("password", "")));
        Ok(Self {
            host: args.text_or("host", "127.0.0.1"),
            port: args.int("port", 1883)? as u16,
            version,
            pid: args.int("pid", 0)?,
            user,
            prefix: args.text_or("prefix", ""),
        })
    }

    /// An engine that may send payloads of this size.
    fn engine(&self, largest: usize) -> Result<Engine> {
        Engine::new(&self.host, self.port, self.version, largest)
    }

    /// The CONNECT of a client.
    fn hello(&self, id: &str, clean: bool, expiry: u32) -> Vec<u8> {
        let user = self
            .user
            .as_ref()
            .map(|(user, password)| (user.as_str(), password.as_str()));
        mqtt::connect(&mqtt::Connect {
            version: self.version,
            id: &format!("{}{id}", self.prefix),
            clean,
            expiry,
            user,
        })
    }

    /// Adds `n` connections with clean sessions, not dialled yet.
    fn add(&self, e: &mut Engine, role: Role, n: usize, prefix: &str) -> Range<usize> {
        let first = e.conns.len();
        for index in 0..n {
            e.add_conn(
                role,
                index,
                self.hello(&format!("{prefix}{index}"), true, 0),
            );
        }
        first..first + n
    }

    /// Adds `n` connections and waits until all are up.
    fn connect(&self, e: &mut Engine, role: Role, n: usize, prefix: &str) -> Result<Range<usize>> {
        let range = self.add(e, role, n, prefix);
        connect_or_fail(e, range.clone())?;
        Ok(range)
    }
}

fn connect_or_fail(e: &mut Engine, range: Range<usize>) -> Result<()> {
    let (wanted, before) = (range.len(), e.ready);
    e.connect_all(range, 64, 30.0);
    let up = e.ready - before;
    if up < wanted {
        let failed = e.connect_failed;
        return Err(Error::new(format!(
            "only {up} of {wanted} connections came up ({failed} failed)"
        )));
    }
    Ok(())
}

/// Subscribes each connection to a filter of its own and waits for every SUBACK.
fn subscribe_all(
    e: &mut Engine,
    range: Range<usize>,
    qos: u8,
    filter: impl Fn(usize) -> String,
) -> Result<()> {
    let first = range.start;
    for (index, at) in range.clone().enumerate() {
        let packet = mqtt::subscribe(e.version(), 1, &[filter(index)], qos);
        e.queue(at, &packet);
        e.flush(at);
        let last = at + 1 == range.end;
        // In groups, so that a broker with small accept or read queues keeps up.
        if (index % 256 == 255 || last)
            && !e.until(20.0, |e| e.conns[first..=at].iter().all(|c| c.subacks > 0))
        {
            return Err(Error::new("a SUBACK is missing after 20 s"));
        }
    }

    if e.conns[range].iter().any(|c| c.refused > 0) {
        return Err(Error::new("a subscription was refused"));
    }

    Ok(())
}

/// The options of a measured run.
fn run_options(args: &Args, target: &Target, rate: f64) -> Result<RunOptions> {
    Ok(RunOptions {
        warmup: args.num("warmup", 1.0)?,
        duration: args.num("duration", 3.0)?,
        rate,
        spin: args.flag("spin"),
        pid: target.pid,
    })
}

/// Runs and insists that no connection was closed.
fn measure(e: &mut Engine, o: &RunOptions) -> Result<Measured> {
    let measured = e.run(o);
    match measured.stats.closed {
        0 => Ok(measured),
        n => Err(Error::new(format!(
            "the broker closed {n} connection(s) during the run"
        ))),
    }
}

/// The figures that every run with messages has.
fn report(j: &mut Json, e: &Engine, m: &Measured, pid: u64) {
    let s = &m.stats;
    let received = s.received as f64;
    j.f("seconds", m.wall)
        .u("received", s.received)
        .f("recv_per_s", received / m.wall);
    j.f("sent_per_s", s.sent as f64 / m.wall);
    j.f("mbytes_per_s", s.received_bytes as f64 / m.wall / 1e6);

    // A message behind a later one of its publisher shows as a gap first, then as an old number.
    let late = s.lost.min(s.duplicates);
    j.u("lost", s.lost - late)
        .u("dup", s.duplicates - late)
        .u("reordered", late);
    j.u("stalls", s.stalls).u("ack_errors", s.ack_errors);
    e.latency.json(j, "lat_");

    let per_message = 1e6 / received.max(1.0);
    let mut others = m.machine_cpu - m.self_cpu;
    if pid > 0 {
        let (now, peak) = rss(pid);
        others -= m.broker_cpu;
        j.f("broker_cpu", m.broker_cpu / m.wall);
        j.f("broker_cpu_us_per_msg", m.broker_cpu * per_message);
        j.u("broker_rss", now).u("broker_rss_peak", peak);
    }

    j.f("load_cpu", m.self_cpu / m.wall)
        .f("load_cpu_us_per_msg", m.self_cpu * per_message);
    j.f("other_cpu", (others / m.wall).max(0.0))
        .f("steal", m.steal / m.wall);
    j.f("msgs_per_read", received / s.reads.max(1) as f64);
    j.f("msgs_per_write", s.sent as f64 / s.writes.max(1) as f64);
}

/// The middle of some values; sorts them.
fn median(values: &mut [f64]) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}

/// Growth of a process per item.
fn bytes_each(before: u64, after: u64, items: f64) -> f64 {
    (after as f64 - before as f64) / items
}
