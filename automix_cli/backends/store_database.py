"""The SQLite file behind the store: opened with distrust, written in short transactions.

diskcache made its tables, and can read them; the statements are our own, one where diskcache takes three.
"""

from __future__ import annotations

import contextlib
import errno
import os
import re
import shutil
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NoReturn

import diskcache
from diskcache.core import DEFAULT_SETTINGS, METADATA, MODE_RAW

from automix_cli.backends.store_disk import TextDisk
from automix_cli.backends.store_errors import sqlite_codes
from automix_cli.backends.store_folder import open_private, require_private_folder
from automix_cli.errors import StorageError


class Busy(StorageError):
    """Another process has the database locked just now."""


class Damaged(StorageError):
    """The database cannot be read and has been set aside."""


# Every setting is passed on opening, so that none is read from the database. The file is not mapped into
# memory, because truncating a mapped file kills the process, and its pages count as memory used.
# SQLite caches 2 MB of pages rather than 32, which a long run would fill; the system caches the rest.
_SETTINGS = DEFAULT_SETTINGS | {
    "eviction_policy": "none",
    "cull_limit": 0,
    "statistics": 0,
    "sqlite_mmap_size": 0,
    "sqlite_cache_size": 512,
}

_SCHEMA_DATABASES = {
    *("Settings", "sqlite_autoindex_Settings_1", "Cache", "Cache_key_raw", "Cache_expire_time"),
    *("Settings_count_insert", "Settings_count_delete"),
    *("Settings_size_insert", "Settings_size_update", "Settings_size_delete"),
}

_TAG = "CACHEDIR.TAG"
_TAG_TEXT = "Signature: 8a477f597d28d172789f06886806bc55\n# Completions kept by automix.\n"
_READY = "# The database has been created.\n"

DATABASE: str = diskcache.core.DBNAME
FILES = (DATABASE, f"{DATABASE}-wal", f"{DATABASE}-shm")
LOCK_WAIT = 0.05  # seconds the event loop may stand still for another process's lock


_READ = """
SELECT value, mode, filename FROM Cache
WHERE key = ? AND raw = 1 AND (expire_time IS NULL OR expire_time > ?)
"""
_MOST_KEYS = 500  # in one statement; SQLite takes 999 everywhere
_INSERT = f"""
INSERT INTO Cache (
    key, raw, store_time, expire_time, access_time, access_count, tag, size, mode, filename, value
) VALUES (?1, 1, ?2, ?3, ?2, 0, NULL, 0, {MODE_RAW}, NULL, ?4)
"""
_ADD = f"{_INSERT} ON CONFLICT (key, raw) DO NOTHING"
_WRITE = f"""{_INSERT}
ON CONFLICT (key, raw) DO UPDATE SET store_time = ?2, expire_time = ?3, access_time = ?2, access_count = 0,
tag = NULL, size = 0, mode = {MODE_RAW}, filename = NULL, value = ?4
"""

_REPLACE = f"""
UPDATE OR IGNORE Cache SET key = ?1, store_time = ?2, expire_time = NULL, access_time = ?2, access_count = 0,
tag = NULL, size = 0, mode = {MODE_RAW}, filename = NULL, value = ?3 WHERE key = ?4 AND raw = 1 AND value = ?5
"""

_MOST_LOG_PAGES = 4_000
"""Pages of the log after which they are copied into the database. SQLite does so after a thousand, and waits
for the disk: a batch would copy the pages of the index again and again."""

_INSIDE = contextlib.nullcontext()  # of a transaction: many writes share one


class _OwnConnection(threading.local):
    """A thread's connection, and the process that it belongs to: a fork has to open its own."""

    process = 0
    execute: Callable[[str, Sequence[Any]], sqlite3.Cursor]


