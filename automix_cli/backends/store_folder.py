"""The folder of the cache: where it is, and that nobody else can write to it."""

from __future__ import annotations

import contextlib
import os
import shutil
import stat
import sys
from collections.abc import Iterable, Mapping
from itertools import takewhile
from pathlib import Path

from automix_cli.errors import StorageError


def cache_folder(environ: Mapping[str, str], platform: str = sys.platform) -> Path:
    """Where completions are kept; the folder need not exist yet.

    `AUTOMIX_CACHE_DIR` is used as it is. Otherwise the folder is `automix` under
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
    own = home / ("Library/Caches" if platform == "darwin" else ".cache")
    folder = (xdg if xdg.is_absolute() else own) / "automix"
    if tree := _work_tree(folder, home):
        raise StorageError(f"cache folder {folder} lies in the git work tree {tree}", hint=choose)
    return folder


def _work_tree(folder: Path, home: Path) -> Path | None:
    """The git work tree around a folder; a home that is itself one (dotfiles) does not count."""
    inside = takewhile(lambda parent: parent != home, folder.parents)
    return next((parent for parent in inside if (parent / ".git").exists()), None)


def _require_private(path: Path) -> None:
    """Refuse a path that another user owns or can write to, because its content may be theirs."""
    status = path.stat()
    if status.st_uid != os.geteuid():
        raise StorageError(
            f"{path} belongs to another user", hint="choose a folder of your own with AUTOMIX_CACHE_DIR=PATH"
        )
    if status.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        raise StorageError(f"other users can write to {path}", hint=f"chmod go-w {path}")


def _require_private_file(path: Path) -> None:
    """Refuse a database file that is not private, or no plain file; only the user may read it."""
    if path.is_symlink() or (path.exists() and not path.is_file()):
        raise StorageError(f"{path} is not a plain file", hint=f"rm {path}")
    with contextlib.suppress(FileNotFoundError):  # SQLite removes its side files, perhaps at this moment
        _require_private(path)
        path.chmod(0o600)


def require_private_folder(folder: Path, files: Iterable[str]) -> None:
    """Refuse a folder that is not private to the user, or in which one of these files is not.

    Raises:
        StorageError: with the command that mends it.
    """
    _require_private(folder)
    for name in files:
        _require_private_file(folder / name)


temporary_folders: set[str] = set()
"""The folders of the temporary stores of this process."""


def remove_temporary_folders() -> None:
    """Remove the folders of all temporary stores, in a process that is about to be killed."""
    for folder in temporary_folders:
        shutil.rmtree(folder, ignore_errors=True)


def open_private(path: str, flags: int) -> int:
    """Open a file that only its owner can read, for `open(opener=…)`."""
    return os.open(path, flags, 0o600)
