//! `midge serve`.

use std::io::IsTerminal;
use std::path::PathBuf;
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use clap::{Args, ValueEnum};
use midge::{
    Broker, DisconnectReason, DropReason, Event, EventKind, Events, ReasonCode, Settings, Stop,
};
use tracing::field::display;
use tracing::level_filters::LevelFilter;

use crate::client::{HOST, PORT, url_of};
use crate::config::{apply, listen_by_default, pair};
use crate::log::Log;
use crate::signals::{Signal, Signals};
use crate::{Failure, Outcome};

/// Arguments of `midge serve`.
#[derive(Args)]
pub(crate) struct Serve {
    /// Where to listen: tcp://host:port, unix:///path or unix:///path?mode=0660; may be given more
    /// than once. Without it and without a configuration file: tcp://127.0.0.1:1883.
    #[arg(short, long, value_name = "ADDRESS")]
    listen: Vec<String>,
    /// Short for --listen tcp://HOST:PORT, with 127.0.0.1 for the host by default.
    #[arg(short, long)]
    port: Option<u16>,
    /// Short for --listen tcp://HOST:PORT, with 1883 for the port by default.
    #[arg(long)]
    host: Option<String>,
    /// Configuration file in TOML; `midge config` prints one.
    #[arg(short, long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Set an option; may be given more than once and wins over the file.
    #[arg(short, long = "set", value_name = "KEY=VALUE", value_parser = pair)]
    options: Vec<(String, String)>,
    /// Threads of the broker.
    #[arg(long)]
    threads: Option<usize>,
    /// Print the address on a line of its own when the broker is ready.
    #[arg(long)]
    print_url: bool,
    /// How much to log to the standard error output.
    #[arg(long, value_enum, default_value = "info")]
    log: Level,
    /// Milliseconds that connected clients get at the end to take what waits for them.
    #[arg(long, default_value = "1000")]
    drain: u64,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Level {
    Off,
    Error,
    Warn,
    Info,
    Debug,
}

impl Level {
    fn filter(self) -> LevelFilter {
        match self {
            Self::Off => LevelFilter::OFF,
            Self::Error => LevelFilter::ERROR,
            Self::Warn => LevelFilter::WARN,
            Self::Info => LevelFilter::INFO,
            Self::Debug => LevelFilter::DEBUG,
        }
    }
}

impl Serve {
    pub(crate) fn run(self) -> Outcome {
        // Before the broker starts: its threads inherit that signals go to this one.
        let signals = Signals::new()?;
        let log = self.start_log()?;
        let outcome = self.serve(signals);
        if let Some(log) = log {
            log.end();
        }
        outcome
    }

    fn start_log(&self) -> Result<Option<Log>, Failure> {
        if self.log == Level::Off {
            return Ok(None);
        }
        let log = Log::start().map_err(Failure::new)?;
        // A host process, such as Python, may have set a global subscriber already.
        let _ = tracing_subscriber::fmt()
            .with_writer(log.clone())
            .with_ansi(std::io::stderr().is_terminal())
            .with_target(false)
            .without_time()
            .with_max_level(self.log.filter())
            .try_init();
        Ok(Some(log))
    }

    fn serve(&self, mut signals: Signals) -> Outcome {
        let wants_events = self.log != Level::Off;
        let first = |broker: &Broker| wants_events.then(|| broker.events());
        let builder = Broker::builder().settings(self.settings()?);
        let (broker, events) = builder.start_with(first).map_err(Failure::new)?;
        let logger = events.map(log_events);

        for address in broker.addrs() {
            tracing::info!(%address, "listening");
        }
        if self.print_url {
            print_url(broker.url());
        }

        let signal = signals.next().map_or("", Signal::name);
        tracing::info!(signal, "stopping");

        let handle = signals.handle();
        let impatient = hurry_on_signal(signals, broker.clone());
        let stopped = broker.stop(Stop::Drain(Duration::from_millis(self.drain)));
        handle.close();
        let _ = impatient.join();
        stopped.map_err(Failure::new)?;

        // The queue of events was closed with the broker.
        if let Some(logger) = logger {
            let _ = logger.join();
        }
        Ok(0)
    }

