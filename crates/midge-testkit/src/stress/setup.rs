//! What scripts run on, and how the command line says it.

use std::fmt;

use super::whole::Place;

/// Which hooks scripts have.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Hooking {
    /// Some scripts have none, others any.
    #[default]
    Any,
    /// None panics.
    Calm,
    /// None panics or answers later.
    Prompt,
    /// There are none.
    Absent,
}

impl Hooking {
    /// Its name on the command line.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Any => "any",
            Self::Calm => "calm",
            Self::Prompt => "prompt",
            Self::Absent => "none",
        }
    }

    /// The one of this name.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        let all = [Self::Any, Self::Calm, Self::Prompt, Self::Absent];
        all.into_iter().find(|hooking| hooking.name() == name)
    }
}

/// Everything but the seed that a script follows from.
#[derive(Clone, Copy, Debug)]
pub struct Setup {
    /// The broker.
    pub place: Place,
    /// Threads that drive clients.
    pub threads: usize,
    /// Steps of each thread.
    pub steps: usize,
    /// Hooks.
    pub hooking: Hooking,
}

impl Setup {
    /// Scripts of the usual length with any hooks.
    #[must_use]
    pub fn new(place: Place, threads: usize) -> Self {
        Self {
            place,
            threads,
            steps: 120,
            hooking: Hooking::Any,
        }
    }

    /// The command that runs a seed again. Threads meet by chance: with several it runs many times.
    #[must_use]
    pub fn again(&self, seed: u64) -> String {
        let runs = if self.threads == 1 && self.place == Place::Core {
            1
        } else {
            10_000
        };
        format!(
            "cargo run --release -p midge-testkit --bin stress -- {self} --seed {seed} --scripts {runs} \
             --repeat {runs}"
        )
    }
}

impl fmt::Display for Setup {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            place,
            threads,
            steps,
            hooking,
        } = self;
        let hooking = hooking.name();
        write!(
            f,
            "--threads {threads} --on {place} --steps {steps} --hooks {hooking}"
        )
    }
}
