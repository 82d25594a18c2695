//! Brokers behind their handles: start, stop, end.

use std::sync::Arc;
use std::time::{Duration, Instant};

use broker::{Broker, Clock, OptionError, Poller, StartError, Stop};
use parking_lot::Mutex;

use crate::config::midge_config;
use crate::dispatch::End;
use crate::hooks::CHooks;
use crate::life::{Life, Stage};
use crate::log;
use crate::prepare;
use crate::process::SignalsBlocked;
use crate::queue::QueueObject;
use crate::status::{Fault, MIDGE_E_CONFIG, MIDGE_E_STATE, MIDGE_E_TIMEOUT, MIDGE_E_UNSUPPORTED};
use crate::table::Table;
use crate::waiting::Waiting;

/// A broker. A number, not a pointer: a stale one gives MIDGE_E_CLOSED. {0} is the null handle.
/// @since 0.1
#[repr(C)]
#[derive(Clone, Copy)]
pub struct midge_broker {
    /// The number.
    pub id: u64,
}

pub(crate) static BROKERS: Table<BrokerObject> = Table::new("broker", 1);

pub(crate) struct BrokerObject {
    pub(crate) broker: Broker,
    pub(crate) is_clock_manual: bool,
    /// limits.packet_bytes.
    pub(crate) packet_bytes: usize,
    pub(crate) life: Arc<Life>,
    /// Strong, so that the end of each dispatch thread can be waited for.
    queues: Mutex<Vec<Arc<QueueObject>>>,
    /// Of a broker without threads.
    pub(crate) poller: Option<Poller>,
    /// Threads that wait for receipts; the end wakes them.
    pub(crate) receipts: Waiting,
    hooks: Vec<Arc<CHooks>>,
    /// Lines of the log may be told on its threads.
    _log: log::Place,
}

impl BrokerObject {
    pub(crate) fn start(config: &midge_config) -> Result<Arc<Self>, Fault> {
        let settings = &config.settings;
        let rules = settings.config();
        let mut builder = Broker::builder().settings(settings.clone());
        let patience = Duration::from_millis(rules.shutdown.patience_ms);
        let life = Life::new(settings.threads(), config.hooks.len(), patience);
        let made = config.hooks.iter().map(|table| {
            let life = life.clone();
            let closed = move || life.hooks_end();
            Arc::new(CHooks::new(table, rules.mqtt.shared_v3, closed))
        });
        let hooks: Vec<_> = made.collect();

        for hooks in &hooks {
            builder = builder.shared_hooks(hooks.clone());
        }

        let (start, stop, ending) = (hooks.clone(), hooks.clone(), life.clone());
        builder = builder.on_thread(
            move || {
                prepare::thread();
                start.iter().for_each(|hooks| hooks.thread_started());
            },
            move || {
                stop.iter().for_each(|hooks| hooks.thread_stopped());
                // Only the host can publish from now on, which a stopped broker refuses.
                if ending.engine_thread_ends() == 0 {
                    stop.iter().for_each(|hooks| hooks.close());
                }
            },
        );

        let broker = {
            // The broker's threads inherit this.
            let _blocked = SignalsBlocked::new();
            builder.start().map_err(|error| start_fault(&error))?
        };

        hooks.iter().for_each(|hooks| hooks.started(&broker));

        Ok(Arc::new(Self {
            _log: log::Place::new(broker.later()),
            poller: broker.poller(),
            broker,
            is_clock_manual: settings.clock() == Clock::Manual,
            packet_bytes: rules.limits.packet_bytes as usize,
            life,
            queues: Mutex::default(),
            receipts: Waiting::default(),
            hooks,
        }))
    }

    pub(crate) fn stage(&self) -> Stage {
        self.life.stage()
    }

    /// Whether its engine has ended: no client is connected, and no session changes any more.
    pub(crate) fn has_ended(&self) -> bool {
        self.life.has_engine_ended()
    }

    /// Refuses what a broker that stops does not do any more. From the moment on at which a stop was
    /// asked for, however far it has come.
    pub(crate) fn check_running(&self) -> Result<(), Fault> {
        match self.stage() {
            Stage::Running => Ok(()),
            _ => Err(Fault::new(MIDGE_E_STATE, "the broker stops")),
        }
    }