    fn settings(&self) -> Result<Settings, Failure> {
        let mut settings = Settings::default();
        if let Some(path) = &self.config {
            settings.load(path).map_err(Failure::new)?;
        }

        // The command line wins over the file.
        let mut pairs = Vec::new();
        let mut listen = self.listen.clone();
        if self.host.is_some() || self.port.is_some() {
            let host = self.host.as_deref().unwrap_or(HOST);
            listen.push(url_of("tcp", host, self.port.unwrap_or(PORT)));
        }
        if !listen.is_empty() {
            pairs.push(("listen".to_owned(), String::new()));
        }
        pairs.extend(
            listen
                .into_iter()
                .map(|address| ("listen".to_owned(), address)),
        );
        let threads = self.threads.map(|threads| threads.to_string());
        pairs.extend(threads.map(|threads| ("threads".to_owned(), threads)));

        apply(&mut settings, &pairs)?;
        apply(&mut settings, &self.options)?;
        listen_by_default(&mut settings)?;
        Ok(settings)
    }
}

/// Prints the address on a thread of its own: a standard output without a reader must not hold up the
/// end. That thread is not waited for.
fn print_url(url: String) {
    thread::spawn(move || {
        // A closed standard output is no reason not to serve.
        if crate::print(format!("{url}\n").as_bytes()).is_err() {
            tracing::warn!("the address could not be printed");
        }
    });
}

/// Cuts the drain short on a second signal.
fn hurry_on_signal(mut signals: Signals, broker: Broker) -> thread::JoinHandle<()> {
    thread::spawn(move || {
        if let Some(signal) = signals.next() {
            tracing::info!(signal = signal.name(), "stopping at once");
            broker.hurry();
        }
    })
}

fn log_events(events: Events) -> thread::JoinHandle<()> {
    let (started, ready) = mpsc::sync_channel(1);
    let logger = thread::spawn(move || {
        let _ = started.send(());
        let mut lost = 0;
        let mut tell_lost = || {
            let times = events.lost() - lost;
            if times > 0 {
                lost += times;
                tracing::warn!(times, "events came too fast to be logged");
            }
        };
        while let Ok(observed) = events.recv() {
            log(&observed.event);
            if events.is_empty() {
                tell_lost();
            }
        }
        tell_lost();
    });

    let _ = ready.recv();
    logger
}

/// Where a bridge of mosquitto tells the broker at its other end whether it is connected, unless it is
/// told not to. Nothing is wrong with that, and nothing is to be done about it.
const BRIDGE_STATE: &str = "$SYS/broker/connection/";

fn log(event: &Event) {
    let id = event.client_id();
    let client_id = id.map(display);
    let topic = event.topic().map(display);

    match event.kind() {
        EventKind::ClientConnected => {
            let (version, peer) = (event.version().map(display), event.peer().map(display));
            let session_present = event.session_present();
            tracing::info!(client_id, version, peer, session_present, "connected");
        }
        EventKind::ConnectionRefused => log_refused(event),
        EventKind::ClientDisconnected => {
            let ended = event.disconnect_reason();
            let reason = ended.map(display);
            match ended {
                Some(DisconnectReason::ByClient(_) | DisconnectReason::Shutdown) => {
                    tracing::info!(client_id, reason, "disconnected");
                }
                _ => tracing::warn!(client_id, reason, "disconnected"),
            }
        }

        EventKind::Subscribed => {
            let qos = event.qos().map(|qos| qos as u8);
            tracing::debug!(client_id, filter = topic, qos, "subscribed");
        }
        EventKind::SubscribeRefused => {
            let reason = event.code().map(ReasonCode::name);
            tracing::warn!(client_id, filter = topic, reason, "subscription refused");
        }

        EventKind::Dropped if tells_bridge_state(event) => {
            tracing::info!(client_id = id, topic, reason = event.reason(), "dropped");
        }
        EventKind::Dropped => {
            tracing::warn!(client_id = id, topic, reason = event.reason(), "dropped");
        }

        EventKind::WillSent => tracing::info!(client_id, topic, "will published"),
        EventKind::ReasonReplaced => {
            let (client_id, packet) = (id, event.reason());
            let (given, sent) = (event.given_code().map(display), event.code().map(display));
            tracing::warn!(client_id, packet, given, sent, "reason code replaced");
        }
        _ => tracing::debug!(other = ?event),
    }
}

fn log_refused(event: &Event) {
    // Empty if there was no CONNECT that could be read.
    let client_id = event.client_id().filter(|id| !id.is_empty());
    let (username, text) = (event.username(), event.text());
    let peer = event.peer().map(display);
    let refused = event.disconnect_reason();
    let reason = refused.map(display);

    match refused {
        Some(DisconnectReason::ConnectTimeout) => {
            tracing::info!(client_id, username, peer, reason, text, "refused");
        }
        Some(DisconnectReason::Refused(code)) => {
            let reason = code.name();
            tracing::warn!(client_id, username, peer, reason, text, "refused");
        }
        _ => tracing::warn!(client_id, username, peer, reason, text, "refused"),
    }
}

fn tells_bridge_state(event: &Event) -> bool {
    event.drop_reason() == Some(DropReason::ReservedTopic)
        && (event.topic()).is_some_and(|topic| topic.starts_with(BRIDGE_STATE))
}
