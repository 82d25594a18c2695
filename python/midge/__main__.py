"""The command ``midge``: ``serve``, ``exec``, ``pub``, ``sub`` and ``config``."""

from __future__ import annotations

import signal
import sys

from midge import _midge


def main() -> int:
    """Runs the command with the arguments of this process."""
    # The command handles signals itself; Python would raise KeyboardInterrupt after it.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    return _midge.command(["midge", *sys.argv[1:]])


if __name__ == "__main__":
    sys.exit(main())
