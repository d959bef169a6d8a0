"""Importing what others wrote: it may raise, print, or end the process, and must not take the run along.

What would end the process is found out in a forked copy of it, which costs some milliseconds and the import itself.
A run whose process ends at import would otherwise be over without a word, and with whatever exit code the plugin chose.
Does not protect from: what a plugin changes while it is imported, what it writes to file descriptors itself, and,
on systems without fork, its ending the process.
"""

from __future__ import annotations

import contextlib
import faulthandler
import io
import os
import signal
import time
from collections.abc import Callable, Iterator, Mapping

SECONDS = 120.0
"""Longer than any import takes."""
_SURVIVED = 87  # an exit code that a plugin is not likely to choose
_fatal: dict[str, str] = {}
_asked = True


def fatal() -> dict[str, str]:
    """The plugins whose import was found to end the process: name -> how."""
    return dict(_fatal)


def take_over(found: Mapping[str, str]) -> None:
    """Believe what another process found, and ask no more: for workers, whose end is only an error."""
    global _asked
    _asked = False
    _fatal.update(found)


def ends_process(name: str, load: Callable[[], object]) -> str | None:
    """How `load` would end this process, in one line; None where it would not."""
    if _asked and name not in _fatal and hasattr(os, "fork") and (reason := _try(load)):
        _fatal[name] = reason
    return _fatal.get(name)


@contextlib.contextmanager
def silently() -> Iterator[None]:
    """Within it prints go nowhere: they would stand in the middle of a report, or of JSON."""
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        yield


def _try(load: Callable[[], object]) -> str | None:
    child = os.fork()
    if child == 0:
        try:
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, 1)
            os.dup2(nowhere, 2)
            faulthandler.disable()  # pytest's writes to a copy of the terminal
            load()
        except BaseException:  # is told when it is imported in earnest
            pass
        finally:
            os._exit(_SURVIVED)
    deadline = time.monotonic() + SECONDS
    while not (found := os.waitpid(child, os.WNOHANG))[0]:
        if time.monotonic() > deadline:
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
            return f"its import did not end in {SECONDS:g} s"
        time.sleep(0.002)
    code = os.waitstatus_to_exitcode(found[1])
    if code == _SURVIVED:
        return None
    how = f"with {signal.Signals(-code).name}" if code < 0 else f"with exit code {code}"
    return f"its import ends the process {how}"
