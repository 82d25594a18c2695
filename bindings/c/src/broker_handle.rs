//! What stands behind a broker handle.

use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use broker::{Broker, StartError, Stop};
use parking_lot::{Condvar, Mutex};

use crate::config::midge_config;
use crate::hooks::CHooks;
use crate::process::{self, SignalsBlocked};
use crate::queue::QueueObject;
use crate::status::{Fault, MIDGE_E_CONFIG, MIDGE_E_STATE, MIDGE_E_TIMEOUT};
use crate::table::Table;

/// A broker. A number, not a pointer: a stale one gives MIDGE_E_CLOSED. {0} is the null handle.
/// @since 0.1
#[repr(C)]
#[derive(Clone, Copy)]
pub struct midge_broker {
    /// The number.
    pub id: u64,
}

pub(crate) static BROKERS: Table<BrokerObject> = Table::new("broker", 1);

/// How far a broker has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub(crate) enum Stage {
    Ended = 0,
    Running = 1,
    Stopping = 2,
}

pub(crate) struct BrokerObject {
    pub(crate) broker: Broker,
    hooks: Option<Arc<CHooks>>,
    stage: Mutex<Stage>,
    ended: Condvar,
    /// Held by whoever joins, so that everybody waits until the thread is really gone.
    stopper: Mutex<Option<JoinHandle<()>>>,
    /// Strong, so that the end of each dispatch thread can be waited for.
    queues: Mutex<Vec<Arc<QueueObject>>>,
}

impl BrokerObject {
    pub(crate) fn start(config: &midge_config) -> Result<Arc<Self>, Fault> {
        let mut builder = config.builder();
        let hooks = config
            .hooks
            .as_ref()
            .map(|table| Arc::new(CHooks::new(table)));
        if let Some(hooks) = &hooks {
            builder = builder.shared_hooks(hooks.clone());
            let (start, stop) = (hooks.clone(), hooks.clone());
            builder = builder.on_thread(
                move || start.thread_started(),
                move || stop.thread_stopped(),
            );
        }
        let broker = {
            // The broker's threads inherit this.
            let _blocked = SignalsBlocked::new();
            builder.start().map_err(|error| start_fault(&error))?
        };
        if let Some(hooks) = &hooks {
            hooks.started(&broker);
        }
        Ok(Arc::new(Self {
            broker,
            hooks,
            stage: Mutex::new(Stage::Running),
            ended: Condvar::new(),
            stopper: Mutex::new(None),
            queues: Mutex::default(),
        }))
    }

    pub(crate) fn stage(&self) -> Stage {
        *self.stage.lock()
    }

    /// A queue that ends with the broker.
    pub(crate) fn attach(&self, queue: &Arc<QueueObject>) -> Result<(), Fault> {
        self.queues.lock().push(queue.clone());
        // Afterwards, so that a stop that has not seen the queue yet is seen here.
        if self.stage() != Stage::Running {
            self.detach(queue);
            return Err(Fault::new(MIDGE_E_STATE, "the broker stops"));
        }
        Ok(())
    }

    /// Forgets a queue that was freed.
    pub(crate) fn detach(&self, queue: &Arc<QueueObject>) {
        self.queues
            .lock()
            .retain(|other| !Arc::ptr_eq(other, queue));
    }

    pub(crate) fn begin_stop(self: &Arc<Self>, drain_ms: i32) -> Result<(), Fault> {
        let mut stage = self.stage.lock();
        if *stage != Stage::Running {
            if drain_ms <= 0 {
                self.broker.hurry();
            }
            return Ok(());
        }
        let how = match u64::try_from(drain_ms) {
            Ok(ms @ 1..) => Stop::Drain(Duration::from_millis(ms)),
            _ => Stop::Now,
        };
        let object = self.clone();
        let thread = process::spawn("midge-stop", move || object.stop(how))
            .map_err(|error| Fault::io("cannot start the thread that stops the broker", &error))?;
        // Under the lock: who sees the end finds the thread, too.
        *self.stopper.lock() = Some(thread);
        *stage = Stage::Stopping;
        Ok(())
    }

    fn stop(&self, how: Stop) {
        // Not a thread of the broker, so there is no error.
        let _ = self.broker.stop(how);
        let queues = std::mem::take(&mut *self.queues.lock());
        for queue in &queues {
            queue.close();
        }
        for queue in &queues {
            queue.join_dispatch();
        }
        if let Some(hooks) = &self.hooks {
            hooks.close();
        }
        *self.stage.lock() = Stage::Ended;
        self.ended.notify_all();
    }

    pub(crate) fn join(&self, timeout: Option<Duration>) -> Result<(), Fault> {
        let deadline = timeout.and_then(|timeout| Instant::now().checked_add(timeout));
        let mut stage = self.stage.lock();
        while *stage != Stage::Ended {
            match deadline {
                None => self.ended.wait(&mut stage),
                Some(deadline) => {
                    let timed_out = self.ended.wait_until(&mut stage, deadline).timed_out();
                    if timed_out && *stage != Stage::Ended {
                        let what = "the broker has not stopped in time";
                        return Err(Fault::new(MIDGE_E_TIMEOUT, what));
                    }
                }
            }
        }
        drop(stage);
        let mut stopper = self.stopper.lock();
        if let Some(thread) = stopper.take() {
            let _ = thread.join();
        }
        Ok(())
    }
}

fn start_fault(error: &StartError) -> Fault {
    match error {
        StartError::Bind { address, source } => Fault::io(&format!("listen {address}"), source),
        StartError::Runtime(source) => Fault::io("cannot start the broker's threads", source),
        other => Fault::new(MIDGE_E_CONFIG, other.to_string()),
    }
}
