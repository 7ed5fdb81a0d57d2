"""Who holds a lease: which process of which machine, and whether it still runs."""

from __future__ import annotations

import functools
import json
import os
import platform
from pathlib import Path

from automix_cli.backends.store_entries import canonical


@functools.cache
def _host() -> str:
    """This boot of this machine; the process-id namespace tells containers apart."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
        return f"{boot} {os.readlink('/proc/self/ns/pid')}"
    except OSError:
        return platform.node()


def process_start(pid: int) -> str | None:
    """When a process began, as the kernel says it; None when it is dead, `""` when unknown.

    The time distinguishes a process from a later one with the same number.
    """
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return None
    except PermissionError:
        pass  # another user's process, so it runs
    try:
        status = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
    fields = status.rpartition(")")[2].split()
    return None if fields[0] == "Z" else fields[19]


def is_abandoned(owner: str) -> bool:
    """Whether a lease's owner ran on this machine and is dead, or is no owner at all."""
    try:
        row = json.loads(owner)
        return bool(row["host"] == _host() and process_start(row["pid"]) != row["start"])
    except (ValueError, KeyError, TypeError, OverflowError, RecursionError):
        return True


def lease_owner(store: str) -> str:
    """This process and one of its open stores, as the text of a lease."""
    pid = os.getpid()
    return canonical({"host": _host(), "pid": pid, "start": process_start(pid), "store": store})
