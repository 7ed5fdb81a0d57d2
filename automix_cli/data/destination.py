"""The destination of rows: stdout, a file that is locked while it is written, or nowhere."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

from msgspec import Struct

from automix_cli.data.output import EarlierRows, open_output
from automix_cli.errors import UsageError
from automix_cli.streams import stdout


class Destination(Struct, frozen=True, kw_only=True):
    """The destination of rows: a file, without a path stdout, or with `silent` nowhere.

    `earlier` is the unfinished file of an earlier run, which is continued.
    """

    path: Path | None = None
    force: bool = False
    silent: bool = False
    earlier: EarlierRows | None = None

    @property
    def name(self) -> str:
        """The destination, for messages."""
        return str(self.path or "stdout")

    def check(self, hint: str = "--force overwrites it, --resume continues it") -> None:
        """Check, before any call is made, that results can be written; `hint` is for a file that exists.

        Raises:
            UsageError: stdout is closed, or the file exists and may be neither replaced nor continued.
        """
        if self.path is None:
            if stdout() is None and not self.silent:
                raise UsageError("stdout is closed: there is nowhere to write to", hint="-o FILE")
            return
        exists = os.path.exists(self.path)  # false, not an error, for a name that is too long
        if exists and not os.path.isfile(self.path):
            raise UsageError(f"{self.path}: is not a regular file")
        if exists and not self.force:
            raise UsageError(f"{self.path}: exists", hint=hint)

    @contextmanager
    def open(self) -> Iterator[IO[bytes]]:
        """The stream to write to."""
        if self.earlier is not None:
            try:
                yield self.earlier.stream
            finally:
                self.earlier.close()
        elif self.silent:
            with open(os.devnull, "wb") as nowhere:
                yield nowhere
        elif self.path is None:
            out = stdout()
            assert out is not None  # see `check`
            yield out.buffer
        else:
            file = open_output(self.path, force=self.force)
            try:
                yield file
            finally:
                with suppress(OSError):  # the write that failed has raised its error already
                    file.close()

    def finish(self) -> None:
        """Put the file in its place after the last row, where an earlier run is continued."""
        if self.earlier is not None:
            self.earlier.finish()


def check_other_file(source_fd: int, path: Path | None) -> None:
    """Refuse to write over the input.

    Raises:
        UsageError: input and output are the same file.
    """
    if path is not None and os.path.exists(path) and os.path.samestat(os.fstat(source_fd), path.stat()):
        raise UsageError(f"{path}: is the input as well; results need a file of their own")
