"""How the store lets diskcache keep keys and values: as text inside the row, and in no other way."""

from __future__ import annotations

import diskcache
from diskcache.core import MODE_RAW, UNKNOWN


class TextDisk(diskcache.Disk):  # type: ignore[misc]
    """Keys and values are text inside the row; rows of any other kind are refused unread."""

    def put(self, key: object) -> tuple[str, bool]:
        """The key as the database holds it."""
        if type(key) is not str:
            raise TypeError(f"cache keys are text, got {type(key).__name__}")
        return key, True

    def get(self, key: object, raw: bool) -> str:
        """The key of a row."""
        if not raw or type(key) is not str:
            raise ValueError("a key that is not text")
        return key

    def store(self, value: object, read: bool, key: object = UNKNOWN) -> tuple[int, int, None, str]:
        """The value as the database holds it."""
        if type(value) is not str:
            raise TypeError(f"cache values are text, got {type(value).__name__}")
        return 0, MODE_RAW, None, value

    def fetch(self, mode: int, filename: str | None, value: object, read: bool) -> str:
        """The value of a row."""
        if mode != MODE_RAW or filename is not None or type(value) is not str:
            raise ValueError("a value that is not text in its row")
        return value

    def remove(self, file_path: str) -> None:
        """Do nothing: no value is stored in a file, so a row that names one is not ours."""
