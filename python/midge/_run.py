"""One run of a broker, from its start to its stop."""

from __future__ import annotations

import threading

from midge import _midge
from midge._hooks import Pool


class Run:
    """What lives as long as a run. No thread is waited for with a lock held, so hooks and
    callbacks may start and stop their broker while other threads do."""

    def __init__(self) -> None:
        self.native: _midge.Broker | None = None
        self.pool: Pool | None = None
        self.owner = threading.get_ident()
        """The thread that starts it, or stops it. If that is interrupted it may try again."""
        self.starting = threading.Event()
        """Set when it has started, or could not be started."""
        self.stopping = False
        self.ended = threading.Event()

    def is_own(self) -> bool:
        """Whether the calling thread is the one that starts or stops it."""
        return self.owner == threading.get_ident()

    def is_answering(self) -> bool:
        """Whether the calling thread is one of its hooks."""
        return self.pool is not None and self.pool.questions.is_answering()

    def end(self, timeout: float) -> None:
        """Stops the broker and its hooks. Interrupted, it leaves nothing running, either."""
        try:
            if self.pool is not None:
                if self.is_answering():
                    # This is a hook: it cannot answer what is asked while it waits here.
                    self.pool.questions.close()
                self.pool.give_notice(timeout)
            if self.native is not None:
                self.native.stop(timeout)
        finally:
            if self.pool is not None:
                self.pool.end()
