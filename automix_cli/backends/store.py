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
import errno
import os
import re
import secrets
import shutil
import sqlite3
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, NoReturn, TypeVar, cast

import diskcache
from diskcache.core import DEFAULT_SETTINGS, METADATA

from automix_cli.backends.store_disk import TextDisk
from automix_cli.backends.store_entries import (
    dump_entries,
    dump_failure,
    entry_key,
    failure_key,
    load_entry,
    load_failure,
)
from automix_cli.backends.store_errors import sqlite_codes
from automix_cli.backends.store_folder import (
    cache_folder,
    open_private,
    require_private_folder,
    temporary_folders,
)
from automix_cli.backends.store_leases import is_abandoned, lease_owner
from automix_cli.errors import BackendError, StorageError
from automix_cli.records import Completion
from automix_cli.texts import is_blank

T = TypeVar("T")

# ---------------------------------------------------------------- the store


class Busy(StorageError):
    """Another process has the database locked just now."""


class Damaged(StorageError):
    """The database cannot be read and has been set aside."""


# Every setting is passed on opening, so that none is read from the database. The file is not mapped into
# memory, because truncating a mapped file kills the process, and its pages count as memory used.
# SQLite caches 8 MB of pages rather than 32, which a long run would fill; the system caches the rest.
_SETTINGS = DEFAULT_SETTINGS | {
    "eviction_policy": "none",
    "cull_limit": 0,
    "statistics": 0,
    "sqlite_mmap_size": 0,
    "sqlite_cache_size": 2048,
}

_SCHEMA_DATABASES = {
    *("Settings", "sqlite_autoindex_Settings_1", "Cache", "Cache_key_raw", "Cache_expire_time"),
    *("Settings_count_insert", "Settings_count_delete"),
    *("Settings_size_insert", "Settings_size_update", "Settings_size_delete"),
}

_TAG = "CACHEDIR.TAG"
_TAG_TEXT = "Signature: 8a477f597d28d172789f06886806bc55\n# Completions kept by automix.\n"
_READY = "# The database has been created.\n"

_DATABASE: str = diskcache.core.DBNAME
_FILES = (_DATABASE, f"{_DATABASE}-wal", f"{_DATABASE}-shm")
_LOCK_WAIT = 0.05  # seconds the event loop may stand still for another process's lock


