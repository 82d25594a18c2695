//! Runs a scenario under several schedulers and says how to replay a failure.

use std::env;
use std::sync::Arc;

use shuttle::scheduler::{
    DfsScheduler, PctScheduler, RandomScheduler, ReplayScheduler, Scheduler, UrwRandomScheduler,
};
use shuttle::{Config, FailurePersistence, Runner};

/// Iterations of a scenario under each scheduler.
const ITERATIONS: usize = 400;
/// Preemptions that PCT places in an iteration, plus one.
const DEPTHS: [usize; 2] = [2, 4];
/// Stack of one task: a backtrace needs much of it.
const STACK: usize = 1 << 20;

/// Compiled once for all scenarios.
type Scenario = Arc<dyn Fn() + Send + Sync>;

/// Explores a scenario. `MIDGE_ITERATIONS` sets the number of iterations under each scheduler,
/// `MIDGE_SCHEDULE` names a file with one schedule to replay instead, `MIDGE_SCHEDULES` the directory
/// that schedules of failures are written to.
pub(crate) fn explore(scenario: impl Fn() + Send + Sync + 'static) {
    explore_boxed(Arc::new(scenario), false);
}

/// Explores all schedules of a scenario that has few.
pub(crate) fn explore_all(scenario: impl Fn() + Send + Sync + 'static) {
    explore_boxed(Arc::new(scenario), true);
}

fn explore_boxed(scenario: Scenario, all: bool) {
    if let Some(file) = env::var_os("MIDGE_SCHEDULE") {
        let scheduler = ReplayScheduler::new_from_file(file).expect("a schedule");
        run("replay", scheduler, &scenario);
        return;
    }
    if all {
        let count = run("dfs", DfsScheduler::new(None, false), &scenario);
        eprintln!("all {count} schedules");
        return;
    }

    let iterations = env::var("MIDGE_ITERATIONS")
        .ok()
        .map_or(ITERATIONS, |text| text.parse().expect("a number"));
    for depth in DEPTHS {
        run("pct", PctScheduler::new(depth, iterations), &scenario);
    }
    run("random", RandomScheduler::new(iterations), &scenario);
    run("walk", UrwRandomScheduler::new(iterations), &scenario);
}

/// The number of schedules that were run.
fn run<S: Scheduler + 'static>(name: &'static str, scheduler: S, scenario: &Scenario) -> usize {
    let _told = Told(name);
    let scenario = scenario.clone();
    ITERATION.set(0);
    Runner::new(scheduler, config()).run(move || {
        ITERATION.set(ITERATION.get() + 1);
        scenario();
    })
}

fn config() -> Config {
    let mut config = Config::new();
    config.stack_size = STACK;
    config.silence_warnings = true;
    config.failure_persistence = match env::var_os("MIDGE_SCHEDULES") {
        _ if env::var_os("MIDGE_SCHEDULE").is_some() => FailurePersistence::None,
        Some(directory) => FailurePersistence::File(Some(directory.into())),
        None => FailurePersistence::Print,
    };
    config
}

thread_local! {
    static ITERATION: std::cell::Cell<usize> = const { std::cell::Cell::new(0) };
}

/// Says which scheduler has found a failure, and when.
struct Told(&'static str);

impl Drop for Told {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let iteration = ITERATION.get();
            let thread = std::thread::current();
            eprintln!(
                "found by {} in iteration {iteration}; with the schedule in FILE, replay it with\n    \
                 tests/interleavings/run.sh {} --replay FILE",
                self.0,
                thread.name().unwrap_or("NAME"),
            );
        }
    }
}
