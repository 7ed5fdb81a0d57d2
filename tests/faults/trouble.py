"""What a forked child can be made to meet: a crash, a limit, a leap of its clock, a signal that it ignores.

Its waits between attempts can be made short. Crash points are armed from outside, by wrapping functions in
the child; the program knows none of them.
"""

import os
import signal
from typing import Any


def _half_a_row(writer: Any, line: bytes) -> None:
    writer.stream.write(line[: len(line) // 2])
    writer.stream.flush()


POINTS: dict[str, tuple[str, str, str]] = {
    "before the request is sent": ("automix_cli.backends.retry:Retrier", "_send", "before"),
    "after the response": ("automix_cli.backends.client:Client", "_attempt", "after"),
    "before the lease is committed": ("automix_cli.backends.store:Store", "take", "after"),
    "in the cache transaction": ("automix_cli.backends.store_database:Database", "write", "after"),
    "in the row of its lease": ("automix_cli.backends.store_database:Database", "replace", "after"),
    "before the cache commit": ("automix_cli.backends.cache:Cached", "_keep", "after"),
    "after a commit": ("automix_cli.backends.store:Store", "together", "after"),
    "in the settling of the budget": ("automix_cli.backends.budget:Budget", "settle", "before"),
    "in the middle of a row": ("automix_cli.data.output:RowWriter", "write_line", "half"),
    "after the row": ("automix_cli.data.output:RowWriter", "write_line", "after"),
    "before two files are joined": ("automix_cli.data.output:EarlierRows", "_index", "after"),
    "before the new file takes its place": ("automix_cli.data.output:EarlierRows", "finish", "before"),
    "after the new file took its place": ("automix_cli.data.output:EarlierRows", "finish", "after"),
}


def _arm(point: str, times: int, number: int = signal.SIGKILL) -> None:
    """Have the process send itself a signal the `times`-th time it passes a point."""
    import asyncio
    import functools
    import importlib

    where, name, when = POINTS[point]
    module, _, owner = where.partition(":")
    holder = getattr(importlib.import_module(module), owner)
    real, left = getattr(holder, name), [times]

    def reached() -> bool:
        left[0] -= 1
        return left[0] == 0

    def hit() -> None:
        os.kill(os.getpid(), number)

    @functools.wraps(real)
    def sync(*args: Any, **more: Any) -> Any:
        last = reached()
        if last and when == "half":
            _half_a_row(*args)
        if last and when != "after":
            hit()
        done = real(*args, **more)
        if last and when == "after":
            hit()
        return done

    @functools.wraps(real)
    async def waiting(*args: Any, **more: Any) -> Any:
        last = reached()
        if last and when != "after":
            hit()
        done = await real(*args, **more)
        if last and when == "after":
            hit()
        return done

    setattr(holder, name, waiting if asyncio.iscoroutinefunction(real) else sync)


def prepare(settings: dict[str, Any]) -> None:
    """Make a child what a test wants; called in it before its command."""
    if waits := settings.get("waits"):
        from automix_cli.backends.retry import Retrier

        Retrier.__init__.__kwdefaults__["backoff"] = waits
    if number := settings.get("ignored"):
        signal.signal(number, signal.SIG_IGN)
    for kind, most in settings.get("limits", ()):
        import resource

        resource.setrlimit(kind, (most, most))
    if seconds := settings.get("leap"):
        _leap_on_signal(seconds)
    if crash := settings.get("crash"):
        _arm(*crash)


def _leap_on_signal(seconds: float) -> None:
    """Put the clock of event loops forward at every SIGUSR1, as if the time had passed without a turn."""
    import asyncio

    real, ahead = asyncio.BaseEventLoop.time, [0.0]

    def leap(number: int, frame: Any) -> None:
        ahead[0] += seconds

    signal.signal(signal.SIGUSR1, leap)
    asyncio.BaseEventLoop.time = lambda loop: real(loop) + ahead[0]  # type: ignore[method-assign]