class Database:
    """Texts by key in one private file.

    Opening it creates what is missing, and waits up to `patience` seconds for a lock.

    Raises:
        StorageError: when the folder is not private, not ours or not writable.
        Damaged: when the database is broken; it has been renamed, and opening again
            starts an empty one.
    """

    def __init__(self, folder: Path, patience: float) -> None:
        self.folder = folder
        self.patience = patience
        self.cache: Any = None
        self._here = _OwnConnection()
        with self.storage_errors():
            self._prepare_folder()
            self._open_database()
            self._mark_ready()
            self._inode = self.path.stat().st_ino
        self._file = str(self.path)

    @property
    def path(self) -> Path:
        """The file."""
        return self.folder / DATABASE

    def close(self) -> None:
        """Close the connection."""
        self._here = _OwnConnection()
        if self.cache is not None:
            self.cache.close()

    def _execute(self, statement: str, values: Sequence[Any] = ()) -> sqlite3.Cursor:
        """Execute a statement on this thread's connection: diskcache takes three times as long to find it."""
        here = self._here
        if here.process != os.getpid():
            connection: sqlite3.Connection = self.cache._con
            connection.execute(f"PRAGMA wal_autocheckpoint = {_MOST_LOG_PAGES}")
            here.process, here.execute = os.getpid(), connection.execute
        return here.execute(statement, values)

    # ------------------------------------------------------------ texts

    def read(self, key: str) -> str | None:
        """The text under a key, unless it has expired.

        Raises:
            ValueError: the row holds something else; it is not loaded.
        """
        try:
            row = self._execute(_READ, (key, time.time())).fetchone()
        except sqlite3.OperationalError as exc:
            if hasattr(exc, "sqlite_errorcode"):
                raise
            raise ValueError("not UTF-8") from exc  # raised by Python for the row, not by SQLite
        if row is None:
            return None
        value, mode, filename = row
        if mode != MODE_RAW or filename is not None or type(value) is not str:
            raise ValueError("a value that is not text in its row")
        return value

    def read_many(self, keys: Sequence[str]) -> dict[str, str | None]:
        """The texts of those keys that are there; None for a row that has to be read alone to say why."""
        rows = list[tuple[str, Any, int, str | None]]()
        for start in range(0, len(keys), _MOST_KEYS):
            some = keys[start : start + _MOST_KEYS]
            marks = ",".join("?" * len(some))
            statement = f"SELECT key, value, mode, filename FROM Cache WHERE key IN ({marks}) AND raw = 1"
            try:
                rows += self._execute(statement, some).fetchall()
            except sqlite3.OperationalError as exc:
                if hasattr(exc, "sqlite_errorcode"):
                    raise
                return dict.fromkeys(keys)
        return {
            key: text if mode == MODE_RAW and filename is None and type(text) is str else None
            for key, text, mode, filename in rows
        }

    def write(self, key: str, text: str, expire: float | None = None) -> None:
        """Keep a text, for some seconds or for good; call it inside `transaction`."""
        now = time.time()
        self._execute(_WRITE, (key, now, None if expire is None else now + expire, text))

    def add(self, key: str, text: str, expire: float) -> bool:
        """Keep a text for some seconds where there is no row of its key; call it inside `transaction`.

        Returns:
            Whether there was none.
        """
        now = time.time()
        return self._execute(_ADD, (key, now, now + expire, text)).rowcount == 1

    def replace(self, old: tuple[str, str], key: str, text: str) -> bool:
        """Keep a text for good in the row of an old key that holds its text; call it inside `transaction`.

        Returns:
            Whether there was such a row, and none of the new key.
        """
        return self._execute(_REPLACE, (key, time.time(), text, *old)).rowcount == 1

    def version(self) -> int:
        """A number that is another one once another connection has committed something."""
        ((version,),) = self._execute("PRAGMA data_version").fetchall()
        return int(version)

    def delete(self, key: str, text: str) -> None:
        """Remove a key that holds this text; call it inside `transaction`."""
        self._execute("DELETE FROM Cache WHERE key = ? AND raw = 1 AND value = ?", (key, text))

    def transaction(self) -> contextlib.AbstractContextManager[None]:
        """All or nothing of what is written inside; one inside another belongs to the outer.

        Raises:
            Busy: another process has kept the database locked for 50 ms.
            StorageError: it cannot be written, or was removed while in use.
        """
        return _INSIDE if self.cache._txn_id is not None else self._outer_transaction()

    @contextlib.contextmanager
    def _outer_transaction(self) -> Iterator[None]:
        self._require_present()
        with self.storage_errors(), self.cache.transact():
            yield

    # ------------------------------------------------------------ opening

    def _prepare_folder(self) -> None:
        """Create folder, tag and empty database as far as they are missing, all private."""
        if os.path.expandvars(os.path.expanduser(self.folder)) != str(self.folder):
            # diskcache would expand it, and use a folder that has not been checked
            raise StorageError(f"cache folder {self.folder} has a variable in its name")
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        require_private_folder(self.folder, (*FILES, _TAG))
        has_database = self.path.exists()  # read before the tag: the tag is created first
        tag = self._read_tag()
        if has_database and not tag.startswith(_TAG_TEXT):
            raise StorageError(
                f"{self.path} was not made by automix",
                hint=f"choose another folder with AUTOMIX_CACHE_DIR=PATH, or rm {self.path}",
            )
        if has_database and _READY in tag and self.path.stat().st_size == 0:
            self._set_aside("it is empty, and was not before")
        for path, text in ((self.folder / _TAG, _TAG_TEXT), (self.path, "")):
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
            self.cache = diskcache.Cache(str(self.folder), timeout=LOCK_WAIT, disk=TextDisk, **_SETTINGS)
        except (ValueError, TypeError, KeyError) as exc:  # a changed setting or name
            self._set_aside(f"{type(exc).__name__}: {exc}")

    def raw(self) -> contextlib.closing[sqlite3.Connection]:
        """The database without diskcache, in autocommit mode."""
        return contextlib.closing(sqlite3.connect(self.path, timeout=self.patience, isolation_level=None))

    def _examine(self) -> None:
        """Check the database before diskcache opens it, which obeys any setting in it.

        Taking the write lock here keeps the wait short: diskcache would wait a minute.
        """
        if self.path.stat().st_size == 0:
            return
        with self.raw() as db:
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
    def storage_errors(self) -> Iterator[None]:
        """Raise our errors for those of SQLite, diskcache and the file system."""
        try:
            yield
        except (diskcache.Timeout, sqlite3.Error, OSError, UnicodeDecodeError) as exc:
            self.fail(exc)

    def fail(self, exc: BaseException) -> NoReturn:
        """Raise the storage error that says what happened and what to do."""
        codes = sqlite_codes(exc)
        if codes & {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED}:
            raise Busy(
                f"another process has kept {self.path} locked", hint="wait for it, or use --no-cache"
            ) from exc
        self.close()
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
        bad = self.path.with_name(f"{DATABASE}.bad-{time.strftime('%Y%m%dT%H%M%S')}")
        try:
            (self.folder / _TAG).write_text(_TAG_TEXT, encoding="utf-8")
            for name in FILES:
                with contextlib.suppress(FileNotFoundError):
                    (self.folder / name).rename(bad.with_name(bad.name + name.removeprefix(DATABASE)))
        except OSError as exc:
            raise StorageError(f"the cache {self.path} is damaged ({why}), and stays: {exc}") from exc
        raise Damaged(
            f"the cache {self.path} is damaged ({why}); it is now {bad.name}",
            hint="run again to start an empty cache: completions kept in the old one would be paid again",
        )

    def _require_present(self) -> None:
        """Raise if the database was removed while in use; SQLite would write on to the deleted file."""
        with contextlib.suppress(FileNotFoundError):
            if os.stat(self._file).st_ino == self._inode:
                return
        raise StorageError(
            f"the cache {self.path} was removed while in use", hint="run again to start an empty one"
        )
