//! The log: warnings of the engine, texts of panics. It is written nowhere; a callback of the host gets
//! each line.
//!
//! Lines may come up anywhere, a panic's even where a lock is held. So they wait in a short queue until
//! the thread is where callbacks may run: when it leaves the library, or in a task of a broker.

use std::collections::VecDeque;
use std::ffi::{CStr, CString};
use std::fmt::{self, Write};
use std::panic::PanicHookInfo;
use std::sync::atomic::{AtomicBool, AtomicI32, Ordering};
use std::sync::{Arc, Once};

use broker::Later;
use parking_lot::Mutex;
use tracing_core::field::{Field, Visit};
use tracing_core::span::{Attributes, Id, Record};
use tracing_core::subscriber::Interest;
use tracing_core::{Dispatch, Event, Level, LevelFilter, Metadata, Subscriber, dispatcher};

use crate::inside;
use crate::table::Table;

/// Nothing.
pub const MIDGE_LOG_OFF: i32 = 0;
/// Something is broken: a panic that was caught, a listener that has ended.
pub const MIDGE_LOG_ERROR: i32 = 1;
/// Something that its host should look at.
pub const MIDGE_LOG_WARN: i32 = 2;
/// Something worth knowing.
pub const MIDGE_LOG_INFO: i32 = 3;
/// For looking into the library.
pub const MIDGE_LOG_DEBUG: i32 = 4;

/// Lines that may wait for a place where callbacks may run.
const WAITING: usize = 64;
/// Bytes of one line.
const LONGEST: usize = 4096;

/// Gets each line, with its level.
pub(crate) type Target = Arc<dyn Fn(i32, &CStr) + Send + Sync>;

struct State {
    target: Option<Target>,
    lines: VecDeque<(i32, String)>,
    lost: u64,
    /// A thread is telling lines; it tells those too that come meanwhile.
    is_telling: bool,
}

static STATE: Mutex<State> = Mutex::new(State {
    target: None,
    lines: VecDeque::new(),
    lost: 0,
    is_telling: false,
});
static LEVEL: AtomicI32 = AtomicI32::new(MIDGE_LOG_OFF);
static HAS_LINES: AtomicBool = AtomicBool::new(false);

/// Brokers on whose threads lines may be told.
static PLACES: Table<Later> = Table::new("place", 0);

/// A broker among those, until this is dropped.
pub(crate) struct Place(u64);

impl Place {
    pub(crate) fn new(broker: Later) -> Self {
        Self(PLACES.add(Arc::new(broker)))
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let _ = PLACES.remove(self.0);
    }
}

/// Has a target get lines of a level and of more serious ones. Gives the target before it, to be let go
/// of where no lock is held.
pub(crate) fn set(target: Option<Target>, level: i32) -> Option<Target> {
    if target.is_some() {
        static ONCE: Once = Once::new();
        // The library's copy of the registry is its own; nothing else sets it.
        ONCE.call_once(|| drop(dispatcher::set_global_default(Dispatch::new(Lines))));
    }

    let level = if target.is_some() {
        level
    } else {
        MIDGE_LOG_OFF
    };

    let mut state = STATE.lock();
    LEVEL.store(level, Ordering::Relaxed);
    std::mem::replace(&mut state.target, target)
}

fn is_wanted(level: i32) -> bool {
    level <= LEVEL.load(Ordering::Relaxed)
}

/// Takes in a line. No callback runs here.
fn add(level: i32, mut text: String) {
    let mut end = text.len().min(LONGEST);
    while !text.is_char_boundary(end) {
        end -= 1;
    }

    text.truncate(end);

    let mut state = STATE.lock();
    if state.lines.len() >= WAITING {
        state.lost += 1;
    } else {
        state.lines.push_back((level, text));
    }

    drop(state);
    HAS_LINES.store(true, Ordering::Release);
    if inside::is_library() {
        return; // told when this thread leaves the library
    }
    if let Some(broker) = PLACES.any() {
        broker.run(tell);
    }
}

/// Tells what waits. To be called where callbacks may run.
#[inline]
pub(crate) fn tell_if_any() {
    if HAS_LINES.load(Ordering::Relaxed) {
        tell();
    }
}

#[cold]
fn tell() {
    let mut state = STATE.lock();
    if state.is_telling {
        return;
    }

    state.is_telling = true;
    HAS_LINES.store(false, Ordering::Relaxed);
    loop {
        let line = match std::mem::take(&mut state.lost) {
            0 => state.lines.pop_front(),
            lost => Some((
                MIDGE_LOG_WARN,
                format!("{lost} lines of the log were lost: too many at once"),
            )),
        };
        let (Some((level, text)), Some(target)) = (line, state.target.clone()) else {
            break;
        };
        drop(state);
        // A NUL would cut the text short.
        if let Ok(text) = CString::new(text.replace('\0', " ")) {
            inside::run(|| target(level, &text));
        }
        drop(target);
        state = STATE.lock();
    }

    state.lines.clear();
    state.is_telling = false;
}

/// Something that its host should look at.
pub(crate) fn warn(text: String) {
    if is_wanted(MIDGE_LOG_WARN) {
        add(MIDGE_LOG_WARN, text);
    }
}

/// Logs a panic: its text and its place.
pub(crate) fn panicked(info: &PanicHookInfo<'_>) {
    if !is_wanted(MIDGE_LOG_ERROR) {
        return;
    }
    let what = info.payload();
    let what = what
        .downcast_ref::<&str>()
        .copied()
        .or_else(|| what.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("something that is no text");
    let place = info.location().map(ToString::to_string);
    let place = place.as_deref().unwrap_or("an unknown place");
    add(
        MIDGE_LOG_ERROR,
        format!("a panic inside midge was caught, at {place}: {what}"),
    );
}

/// Takes the engine's events.
struct Lines;

fn number(level: Level) -> i32 {
    match level {
        Level::ERROR => MIDGE_LOG_ERROR,
        Level::WARN => MIDGE_LOG_WARN,
        Level::INFO => MIDGE_LOG_INFO,
        _ => MIDGE_LOG_DEBUG,
    }
}

impl Subscriber for Lines {
    fn register_callsite(&self, _: &'static Metadata<'static>) -> Interest {
        // The level may change.
        Interest::sometimes()
    }

    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.is_event() && is_wanted(number(*metadata.level()))
    }

    fn max_level_hint(&self) -> Option<LevelFilter> {
        Some(LevelFilter::DEBUG)
    }

    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn event(&self, event: &Event<'_>) {
        let mut line = Line::default();
        event.record(&mut line);
        let Line { message, fields } = line;
        add(number(*event.metadata().level()), message + &fields);
    }

    fn enter(&self, _: &Id) {}

    fn exit(&self, _: &Id) {}
}

/// The message, and ` name=value` for each other field.
#[derive(Default)]
struct Line {
    message: String,
    fields: String,
}

impl Visit for Line {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.record_debug(field, &format_args!("{value}"));
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        // Writing into a string does not fail.
        let _ = match field.name() {
            "message" => write!(self.message, "{value:?}"),
            name => write!(self.fields, " {name}={value:?}"),
        };
    }
}
