"""Signals that end a run: the iteration at hand is finished and kept, and how to go on is said."""

import contextlib
import os
import signal
import sys
import threading
from types import FrameType, TracebackType
from typing import Any

_HEEDED = tuple(getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name))
_SHOW_CURSOR = "\x1b[?25h"


class StoppedError(BaseException):
    """A signal ends the command.

    Like ``KeyboardInterrupt`` it is no ``Exception``: nothing that handles errors takes it for one.

    Attributes:
        number: The signal's.
        advice: What was kept and how to go on; empty where nobody knows yet.
    """

    def __init__(self, number: int, advice: str = "") -> None:
        super().__init__(f"stopped by {signal.Signals(number).name}{advice and '; '}{advice}")
        self.number = number

    @property
    def code(self) -> int:
        """The exit code: 128 and the signal's number."""
        return 128 + self.number


class Signals:
    """Heeds SIGINT, SIGTERM and SIGHUP inside a ``with``, but for those that are ignored (``nohup``).

    The first raises :class:`StoppedError` at once, or at the next :meth:`check` while ``deferred``. A
    second one exits at once.

    Attributes:
        caught: The first signal's number.
        deferred: Whether somebody calls :meth:`check` before long.
    """

    def __init__(self) -> None:
        self.caught: int | None = None
        self.deferred = False
        self._before: dict[int, Any] = {}

    def __enter__(self) -> "Signals":
        if threading.current_thread() is threading.main_thread():
            for number in _HEEDED:
                if signal.getsignal(number) is not signal.SIG_IGN:
                    self._before[number] = signal.signal(number, self._handle)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def check(self) -> None:
        """Raise :class:`StoppedError` where a signal was caught."""
        if self.caught is not None:
            raise StoppedError(self.caught)

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if self.caught is not None:
            if sys.stderr.isatty():
                _write(_SHOW_CURSOR)
            os._exit(128 + number)
        self.caught = number
        if not self.deferred:
            raise StoppedError(number)
        _write(
            "\npydistill: finishing this iteration, then writing a checkpoint; once more: exit at once\n"
        )


def _write(text: str) -> None:
    """Past every buffer, which the signal may have come in the middle of."""
    with contextlib.suppress(OSError):  # the terminal may be gone
        os.write(2, text.encode())
