"""The profiles that ship with automix."""

from __future__ import annotations

import os
from pathlib import Path

from automix_cli.profile.schema import visible


def folder_of_bundled(package: Path = Path(__file__).parents[1]) -> Path:
    """The folder of bundled profiles: inside the package in a wheel, beside it in a checkout."""
    inside = package / "profiles"
    return inside if inside.is_dir() else package.parent / "profiles"


_FOLDER = folder_of_bundled()


def bundled_names() -> tuple[str, ...]:
    """Names of the profiles that ship with automix, sorted.

    Example:
        >>> "demo" in bundled_names()
        True
    """
    return tuple(sorted(path.stem for path in _FOLDER.glob("*.yaml")))


def bundled_path(name: str) -> Path:
    """The file of a bundled profile."""
    return _FOLDER / f"{name}.yaml"


def shown_path(path: Path) -> str:
    """A path as a person would type it here; a bundled file by its name."""
    near = path.name if path.parent == _FOLDER else os.path.relpath(path)
    return visible(str(path) if near.startswith(os.pardir) else near)
