//! What the library has to say beyond statuses: warnings of the engine, texts of panics. Nothing is
//! written anywhere; a callback of the host gets it.
//!
//! Lines may come up anywhere, a panic's even where a lock is held. So they wait in a short queue until
//! the thread is where callbacks may run: when it leaves the library, or in a task of a broker.

use std::collections::VecDeque;
use std::ffi::{CString, c_char, c_void};
use std::fmt::{self, Write};
use std::panic::PanicHookInfo;
use std::sync::atomic::{AtomicBool, AtomicI32, Ordering};
use std::sync::{Arc, Once};

use parking_lot::Mutex;
use tracing_core::field::{Field, Visit};
use tracing_core::span::{Attributes, Id, Record};
use tracing_core::subscriber::Interest;
use tracing_core::{Dispatch, Event, Level, LevelFilter, Metadata, Subscriber, dispatcher};

use crate::broker_handle::BROKERS;
use crate::callback::{self, User, midge_free_fn};
use crate::ffi::enter;
use crate::later;
use crate::process;
use crate::status::{Fault, midge_status};

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

/// Called with each line of the log. The text is UTF-8 and NUL-terminated, and valid until the callback
/// returns.
pub type midge_log_fn =
    Option<unsafe extern "C" fn(user: *mut c_void, level: i32, text: *const c_char)>;

/// Lines that may wait for a place where callbacks may run.
const WAITING: usize = 64;
/// Bytes of one line.
const LONGEST: usize = 4096;

struct Target {
    function: unsafe extern "C" fn(*mut c_void, i32, *const c_char),
    user: Arc<User>,
}

struct State {
    target: Option<Arc<Target>>,
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
    if later::is_inside() {
        return; // told when this thread leaves the library
    }
    if let Some(broker) = BROKERS.any() {
        broker.broker.later().run(tell);
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
            // SAFETY: the host gave this function to be called like this, on any thread.
            callback::run(|| unsafe {
                (target.function)(target.user.pointer, level, text.as_ptr());
            });
        }
        drop(target);
        state = STATE.lock();
    }

    state.lines.clear();
    state.is_telling = false;
}

/// What was thrown, and where.
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
        // What is wanted may change.
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

/// Has a callback get what the library has to say: warnings and errors of the engine, and the texts of
/// panics that were caught. For all brokers of the process; one that was set before is let go. The
/// library writes nothing by itself. Never payloads or passwords.
///
/// The callback runs where no lock is held: on the thread that leaves the library, or on a broker's. It
/// may call everything but what is marked [blocking]. Lines that come up in a callback of the log follow
/// when it has returned. 64 lines may wait; if there are more, a line says how many were lost.
///
/// @param on_log     may be NULL, for no callback
/// @param level      MIDGE_LOG_*: this and what is more serious
/// @param user       for on_log
/// @param user_free  may be NULL; called with user exactly once, after the last call of on_log. If this
///                   function fails it is not called.
/// @return MIDGE_OK, MIDGE_E_INVALID (level is no MIDGE_LOG_*)
/// @since 0.1
#[unsafe(no_mangle)]
pub unsafe extern "C" fn midge_log_set(
    on_log: midge_log_fn,
    level: i32,
    user: *mut c_void,
    user_free: midge_free_fn,
) -> midge_status {
    process::prepare();

    enter(|| {
        if !(MIDGE_LOG_OFF..=MIDGE_LOG_DEBUG).contains(&level) {
            return Err(Fault::invalid(format!("level is {level}, no MIDGE_LOG_*")));
        }
        let user = User::new(user, user_free);
        let target = on_log.map(|function| {
            Arc::new(Target {
                function,
                user: user.clone(),
            })
        });
        if target.is_some() {
            static ONCE: Once = Once::new();
            // The library's copy of the registry is its own; nobody else sets it.
            ONCE.call_once(|| drop(dispatcher::set_global_default(Dispatch::new(Lines))));
        }
        let level = if target.is_some() {
            level
        } else {
            MIDGE_LOG_OFF
        };
        let mut state = STATE.lock();
        let old = std::mem::replace(&mut state.target, target);
        LEVEL.store(level, Ordering::Relaxed);
        drop(state);
        // Without a lock: the host frees what is its own.
        drop((old, user));
        Ok(())
    })
}
