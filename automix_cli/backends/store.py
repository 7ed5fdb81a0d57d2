"""Completions on disk, shared by any number of processes.

The database is SQLite by way of diskcache, which trusts whatever it finds in a folder: it
unpickles rows, opens and deletes the files that rows name, and applies any setting. Here
every value is JSON text inside its row, with a checksum over key and text; a row of another
kind is a miss and is neither loaded nor followed. Nothing is ever evicted, for every entry
was paid for. Folder and files are private to the user, and a folder that others could have
written to is refused.

Not protected: a power cut may take the last second's entries with it (SQLite's
`synchronous=NORMAL`; a killed process loses none), and a folder on a network file system.
"""

from __future__ import annotations

import contextlib
import errno
import functools
import hashlib
import json
import os
import platform
import re
import secrets
import shutil
import sqlite3
import stat
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import takewhile
from pathlib import Path
from typing import Any, NamedTuple, NoReturn, cast

import diskcache
from diskcache.core import DEFAULT_SETTINGS, METADATA, MODE_RAW, UNKNOWN

from automix_cli.errors import StorageError
from automix_cli.records import Completion, TokenLogprob, Usage

ENTRY_SCHEMA = 1
"""Part of every key: raising it makes all older entries misses."""


# ---------------------------------------------------------------- the folder


def cache_folder(environ: Mapping[str, str]) -> Path:
    """Where completions are kept; the folder need not exist yet.

    `AUTOMIX_CACHE_DIR` is taken at its word. Otherwise the folder is `automix` under
    `XDG_CACHE_HOME`, or under the platform's own cache folder.

    Raises:
        StorageError: when there is no home, or the default would lie in a git work tree,
            where a cloned repository could have planted it.

    Example:
        >>> str(cache_folder({"AUTOMIX_CACHE_DIR": "/var/cache/mine"}))
        '/var/cache/mine'
    """
    if environ.get("AUTOMIX_CACHE_DIR"):
        return Path(os.path.abspath(os.path.expanduser(environ["AUTOMIX_CACHE_DIR"])))
    choose = "choose a folder with AUTOMIX_CACHE_DIR=PATH, or use --no-cache"
    try:
        home = Path(environ["HOME"]) if environ.get("HOME") else Path.home()
    except RuntimeError:
        raise StorageError("there is no home folder to keep the cache in", hint=choose) from None
    # The XDG specification: a relative path is invalid and to be ignored.
    xdg = Path(environ.get("XDG_CACHE_HOME", ""))
    own = home / ("Library/Caches" if sys.platform == "darwin" else ".cache")
    folder = (xdg if xdg.is_absolute() else own) / "automix"
    if tree := _work_tree(folder, home):
        raise StorageError(f"cache folder {folder} lies in the git work tree {tree}", hint=choose)
    return folder


def _work_tree(folder: Path, home: Path) -> Path | None:
    """The git work tree around a folder; a home that is itself one (dotfiles) does not count."""
    inside = takewhile(lambda parent: parent != home, folder.parents)
    return next((parent for parent in inside if (parent / ".git").exists()), None)


def _require_private(path: Path) -> None:
    """Refuse a path that another user owns or can write to: its content would be theirs."""
    found = path.stat()
    if found.st_uid != os.geteuid():
        raise StorageError(
            f"{path} belongs to another user", hint="choose a folder of your own with AUTOMIX_CACHE_DIR=PATH"
        )
    if found.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        raise StorageError(f"other users can write to {path}", hint=f"chmod go-w {path}")


def _require_private_file(path: Path) -> None:
    """The same for a database file, which besides must be a plain file that only the user reads."""
    if not path.exists() and not path.is_symlink():
        return
    if path.is_symlink() or not path.is_file():
        raise StorageError(f"{path} is not a plain file", hint=f"rm {path}")
    _require_private(path)
    path.chmod(0o600)


# ---------------------------------------------------------------- one entry