    /// A queue that ends with the broker.
    pub(crate) fn attach(&self, queue: &Arc<QueueObject>) -> Result<(), Fault> {
        self.queues.lock().push(queue.clone());
        // Afterwards, so that a stop that has not seen the queue yet is seen here.
        self.check_running().inspect_err(|_| self.detach(queue))
    }

    /// Forgets a queue that was freed.
    pub(crate) fn detach(&self, queue: &Arc<QueueObject>) {
        self.queues
            .lock()
            .retain(|other| !Arc::ptr_eq(other, queue));
    }

    /// Begins to stop. No thread is started for that: it may be called where that would never end,
    /// such as from a destructor while the loader is busy.
    pub(crate) fn begin_stop(self: &Arc<Self>, drain_ms: i32) {
        if !self.life.stop_begins() {
            if drain_ms <= 0 {
                self.broker.hurry();
            }
            return;
        }

        let how = match u64::try_from(drain_ms) {
            Ok(ms @ 1..) => Stop::Drain(Duration::from_millis(ms)),
            _ => Stop::Now,
        };

        let object = self.clone();
        self.broker.stop_soon(how, move || {
            let queues = object.queues.lock().clone();
            for queue in &queues {
                queue.close();
            }
            if object.poller.is_some() {
                // Otherwise the last thread does it.
                object.hooks.iter().for_each(|hooks| hooks.close());
            }
            object.life.engine_ends();
            object.receipts.wake_all();
        });
    }

    /// Waits for the end, no longer than the caller says.
    pub(crate) fn join(&self, timeout: Option<Duration>) -> Result<(), Fault> {
        self.life.wait(timeout, self.poller.as_ref())?;
        // All that is left for them is to return. Not a thread of the broker, so there is no error.
        let _ = self.broker.stop(Stop::Now);
        let queues = self.queues.lock().clone();
        for queue in &queues {
            queue.dispatch.join(None);
        }
        self.queues.lock().clear();
        Ok(())
    }

    /// Waits for the end of a broker that stops, for callbacks as long as shutdown.patience_ms says. One
    /// that does not return by then is left: it is named in the log and counted, and what it uses stays
    /// until it returns.
    pub(crate) fn end(&self) -> Result<(), Fault> {
        let deadline = self.life.patience_ends();
        // Names and counts the hooks that it leaves.
        let mut is_left = self.broker.stop(Stop::Now).is_err();

        let queues = self.queues.lock().clone();
        if is_left {
            // Its end would have done that.
            for queue in &queues {
                queue.close();
            }
            self.hooks.iter().for_each(|hooks| hooks.close());
        } else if !self.life.wait_for_hooks(deadline) {
            is_left = true;
            let calls = self.hooks.iter().map(|hooks| hooks.calls()).sum();
            leave(Some(self), calls, "a hook on a thread that publishes");
        }

        for queue in &queues {
            is_left |= end_dispatch(queue, Some(self), deadline).is_err();
        }
        match is_left {
            false => Ok(()),
            true => Err(left()),
        }
    }
}

/// Waits for the end of a queue's dispatch thread, for its callback until the deadline.
pub(crate) fn end_dispatch(
    queue: &QueueObject,
    broker: Option<&BrokerObject>,
    deadline: Option<Instant>,
) -> Result<(), Fault> {
    match queue.dispatch.join(deadline) {
        End::Ended => return Ok(()),
        End::Left => leave(broker, 1, "on_event of a queue"),
        End::LeftBefore => {}
    }
    Err(left())
}

/// Names callbacks that are not waited for any longer, and counts them if their broker is there.
fn leave(broker: Option<&BrokerObject>, calls: u32, name: &str) {
    if let Some(object) = broker {
        object.broker.count_abandoned(calls);
    }
    log::warn(format!(
        "a callback that does not return is left callback={name:?} calls={calls}"
    ));
}

fn left() -> Fault {
    let what = "a callback has not returned within shutdown.patience_ms and was left";
    Fault::new(MIDGE_E_TIMEOUT, what)
}

fn start_fault(error: &StartError) -> Fault {
    match error {
        StartError::Bind { address, source } => Fault::io(&format!("listen {address}"), source),
        StartError::Runtime(source) => Fault::io("cannot start the broker's threads", source),
        StartError::LeftOut { .. } | StartError::Option(OptionError::LeftOut { .. }) => {
            Fault::new(MIDGE_E_UNSUPPORTED, error.to_string())
        }
        other => Fault::new(MIDGE_E_CONFIG, other.to_string()),
    }
}
