"""What was spent on each day (UTC), in a file beside the cache: it survives the process that spent it."""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Iterator
from pathlib import Path

from automix_cli.backends.store_folder import open_private, require_private_folder
from automix_cli.errors import StorageError

FILE = "spending.db"
_WAIT = 5.0  # seconds for another process that writes to the file
_CREATE_TABLE = "CREATE TABLE IF NOT EXISTS Spending (day TEXT, name TEXT, usd REAL, PRIMARY KEY (day, name))"
_ADD_TO_DAY = """
INSERT INTO Spending (day, name, usd) VALUES (?1, ?2, ?3)
ON CONFLICT (day, name) DO UPDATE SET usd = usd + ?3
"""


class SpendingLedger:
    """Dollars by day, of all processes that spend under one name and share the folder.

    Raises:
        StorageError: the folder is not private, or the file cannot be used.
    """

    def __init__(self, folder: Path, name: str) -> None:
        self.path, self.name = folder / FILE, name
        with self._storage_errors():
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            require_private_folder(folder, (FILE,))
            with contextlib.suppress(FileExistsError):
                open(self.path, "x", opener=open_private).close()
            # Its calls are short and never overlap, so that any thread may make them.
            self._db = sqlite3.connect(
                self.path, timeout=_WAIT, isolation_level=None, check_same_thread=False
            )
            self._db.execute("PRAGMA journal_mode = WAL")
            self._db.execute("PRAGMA synchronous = NORMAL")  # a killed process loses nothing
            self._db.execute(_CREATE_TABLE)

    def total(self, day: str) -> float:
        """Dollars of a day."""
        with self._storage_errors():
            row = self._db.execute(
                "SELECT usd FROM Spending WHERE day = ? AND name = ?", (day, self.name)
            ).fetchone()
        return float(row[0]) if row else 0.0

    def add(self, day: str, usd: float) -> None:
        """Add dollars to a day, or take some back."""
        with self._storage_errors():
            self._db.execute(_ADD_TO_DAY, (day, self.name, usd))

    @contextlib.contextmanager
    def transaction(self) -> Iterator[None]:
        """Let nobody else write between what is read and what is added inside."""
        with self._storage_errors():
            self._db.execute("BEGIN IMMEDIATE")
        try:
            yield
        finally:
            with self._storage_errors():
                self._db.execute("COMMIT")

    def close(self) -> None:
        """Close the file."""
        self._db.close()

    @contextlib.contextmanager
    def _storage_errors(self) -> Iterator[None]:
        try:
            yield
        except (sqlite3.Error, OSError) as exc:
            hint = f"make room, or start the day's sum anew: rm {self.path}*"
            raise StorageError(f"the sums of days in {self.path}: {exc}", hint=hint) from exc