@dataclass(slots=True)
class Stats:
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

    Raises:
        StorageError: when the folder is not private, not ours or not writable.
        Damaged: when the database is broken; it has been renamed, and opening again
            starts an empty one.
    """

    def __init__(self, folder: Path, *, patience: float = 30.0) -> None:
        self.folder = folder
        self.patience = patience
        self.stats = Stats()
        self._bad: set[str] = set()
        self._id = secrets.token_hex(8)
        self._owner = (0, "")  # process id, lease text
        self._temporary: tempfile.TemporaryDirectory[str] | None = None
        self._cache: Any = None
        self._run = 0
        with self._storage_errors():
            self._prepare_folder()
            self._open_database()
            self._mark_ready()
            self._inode = self._path.stat().st_ino
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
        store = cls(Path(folder.name))
        store._temporary = folder
        return store

    @property
    def _path(self) -> Path:
        return self.folder / _DATABASE

    # ------------------------------------------------------------ opening

    def _prepare_folder(self) -> None:
        """Create folder, tag and empty database as far as they are missing, all private."""
        if os.path.expandvars(os.path.expanduser(self.folder)) != str(self.folder):
            # diskcache would expand it, and use a folder that has not been checked
            raise StorageError(f"cache folder {self.folder} has a variable in its name")
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        require_private_folder(self.folder, (*_FILES, _TAG))
        has_database = self._path.exists()  # read before the tag: the tag is created first
        tag = self._read_tag()
        if has_database and not tag.startswith(_TAG_TEXT):
            raise StorageError(
                f"{self._path} was not made by automix",
                hint=f"choose another folder with AUTOMIX_CACHE_DIR=PATH, or rm {self._path}",
            )
        if has_database and _READY in tag and self._path.stat().st_size == 0:
            self._set_aside("it is empty, and was not before")
        for path, text in ((self.folder / _TAG, _TAG_TEXT), (self._path, "")):
            with contextlib.suppress(FileExistsError), open(path, "x", opener=open_private) as file:
                file.write(text)

    def _read_tag(self) -> str:
        with contextlib.suppress(FileNotFoundError):
            return (self.folder / _TAG).read_text(encoding="utf-8", errors="replace")
        return ""

    def _mark_ready(self) -> None:
        if _READY not in self._read_tag():
            with open(self.folder / _TAG, "a", encoding="utf-8") as file:
                file.write(_READY)

    def _open_database(self) -> None:
        try:
            self._examine()
            self._cache = diskcache.Cache(str(self.folder), timeout=_LOCK_WAIT, disk=TextDisk, **_SETTINGS)
        except (ValueError, TypeError, KeyError) as exc:  # a changed setting or name
            self._set_aside(f"{type(exc).__name__}: {exc}")

    def _raw(self) -> contextlib.closing[sqlite3.Connection]:
        """The database without diskcache, in autocommit mode."""
        return contextlib.closing(sqlite3.connect(self._path, timeout=self.patience, isolation_level=None))

    def _examine(self) -> None:
        """Check the database before diskcache opens it, which obeys any setting in it.

        Taking the write lock here keeps the wait short: diskcache would wait a minute.
        """
        if self._path.stat().st_size == 0:
            return
        with self._raw() as db:
            db.execute("BEGIN IMMEDIATE")
            names = {name for (name,) in db.execute("SELECT name FROM sqlite_master")}
            setting_names = DEFAULT_SETTINGS.keys() | METADATA.keys()
            settings = db.execute("SELECT key, value FROM Settings") if "Settings" in names else ()
            strange = names - _SCHEMA_DATABASES or {
                key
                for key, value in settings
                if key not in setting_names or not re.fullmatch(r"[0-9]+|[a-z-]+", str(value))
            }
            db.execute("ROLLBACK")
        if strange:
            self._set_aside(f"it holds {min(map(str, strange))!r}, which automix never writes")

    # ------------------------------------------------------------ failing

    @contextlib.contextmanager
    def _storage_errors(self) -> Iterator[None]:
        """Raise our errors for those of SQLite, diskcache and the file system."""
        try:
            yield
        except (diskcache.Timeout, sqlite3.Error, OSError, UnicodeDecodeError) as exc:
            self._fail(exc)

    def _fail(self, exc: BaseException) -> NoReturn:
        """Raise the storage error that says what happened and what to do."""
        codes = sqlite_codes(exc)
        if codes & {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED}:
            raise Busy(
                f"another process has kept {self._path} locked", hint="wait for it, or use --no-cache"
            ) from exc
        self._disconnect()
        unreadable = isinstance(exc, sqlite3.Error | UnicodeDecodeError) and codes <= {
            0,
            sqlite3.SQLITE_ERROR,
        }
        if unreadable or codes & {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB}:
            self._set_aside(
                str(exc)
            )  # our statements are fixed, so SQLite refuses one only if the tables differ
        if sqlite3.SQLITE_FULL in codes or getattr(exc, "errno", None) == errno.ENOSPC:
            free = shutil.disk_usage(self.folder).free
            raise StorageError(
                f"no room for the cache in {self.folder}: {free:,} bytes free",
                hint="make room and run again: what is stored is not paid twice",
            ) from exc
        raise StorageError(
            f"cache in {self.folder}: {exc.__context__ or exc}",
            hint="choose another folder with AUTOMIX_CACHE_DIR=PATH, or use --no-cache",
        ) from exc

    def _set_aside(self, why: str) -> NoReturn:
        """Rename the database, with its log, so that the next run starts an empty one."""
        bad = self._path.with_name(f"{_DATABASE}.bad-{time.strftime('%Y%m%dT%H%M%S')}")
        try:
            (self.folder / _TAG).write_text(_TAG_TEXT, encoding="utf-8")
            for name in _FILES:
                with contextlib.suppress(FileNotFoundError):
                    (self.folder / name).rename(bad.with_name(bad.name + name.removeprefix(_DATABASE)))
        except OSError as exc:
            raise StorageError(f"the cache {self._path} is damaged ({why}), and stays: {exc}") from exc
        raise Damaged(
            f"the cache {self._path} is damaged ({why}); it is now {bad.name}",
            hint="run again to start an empty cache: completions kept in the old one would be paid again",
        )

    def _require_present(self) -> None:
        """Raise if the database was removed while in use; SQLite would write on to the deleted file."""
        with contextlib.suppress(FileNotFoundError):
            if self._path.stat().st_ino == self._inode:
                return
        raise StorageError(
            f"the cache {self._path} was removed while in use", hint="run again to start an empty one"
        )

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
        return self._load(failure_key(prompt, sample), load_failure, since)

    def _load(self, key: str, load: Callable[[str, str, int], T | None], since: int) -> T | None:
        """An entry as `load` reads it; a damaged one is a miss."""
        try:
            text = self._text(key)
            return None if text is None else load(key, text, since)
        except (ValueError, KeyError, TypeError, RecursionError):
            self._bad.add(key)  # a set, because a sample is looked up more than once
            self.stats.corrupt = len(self._bad)
            return None
        except (diskcache.Timeout, sqlite3.OperationalError):
            return None  # a read may succeed later, and a miss is safe
        except sqlite3.Error as exc:
            self._fail(exc)

    def get_samples(self, prompt: str, samples: Iterable[int], since: int = 0) -> dict[int, Completion]:
        """The stored ones among some samples of a prompt; see `get`."""
        completions = {sample: self.get(prompt, sample, since) for sample in samples}
        return {sample: c for sample, c in completions.items() if c is not None}

    def _text(self, key: str) -> str | None:
        """The text under a key; ValueError when the row holds something else."""
        try:
            return cast("str | None", self._cache.get(key))
        except sqlite3.OperationalError as exc:
            if hasattr(exc, "sqlite_errorcode"):
                raise
            raise ValueError("not UTF-8") from exc  # raised by Python for the row, not by SQLite

    def put(self, prompt: str, completions: Mapping[int, Completion]) -> None:
        """Store samples of a prompt, all or none.

        Raises:
            StorageError: when they cannot be written; `Busy` when they can be later.
        """
        entries = dump_entries(
            {
                entry_key(prompt, sample): completion
                for sample, completion in completions.items()
                if not is_blank(completion.text)
            },
            self._run,
        )
        self._write(entries)

    def put_failure(self, prompt: str, sample: int, error: BackendError) -> None:
        """Store a reply without text, with what it used, so that it is not bought again; see `put`."""
        key = failure_key(prompt, sample)
        self._write({key: dump_failure(key, error, self._run)})

    def _write(self, entries: Mapping[str, str]) -> None:
        """Store the texts of entries, all or none."""
        self._require_present()
        with self._storage_errors(), self._cache.transact():
            for key, text in entries.items():
                self._cache.set(key, text)
        self.stats.writes += len(entries)

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
                with self._storage_errors(), self._cache.transact():
                    self._run = self._last_refresh() + 1
                    self._cache.set(_REFRESHES, str(self._run))
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
        key, own = f"{prompt}/lease", self._own_lease()
        self._require_present()
        with self._storage_errors():
            if self._is_leased(key, own):  # checked before locking, because waiting must not disturb writers
                return False
            with self._cache.transact():
                if self._is_leased(key, own):
                    return False
                return bool(self._cache.set(key, own, expire=seconds))

    def release(self, prompt: str) -> None:
        """Release a lease, unless it has lapsed and another process has taken it."""
        key = f"{prompt}/lease"
        with self._storage_errors(), self._cache.transact():
            if self._lease(key) == self._own_lease():
                self._cache.delete(key)

    def _own_lease(self) -> str:
        """The lease text of this store, made once a process: a fork is another owner."""
        pid = os.getpid()
        if self._owner[0] != pid:
            self._owner = (pid, lease_owner(self._id))
        return self._owner[1]

    def _lease(self, key: str) -> str | None:
        """The text of a valid lease; a row that is no text counts as none."""
        with contextlib.suppress(ValueError):
            return self._text(key)
        return None

    def _is_leased(self, key: str, own: str) -> bool:
        owner = self._lease(key)
        return owner is not None and owner != own and not is_abandoned(owner)

    # ------------------------------------------------------------ the whole

    def clear(self) -> int:
        """Remove all completions and databases set aside; return how many completions went."""
        with self._storage_errors(), self._raw() as db:
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

    def _disconnect(self) -> None:
        if self._cache is not None:
            self._cache.close()

    def close(self) -> None:
        """Close the database; a temporary store is removed."""
        self._disconnect()
        if self._temporary is not None:
            self._temporary.cleanup()
            temporary_folders.discard(self._temporary.name)


_REFRESHES = "refreshes"
_IS_MEMO = "substr(key, -5) = '/memo'"
_IS_COMPLETION = f"(substr(key, -6) <> '/lease' AND NOT {_IS_MEMO} AND key <> '{_REFRESHES}')"
_COUNT = f"SELECT count(*) FROM Cache WHERE {_IS_COMPLETION}"


def _databases_set_aside(folder: Path) -> tuple[Path, ...]:
    return tuple(sorted(folder.glob(f"{_DATABASE}.bad-*")))


def survey(folder: Path) -> StoreInfo:
    """Count what a cache folder holds, without creating or changing anything.

    Raises:
        StorageError: when the database is there but cannot be read.
    """
    files = [folder / name for name in _FILES if (folder / name).exists()]
    size = sum(path.stat().st_size for path in files)
    bad = _databases_set_aside(folder)
    if not files or (folder / _DATABASE).stat().st_size == 0:
        return StoreInfo(folder, 0, size, bad)
    try:
        uri = f"{(folder / _DATABASE).as_uri()}?mode=ro"
        with contextlib.closing(sqlite3.connect(uri, uri=True, timeout=_LOCK_WAIT)) as db:
            ((entries,),) = db.execute(_COUNT)
    except sqlite3.Error as exc:
        raise StorageError(
            f"the cache {folder / _DATABASE} cannot be read: {exc}",
            hint="automix cache clear --yes starts an empty one",
        ) from exc
    return StoreInfo(folder, int(entries), size, bad)
