"""Completions on disk, shared by any number of processes.

The database is SQLite through diskcache, which trusts all that a folder holds: it unpickles rows,
opens and deletes the files that rows name, and applies any setting. Here every value is JSON text
inside its row, with a checksum over key and text; a row of another kind is a miss and is not loaded.
Nothing is ever evicted, because every entry was paid for. Folder and files are private to the user,
and a folder that others can write to is refused.

Not protected are the entries of the last second before a power cut (SQLite's `synchronous=NORMAL`;
a killed process loses none), and a folder on a network file system.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
import tempfile
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple, TypeVar

from msgspec import Struct

from automix_cli.backends.store_database import DATABASE, FILES, LOCK_WAIT, Busy, Damaged, Database
from automix_cli.backends.store_entries import (
    dump_entries,
    dump_failure,
    entry_key,
    failure_key,
    load_entry,
    load_failure,
)
from automix_cli.backends.store_folder import cache_folder, temporary_folders
from automix_cli.backends.store_leases import is_abandoned, lease_owner
from automix_cli.errors import BackendError, StorageError
from automix_cli.records import Completion
from automix_cli.texts import is_blank

__all__ = ["Busy", "Damaged", "Stats", "Store", "StoreInfo", "survey"]

T = TypeVar("T")


class Stats(Struct):
    """Counts of a store: samples returned, samples written, and damaged entries."""

    hits: int = 0
    writes: int = 0
    corrupt: int = 0


class StoreInfo(NamedTuple):
    """What a cache folder holds; `damaged_files` are databases that were set aside."""

    folder: Path
    entries: int
    bytes: int
    damaged_files: tuple[Path, ...] = ()


class Store:
    """A folder of completions, shared by any number of processes.

    Opening it creates what is missing, and waits up to `patience` seconds for a lock. The
    methods take 10 to 150 µs, and raise `Busy` after 50 ms of waiting for a lock.

    Attributes:
        is_shared: whether other processes may open it, too: only then leases are needed.
        version: of the database when writes were last made `together`; while it stays the same, nobody
            else has stored anything since.

    Raises:
        StorageError: when the folder is not private, not ours or not writable.
        Damaged: when the database is broken; it has been renamed, and opening again
            starts an empty one.
    """

    def __init__(self, folder: Path, *, patience: float = 30.0, is_shared: bool = True) -> None:
        self.folder = folder
        self.patience = patience
        self.is_shared = is_shared
        self.version = -1
        self._may_hold_failures = is_shared
        self.stats = Stats()
        self._bad: set[str] = set()
        self._id = os.urandom(8).hex()
        self._owner = (0, "")  # process id, lease text
        self._temporary: tempfile.TemporaryDirectory[str] | None = None
        self.database = Database(folder, patience)
        with self.database.storage_errors():
            self._run = self._last_refresh()

    @classmethod
    def open(cls) -> Store:
        """The user's store, where the environment says it is."""
        return cls(cache_folder(os.environ))

    @classmethod
    def temporary(cls) -> Store:
        """A store that lasts until it is closed: `--no-cache`."""
        folder = tempfile.TemporaryDirectory(prefix="automix-")
        temporary_folders.add(folder.name)
        store = cls(Path(folder.name), is_shared=False)
        store._temporary = folder
        return store

    # ------------------------------------------------------------ entries

    def get(self, prompt: str, sample: int, since: int = 0) -> Completion | None:
        """A stored sample of a prompt, unless it was stored before the refresh `since`.

        A damaged entry is a miss, and counts in `stats.corrupt`.

        Raises:
            Damaged: when the database itself is broken.
        """
        completion = self._load(entry_key(prompt, sample), load_entry, since)
        self.stats.hits += completion is not None
        return completion

    def get_failure(self, prompt: str, sample: int, since: int = 0) -> BackendError | None:
        """The reply without text that a sample of a prompt got and was charged for; see `get`."""
        if not self._may_hold_failures:
            return None
        return self._load(failure_key(prompt, sample), load_failure, since)

    def _load(
        self, key: str, load: Callable[[str, str, int], T | None], since: int, text: str | None = None
    ) -> T | None:
        """An entry as `load` reads it from its text, or from the database; a damaged one is a miss."""
        try:
            text = self.database.read(key) if text is None else text
            return None if text is None else load(key, text, since)
        except (ValueError, KeyError, TypeError, RecursionError):
            self._bad.add(key)  # a set, because a sample is looked up more than once
            self.stats.corrupt = len(self._bad)
            return None
        except sqlite3.OperationalError:
            return None  # a read may succeed later, and a miss is safe
        except sqlite3.Error as exc:
            self.database.fail(exc)

    def get_samples(self, prompt: str, samples: Iterable[int], since: int = 0) -> dict[int, Completion]:
        """The stored ones among some samples of a prompt; see `get`."""
        samples = tuple(samples)
        if len(samples) == 1:
            completion = self.get(prompt, samples[0], since)
            return {} if completion is None else {samples[0]: completion}
        keys = {entry_key(prompt, sample): sample for sample in samples}
        completions = {
            keys[key]: self._load(key, load_entry, since, text) for key, text in self._texts(list(keys))
        }
        hits = {sample: c for sample, c in completions.items() if c is not None}
        self.stats.hits += len(hits)
        return hits

    def _texts(self, keys: Sequence[str]) -> Iterable[tuple[str, str | None]]:
        """The texts of those keys that are there; None where one has to be read alone."""
        try:
            return self.database.read_many(keys).items()
        except sqlite3.OperationalError:
            return ()  # see `_load`
        except sqlite3.Error as exc:
            self.database.fail(exc)

    def put(self, prompt: str, completions: Mapping[int, Completion]) -> None:
        """Store samples of a prompt, all or none.

        Raises:
            StorageError: when they cannot be written; `Busy` when they can be later.
        """
        self._write(self._entries(prompt, completions))

    def put_and_release(self, prompt: str, completions: Mapping[int, Completion]) -> None:
        """Store the last samples of a prompt and release its lease, whose row may be taken; see `put`."""
        entries = self._entries(prompt, completions)
        lease = f"{prompt}/lease", self._own_lease()
        with self.database.transaction():
            if len(entries) == 1 and self.database.replace(lease, *entries.copy().popitem()):
                self.stats.writes += 1
                return
            self._write(entries)
            self.database.delete(*lease)

    def _entries(self, prompt: str, completions: Mapping[int, Completion]) -> dict[str, str]:
        """The texts of samples by key, without blank ones."""
        return dump_entries(
            {
                entry_key(prompt, sample): completion
                for sample, completion in completions.items()
                if not is_blank(completion.text)
            },
            self._run,
        )

    def put_failure(self, prompt: str, sample: int, error: BackendError) -> None:
        """Store a reply without text, with what it used, so that it is not bought again; see `put`."""
        key = failure_key(prompt, sample)
        self._may_hold_failures = True
        self._write({key: dump_failure(key, error, self._run)})

    def _write(self, entries: Mapping[str, str]) -> None:
        """Store the texts of entries, all or none."""
        with self.database.transaction():
            for key, text in entries.items():
                self.database.write(key, text)
        self.stats.writes += len(entries)

    def together(self, writes: Sequence[Callable[[], T]]) -> list[T]:
        """The results of several writes, all or none of which are stored; see `put`."""
        with self.database.transaction():
            self.version = self.database.version()
            return [write() for write in writes]

    def get_memo(self, name: str) -> str:
        """A text that is no completion, kept until the cache is cleared; "" where there is none."""
        entry = self._load(f"{name}/memo", load_entry, 0)
        return "" if entry is None else entry.text

    def put_memo(self, name: str, text: str) -> None:
        """Store a text that is no completion; see `put`."""
        self._write(dump_entries({f"{name}/memo": Completion(text=text)}, self._run))

    def begin_refresh(self) -> int:
        """Number a new refresh: `get` with this number accepts only what is stored from now on.

        Refreshes are counted, because a clock can be set back.

        Raises:
            Busy: the database stayed locked for the store's patience.
        """
        until = time.monotonic() + self.patience
        while True:
            try:
                with self.database.transaction():
                    self._run = self._last_refresh() + 1
                    self.database.write(_REFRESHES, str(self._run))
                return self._run
            except Busy:
                if time.monotonic() > until:
                    raise
            time.sleep(0.1)

    def _last_refresh(self) -> int:
        """The number of the last refresh by any process; 0 before the first."""
        text = self._lease(_REFRESHES) or ""
        return int(text) if text.isascii() and text.isdigit() and len(text) < 16 else 0

    # ------------------------------------------------------------ leases

    def take(self, prompt: str, seconds: float) -> bool:
        """Try to take the lease of a prompt; whoever has it buys its samples.

        A lease lapses after `seconds`, and at once when its owner ran on this machine
        and is dead.
        """
        own = self._own_lease()
        with self.database.transaction():
            if self.database.add(f"{prompt}/lease", own, expire=seconds):
                return True
            if self.is_taken(prompt):
                return False
            self.database.write(f"{prompt}/lease", own, expire=seconds)  # lapsed, abandoned, or our own
            return True

    def is_taken(self, prompt: str) -> bool:
        """Whether another store has the lease of a prompt: asked again and again, it disturbs no writer."""
        owner = self._lease(f"{prompt}/lease")
        return owner is not None and owner != self._own_lease() and not is_abandoned(owner)

    def release(self, prompt: str) -> None:
        """Release a lease, unless it has lapsed and another process has taken it."""
        with self.database.transaction():
            self.database.delete(f"{prompt}/lease", self._own_lease())

    def _own_lease(self) -> str:
        """The lease text of this store, made once a process: a fork is another owner."""
        pid = os.getpid()
        if self._owner[0] != pid:
            self._owner = (pid, lease_owner(self._id))
        return self._owner[1]

    def _lease(self, key: str) -> str | None:
        """The text of a valid lease; a row that is no text counts as none."""
        with contextlib.suppress(ValueError):
            return self.database.read(key)
        return None

    # ------------------------------------------------------------ the whole

    def clear(self) -> int:
        """Remove all completions and databases set aside; return how many completions went."""
        with self.database.storage_errors(), self.database.raw() as db:
            db.execute("BEGIN IMMEDIATE")
            ((entries,),) = db.execute(_COUNT)
            db.execute(
                f"DELETE FROM Cache WHERE {_IS_COMPLETION} OR {_IS_MEMO} OR expire_time < ?", (time.time(),)
            )
            db.execute("COMMIT")
            db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
            for path in _databases_set_aside(self.folder):
                path.unlink(missing_ok=True)
        return int(entries)

    def close(self) -> None:
        """Close the database; a temporary store is removed."""
        self.database.close()
        if self._temporary is not None:
            self._temporary.cleanup()
            temporary_folders.discard(self._temporary.name)


