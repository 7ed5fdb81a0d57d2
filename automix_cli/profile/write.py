"""Writing a router into a profile, so that every other byte of the file survives."""

from __future__ import annotations

import json
import os
import stat
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from msgspec.structs import replace

from automix_cli.errors import ProfileError, StorageError
from automix_cli.profile import yamltree
from automix_cli.profile.bundled import bundled_names, shown_path
from automix_cli.profile.model import Profile, tier_dict
from automix_cli.profile.read import read_profile
from automix_cli.profile.yamltree import MAX_BYTES


def write_router(path: Path, router: Mapping[str, Any], *, profile: Profile | None = None) -> None:
    """Put `router` into the profile at `path`; every other byte of the file survives.

    A file that does not exist is created from `profile`: with `extends` where that is a
    bundled profile or in the same folder, else as a copy, because a discovered profile may
    extend nothing else. A file that exists must have the tiers of `profile`.

    Args:
        path: the file to write.
        router: the block's content: mappings, sequences, texts and finite numbers.
        profile: the profile that the router was fitted on.

    Raises:
        ProfileError: the file cannot take the block, or holds other tiers.
        StorageError: the file cannot be written.
    """
    old = _text_for_router(path, profile)
    try:
        new = yamltree.put_block(old, "router", yamltree.lines_of({"router": router}))
    except ValueError as e:
        raise ProfileError(f"{shown_path(path)}: cannot take a router block: {e}") from e
    _check_rewrite(path, old, new, router)
    _replace_file(path, new.encode())


def room_for_router(path: Path, profile: Profile) -> int:
    """How many bytes a router block may take in the profile at `path`, which need not exist yet.

    Raises:
        ProfileError: the file cannot take the block or be made, or holds other tiers.
    """
    if not path.parent.is_dir():
        raise ProfileError(f"{shown_path(path)}: there is no folder {path.parent}", hint="make it first")
    text = _text_for_router(path, profile)
    try:
        return MAX_BYTES - len(yamltree.put_block(text, "router", ["router: null"]).encode())
    except ValueError as e:
        raise ProfileError(f"{shown_path(path)}: cannot take a router block: {e}") from e


def _text_for_router(path: Path, profile: Profile | None) -> str:
    """The text of the profile that is to take a router: one with the tiers of `profile`, or a new one."""
    if path.is_symlink() or (path.exists() and not path.is_file()):
        raise ProfileError(
            f"{shown_path(path)}: is not a regular file, so it is not replaced",
            hint="name another file with -o",
        )
    if not path.exists():
        return _new_text(path, profile)
    existing = read_profile(path, trusted=True, origin="named")
    tiers = [replace(t, price=None, rpm=None) for t in existing.tiers]
    if profile is not None and tiers != [replace(t, price=None, rpm=None) for t in profile.tiers]:
        names = ", ".join(f"{t.name}: {t.model}" for t in existing.tiers)
        raise ProfileError(
            f"{shown_path(path)}: has other tiers ({names}) than the router was fitted on",
            hint="name a new file with -o, or use this one with --profile",
        )
    return path.read_bytes().decode("utf-8")


def _new_text(path: Path, profile: Profile | None) -> str:
    """A profile without a router that means the same as `profile`."""
    if profile is None:
        raise ProfileError(f"{shown_path(path)}: no such profile")
    if profile.origin == "bundled" or profile.path is None:
        is_bundled = profile.path is not None
        head = {"extends": profile.name} if is_bundled else {"tiers": [tier_dict(t) for t in profile.tiers]}
        return "\n".join(yamltree.lines_of({"version": 1, **head})) + "\n"
    if profile.path.resolve().parent == path.resolve().parent:
        return "\n".join(yamltree.lines_of({"version": 1, "extends": profile.path.name})) + "\n"
    data = profile.path.read_bytes()
    extends = yamltree.parse(data)[0].value.get("extends")
    if extends is not None and extends.value not in bundled_names():
        raise ProfileError(
            f"{shown_path(path)}: cannot extend {extends.value} from another folder",
            hint=f"write beside it: -o {shown_path(profile.path.parent / 'automix.yaml')}",
        )
    return data.decode("utf-8")


def _check_rewrite(path: Path, old: str, new: str, router: Mapping[str, Any]) -> None:
    """Read the new text back: its router must be `router`, and everything else as before."""
    before, _ = yamltree.parse(old.encode())
    after, problems = yamltree.parse(new.encode())
    if problems:
        raise ProfileError(f"{shown_path(path)}: cannot take this router: {problems[0].message}")
    expectation = {**before.plain(), "router": json.loads(json.dumps(router))}
    if after.plain() != expectation:
        raise ProfileError(
            f"{shown_path(path)}: cannot take a router block without changing another",
            hint="end the file with a newline and write its top level as plain `key:` lines",
        )


def _replace_file(path: Path, data: bytes) -> None:
    """Replace the file atomically; a reader sees the old bytes or the new ones."""
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        mode = stat.S_IMODE(path.stat().st_mode) if path.exists() else None
        part.unlink(missing_ok=True)
        with open(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666), "wb") as file:
            if mode is not None:
                os.fchmod(file.fileno(), mode)
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(part, path)
    except OSError as e:
        part.unlink(missing_ok=True)
        raise StorageError(f"{shown_path(path)}: cannot be written: {e.strerror}") from e