def canonical(value: Any) -> str:
    """JSON with one spelling per value; ASCII, because SQLite cannot hold a lone surrogate."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"))


def entry_key(prompt: str, sample: int) -> str:
    """The key of one sample of a prompt (its fingerprint)."""
    return f"{prompt}/{sample}"


def _checksum(key: str, body: str) -> str:
    """Covers the key too, so that a row that lands under another key is noticed."""
    return hashlib.sha256(f"{key}\n{body}".encode()).hexdigest()


_HEAD = len('{"sha256":"') + 64 + len('",')


def _dump_entry(key: str, completion: Completion) -> str:
    """An entry's text: a JSON object that begins with the checksum of the rest of it."""
    body = canonical(
        {
            "schema": ENTRY_SCHEMA,
            "stored": time.time(),
            "text": completion.text,
            "usage": completion.usage.to_dict(),
            "finish_reason": completion.finish_reason,
            "latency_s": completion.latency_s,
            "logprobs": completion.logprobs,
            "flags": completion.flags,
        }
    )
    return f'{{"sha256":"{_checksum(key, body)}",{body[1:]}'


def _load_entry(key: str, text: str, since: float) -> Completion | None:
    """Read an entry, or None if it was stored before `since` (Unix time).

    The checksum is over the text as it stands, and is compared before that is parsed.
    """
    body = "{" + text[_HEAD:]
    if text[:_HEAD] != f'{{"sha256":"{_checksum(key, body)}",':
        raise ValueError("checksum differs")
    row = json.loads(body)
    if row["stored"] < since:
        return None
    return Completion(
        text=row["text"],
        usage=Usage(**row["usage"]),
        finish_reason=row["finish_reason"],
        latency_s=row["latency_s"],
        logprobs=tuple(
            TokenLogprob(token, logprob, tuple((t, p) for t, p in top))
            for token, logprob, top in row["logprobs"]
        ),
        cached=True,
        flags=tuple(row["flags"]),
    )


# ---------------------------------------------------------------- who holds a lease


@functools.cache
def _host() -> str:
    """This boot of this machine; the process-id namespace tells containers apart."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
        return f"{boot} {os.readlink('/proc/self/ns/pid')}"
    except OSError:
        return platform.node()


def _started(pid: int) -> str | None:
    """When a process began, in the kernel's own words; None when it is dead, `""` when unknown.

    The time tells a process from a later one that was given the same number.
    """
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return None
    except PermissionError:
        pass  # somebody else's, so it lives
    try:
        status = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
    fields = status.rpartition(")")[2].split()
    return None if fields[0] == "Z" else fields[19]


def _abandoned(owner: str) -> bool:
    """Whether a lease's owner ran on this machine and is dead, or is no owner at all."""
    try:
        row = json.loads(owner)
        return bool(row["host"] == _host() and _started(row["pid"]) != row["start"])
    except (ValueError, KeyError, TypeError, OverflowError, RecursionError):
        return True


# ---------------------------------------------------------------- the store


class Busy(StorageError):
    """Another process has the database locked just now."""


class Damaged(StorageError):
    """The database cannot be read and has been set aside."""


class _TextDisk(diskcache.Disk):  # type: ignore[misc]
    """Keys and values are text inside the row; every other kind of row is refused unread."""

    def put(self, key: object) -> tuple[str, bool]:
        if type(key) is not str:
            raise TypeError(f"cache keys are text, got {type(key).__name__}")
        return key, True

    def get(self, key: object, raw: bool) -> str:
        if not raw or type(key) is not str:
            raise ValueError("a key that is not text")
        return key

    def store(self, value: object, read: bool, key: object = UNKNOWN) -> tuple[int, int, None, str]:
        if type(value) is not str:
            raise TypeError(f"cache values are text, got {type(value).__name__}")
        return 0, MODE_RAW, None, value

    def fetch(self, mode: int, filename: str | None, value: object, read: bool) -> str:
        if mode != MODE_RAW or filename is not None or type(value) is not str:
            raise ValueError("a value that is not text in its row")
        return value

    def remove(self, file_path: str) -> None:
        """Do nothing: no value is kept in a file, so a row that names one was planted."""