_REFRESHES = "refreshes"
_IS_MEMO = "substr(key, -5) = '/memo'"
_IS_COMPLETION = f"(substr(key, -6) <> '/lease' AND NOT {_IS_MEMO} AND key <> '{_REFRESHES}')"
_COUNT = f"SELECT count(*) FROM Cache WHERE {_IS_COMPLETION}"


def _databases_set_aside(folder: Path) -> tuple[Path, ...]:
    return tuple(sorted(folder.glob(f"{DATABASE}.bad-*")))


def survey(folder: Path) -> StoreInfo:
    """Count what a cache folder holds, without creating or changing anything.

    Raises:
        StorageError: when the database is there but cannot be read.
    """
    files = [folder / name for name in FILES if (folder / name).exists()]
    size = sum(path.stat().st_size for path in files)
    bad = _databases_set_aside(folder)
    if not files or (folder / DATABASE).stat().st_size == 0:
        return StoreInfo(folder, 0, size, bad)
    try:
        uri = f"{(folder / DATABASE).as_uri()}?mode=ro"
        with contextlib.closing(sqlite3.connect(uri, uri=True, timeout=LOCK_WAIT)) as db:
            ((entries,),) = db.execute(_COUNT)
    except sqlite3.Error as exc:
        raise StorageError(
            f"the cache {folder / DATABASE} cannot be read: {exc}",
            hint="automix cache clear --yes starts an empty one",
        ) from exc
    return StoreInfo(folder, int(entries), size, bad)
