"""`automix cache`: what is kept on disk, where, and how to be rid of it."""

from __future__ import annotations

import os
import sys
from typing import Annotated

import typer

from automix_cli.commands import options as o
from automix_cli.commands.command import command_app
from automix_cli.errors import UsageError
from automix_cli.texts import readable_size

app = command_app("Show, empty or find the cache of completions.")

LARGE = 2**30
"""Bytes from which `info` reminds of `clear`."""


@app.command()
def info(json: o.AsJson = False) -> None:
    """Say where the cache is, how many completions it holds and how large it is."""
    from automix_cli.backends.store import survey
    from automix_cli.backends.store_folder import cache_folder

    usage = survey(cache_folder(os.environ))
    if json:
        from json import dumps

        row = {
            "folder": str(usage.folder),
            "entries": usage.entries,
            "bytes": usage.bytes,
            "damaged": [str(p) for p in usage.damaged_files],
        }
        print(dumps(row))
        return
    human = sys.stdout.isatty()
    print(f"folder   {usage.folder}")
    print(f"entries  {usage.entries:,}" if human else f"entries  {usage.entries}")
    print(f"size     {readable_size(usage.bytes) if human else usage.bytes}")
    for path in usage.damaged_files:
        print(f"damaged  {path}")
    if usage.bytes > LARGE:
        _say("nothing is evicted by itself; `automix cache clear` frees the space", quiet=not human)


@app.command()
def clear(
    yes: Annotated[
        bool, typer.Option("--yes", "-y", help="Do not ask; needed where there is no terminal.")
    ] = False,
    quiet: o.Quiet = False,
) -> None:
    """Remove every completion, and damaged databases that were set aside.

    What is removed has been paid for: asked again, it is paid again. Without a terminal to ask on,
    nothing is removed unless --yes is given.
    """
    from automix_cli.backends.store import Damaged, Store, survey
    from automix_cli.backends.store_folder import cache_folder

    folder = cache_folder(os.environ)
    if not folder.exists():
        _say(f"nothing to remove: {folder} does not exist", quiet)
        return
    if not (yes or sys.stdin.isatty()):
        raise UsageError(
            f"this would remove what is kept in {folder}, and nobody can be asked",
            hint="automix cache clear --yes",
        )
    try:
        store = Store(folder)
    except Damaged:
        store = Store(folder)  # the damaged one has been set aside; it goes with the rest
    try:
        if not yes:
            typer.confirm(
                f"Remove {survey(folder).entries:,} completions from {folder}?", abort=True, err=True
            )
        _say(f"removed {store.clear():,} completions from {folder}", quiet)
    finally:
        store.close()


@app.command()
def path() -> None:
    """Print the cache folder, which need not exist yet."""
    from automix_cli.backends.store_folder import cache_folder

    print(cache_folder(os.environ))


def _say(text: str, quiet: bool) -> None:
    if not quiet:
        print(text, file=sys.stderr)