# Every setting is given on opening, so that none is taken from the database. The file is not mapped into
# memory: a mapped file that somebody truncates kills the process, and its pages count as memory used.
# SQLite holds 8 MB of pages rather than 32, which a long run would slowly fill; the system caches the rest.
_SETTINGS = DEFAULT_SETTINGS | {
    "eviction_policy": "none",
    "cull_limit": 0,
    "statistics": 0,
    "sqlite_mmap_size": 0,
    "sqlite_cache_size": 2048,
}

_SCHEMA_NAMES = {
    *("Settings", "sqlite_autoindex_Settings_1", "Cache", "Cache_key_raw", "Cache_expire_time"),
    *("Settings_count_insert", "Settings_count_delete"),
    *("Settings_size_insert", "Settings_size_update", "Settings_size_delete"),
}

_TAG = "CACHEDIR.TAG"
_TAG_TEXT = "Signature: 8a477f597d28d172789f06886806bc55\n# Completions kept by automix.\n"
_READY = "# The database has been created.\n"

_NAME: str = diskcache.core.DBNAME
_FILES = (_NAME, f"{_NAME}-wal", f"{_NAME}-shm")
_LOCK_WAIT = 0.05  # seconds the event loop may stand still for another process's lock


@dataclass(slots=True)
class Stats:
    """What a store did: samples served, samples written, and entries refused as damaged."""

    hits: int = 0
    stored: int = 0
    corrupt: int = 0


class StoreInfo(NamedTuple):
    """What a cache folder holds; `damaged` are databases that were set aside."""

    folder: Path
    entries: int
    bytes: int
    damaged: tuple[Path, ...] = ()


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
        self._temporary: tempfile.TemporaryDirectory[str] | None = None
        self._cache: Any = None
        with self._guarded():
            self._prepare_folder()
            self._open_database()
            self._mark_ready()
            self._inode = self._path.stat().st_ino

    @classmethod
    def open(cls) -> Store:
        """The user's store, where the environment says it is."""
        return cls(cache_folder(os.environ))

    @classmethod
    def temporary(cls) -> Store:
        """A store that lasts until it is closed: `--no-cache`."""
        folder = tempfile.TemporaryDirectory(prefix="automix-")
        store = cls(Path(folder.name))
        store._temporary = folder
        return store

    @property
    def _path(self) -> Path:
        return self.folder / _NAME

    # ------------------------------------------------------------ opening

    def _prepare_folder(self) -> None:
        """Create folder, tag and empty database as far as they are missing, all private."""
        if os.path.expandvars(os.path.expanduser(self.folder)) != str(self.folder):
            # diskcache would expand it, and use a folder that nobody has looked at
            raise StorageError(f"cache folder {self.folder} has a variable in its name")
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        _require_private(self.folder)
        for name in (*_FILES, _TAG):
            _require_private_file(self.folder / name)
        found = self._path.exists()  # before the tag is read: whoever creates both begins with the tag
        tag = self._read_tag()
        if found and not tag.startswith(_TAG_TEXT):
            raise StorageError(
                f"{self._path} was not made by automix",
                hint=f"choose another folder with AUTOMIX_CACHE_DIR=PATH, or rm {self._path}",
            )
        if found and _READY in tag and self._path.stat().st_size == 0:
            self._set_aside("it is empty, and was not before")
        for path, text in ((self.folder / _TAG, _TAG_TEXT), (self._path, "")):
            with contextlib.suppress(FileExistsError), open(path, "x", opener=_private) as file:
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
            self._cache = diskcache.Cache(str(self.folder), timeout=_LOCK_WAIT, disk=_TextDisk, **_SETTINGS)
        except (ValueError, TypeError, KeyError) as exc:  # a setting or name that is no longer what it was
            self._set_aside(f"{type(exc).__name__}: {exc}")

    def _raw(self) -> contextlib.closing[sqlite3.Connection]:
        """The database without diskcache, in autocommit mode."""
        return contextlib.closing(sqlite3.connect(self._path, timeout=self.patience, isolation_level=None))

    def _examine(self) -> None:
        """Look at the database before diskcache does, which obeys any setting it finds there.

        Taking the write lock here keeps the wait short: diskcache would wait a minute.
        """
        if self._path.stat().st_size == 0:
            return
        with self._raw() as db:
            db.execute("BEGIN IMMEDIATE")
            names = {name for (name,) in db.execute("SELECT name FROM sqlite_master")}
            known = DEFAULT_SETTINGS.keys() | METADATA.keys()
            settings = db.execute("SELECT key, value FROM Settings") if "Settings" in names else ()
            strange = names - _SCHEMA_NAMES or {
                key
                for key, value in settings
                if key not in known or not re.fullmatch(r"[0-9]+|[a-z-]+", str(value))
            }
            db.execute("ROLLBACK")
        if strange:
            self._set_aside(f"it holds {min(map(str, strange))!r}, which automix never writes")

    # ------------------------------------------------------------ failing

    @contextlib.contextmanager
    def _guarded(self) -> Iterator[None]:
        """Turn what SQLite, diskcache and the file system raise into our errors."""
        try:
            yield
        except (diskcache.Timeout, sqlite3.Error, OSError, UnicodeDecodeError) as exc:
            self._fail(exc)

    def _fail(self, exc: BaseException) -> NoReturn:
        """Raise the storage error that tells what happened and what to do."""
        codes = _sqlite_codes(exc)
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
            self._set_aside(str(exc))  # our statements are fixed: one that SQLite refuses finds other tables
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
        bad = self._path.with_name(f"{_NAME}.bad-{time.strftime('%Y%m%dT%H%M%S')}")
        try:
            (self.folder / _TAG).write_text(_TAG_TEXT, encoding="utf-8")
            for name in _FILES:
                with contextlib.suppress(FileNotFoundError):
                    (self.folder / name).rename(bad.with_name(bad.name + name.removeprefix(_NAME)))
        except OSError as exc:
            raise StorageError(f"the cache {self._path} is damaged ({why}), and stays: {exc}") from exc
        raise Damaged(
            f"the cache {self._path} is damaged ({why}); it is now {bad.name}",
            hint="run again to start an empty cache: completions kept in the old one would be paid again",
        )

    def _require_present(self) -> None:
        """Notice a database removed while in use: SQLite goes on writing to the file that is gone."""
        with contextlib.suppress(FileNotFoundError):
            if self._path.stat().st_ino == self._inode:
                return
        raise StorageError(
            f"the cache {self._path} was removed while in use", hint="run again to start an empty one"
        )

    # ------------------------------------------------------------ entries

    def get(self, prompt: str, sample: int, since: float = 0.0) -> Completion | None:
        """A stored sample of a prompt, unless it was stored before `since` (Unix time).

        A damaged entry is a miss, and counts in `stats.corrupt`.

        Raises:
            Damaged: when the database itself is broken.
        """
        key = entry_key(prompt, sample)
        try:
            text = self._text(key)
            found = None if text is None else _load_entry(key, text, since)
        except (ValueError, KeyError, TypeError, RecursionError):
            self._bad.add(key)  # a set: a sample is looked up more than once
            self.stats.corrupt = len(self._bad)
            return None
        except (diskcache.Timeout, sqlite3.OperationalError):
            return None  # a read that fails now may succeed later, and a miss is safe
        except sqlite3.Error as exc:
            self._fail(exc)
        self.stats.hits += found is not None
        return found

    def get_samples(self, prompt: str, samples: Iterable[int], since: float = 0.0) -> dict[int, Completion]:
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
            raise ValueError("not UTF-8") from exc  # Python's complaint about the row, not SQLite's

    def put(self, prompt: str, completions: Mapping[int, Completion]) -> None:
        """Store samples of a prompt, all or none.

        Raises:
            StorageError: when they cannot be written; `Busy` when they can be later.
        """
        kept = {
            entry_key(prompt, sample): completion
            for sample, completion in completions.items()
            if completion.text.strip()
        }
        self._require_present()
        with self._guarded(), self._cache.transact():
            for key, completion in kept.items():
                self._cache.set(key, _dump_entry(key, completion))
        self.stats.stored += len(kept)

    # ------------------------------------------------------------ leases

    def take(self, prompt: str, seconds: float) -> bool:
        """Try to become the one who asks for a prompt; true when we are.

        A lease lapses after `seconds`, and at once when its owner ran on this machine
        and is dead.
        """
        key, own = f"{prompt}/lease", self._owner()
        self._require_present()
        with self._guarded():
            if self._leased(key, own):  # looked at before locking: waiting must not disturb writers
                return False
            with self._cache.transact():
                if self._leased(key, own):
                    return False
                return bool(self._cache.set(key, own, expire=seconds))

    def release(self, prompt: str) -> None:
        """Give a lease back, unless it has lapsed and is another's by now."""
        key = f"{prompt}/lease"
        with self._guarded(), self._cache.transact():
            if self._lease(key) == self._owner():
                self._cache.delete(key)

    def _owner(self) -> str:
        pid = os.getpid()
        return canonical({"host": _host(), "pid": pid, "start": _started(pid), "store": self._id})

    def _lease(self, key: str) -> str | None:
        """The text of a live lease; a row that is no text counts as none."""
        with contextlib.suppress(ValueError):
            return self._text(key)
        return None

    def _leased(self, key: str, own: str) -> bool:
        owner = self._lease(key)
        return owner is not None and owner != own and not _abandoned(owner)

    # ------------------------------------------------------------ the whole

    def clear(self) -> int:
        """Remove all completions and databases set aside; return how many completions went."""
        with self._guarded(), self._raw() as db:
            db.execute("BEGIN IMMEDIATE")
            ((entries,),) = db.execute(_COUNT)
            db.execute(
                "DELETE FROM Cache WHERE substr(key, -6) <> '/lease' OR expire_time < ?", (time.time(),)
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


_COUNT = "SELECT count(*) FROM Cache WHERE substr(key, -6) <> '/lease'"


def _private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)


def _sqlite_codes(exc: BaseException | None) -> set[int]:
    """The primary result codes of an error and of those it hides.

    diskcache raises Timeout for every failed BEGIN, and a failed ROLLBACK hides the reason for it.
    """
    codes = set()
    while exc is not None:
        codes.add(getattr(exc, "sqlite_errorcode", 0) & 0xFF)
        exc = exc.__context__
    return codes


def _databases_set_aside(folder: Path) -> tuple[Path, ...]:
    return tuple(sorted(folder.glob(f"{_NAME}.bad-*")))


def survey(folder: Path) -> StoreInfo:
    """Count what a cache folder holds, without creating or changing anything.

    Raises:
        StorageError: when the database is there but cannot be read.
    """
    files = [folder / name for name in _FILES if (folder / name).exists()]
    size = sum(path.stat().st_size for path in files)
    bad = _databases_set_aside(folder)
    if not files or (folder / _NAME).stat().st_size == 0:
        return StoreInfo(folder, 0, size, bad)
    try:
        uri = f"{(folder / _NAME).as_uri()}?mode=ro"
        with contextlib.closing(sqlite3.connect(uri, uri=True, timeout=_LOCK_WAIT)) as db:
            ((entries,),) = db.execute(_COUNT)
    except sqlite3.Error as exc:
        raise StorageError(
            f"the cache {folder / _NAME} cannot be read: {exc}",
            hint="automix cache clear starts an empty one",
        ) from exc
    return StoreInfo(folder, int(entries), size, bad)
