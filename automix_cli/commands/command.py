"""What a command is made with: its own small app, and libraries that are heard under `--debug` only."""

from __future__ import annotations

import io
import os
from functools import cache
from typing import Any, TextIO

import typer
from typer.core import TyperCommand

from automix_cli.commands.option_groups import GROUPS, OTHER, group_of
from automix_cli.commands.option_guesses import options_meant
from automix_cli.streams import own_streams, stderr


def command_app(purpose: str | None = None) -> typer.Typer:
    """An app of one command, or of several under a name of their own, whose help begins with `purpose`."""
    return typer.Typer(
        no_args_is_help=purpose is not None, rich_markup_mode=None, add_completion=False, help=purpose
    )


class CommandOfGuesses(TyperCommand):
    """A command that tells who guesses the name of an option which one is meant (see `option_guesses`)."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Read the arguments."""
        try:
            return super().parse_args(ctx, args)
        except Exception as exc:
            problem: Any = exc  # of Click, which Typer may bring along under another name
            if hasattr(exc, "possibilities") and hasattr(exc, "option_name"):
                own = {name for param in self.get_params(ctx) for name in param.opts}
                options = options_meant(problem.option_name, own)
                problem.possibilities = problem.possibilities if options is None else options
            raise


class GroupedCommand(CommandOfGuesses):
    """A command whose help shows options under headings (see `option_groups`)."""

    def format_options(self, ctx: Any, formatter: Any) -> None:
        """Write arguments, then options by group."""
        sections: dict[str, list[tuple[str, str]]] = {name: [] for name in ("Arguments", *GROUPS, OTHER)}
        for param in self.get_params(ctx):
            record = param.get_help_record(ctx)
            name = "Arguments" if param.param_type_name == "argument" else group_of(param.name or "")
            if record is not None:
                sections[name].append(record)
        for name, records in sections.items():
            if records:
                with formatter.section(name):
                    formatter.write_dl(records)


class ModelCommand(GroupedCommand):
    """A command that calls models, with streams of its own.

    Its help and its usage errors are still Typer's to print.
    """

    def invoke(self, ctx: Any) -> Any:
        """Run the command."""
        with own_streams(_for_libraries(debug=ctx.find_root().params.get("debug", False))):
            return super().invoke(ctx)


def _for_libraries(*, debug: bool) -> TextIO:
    """Where libraries write: nowhere, or for `--debug` on stderr with keys masked."""
    if not debug:
        return _nowhere()
    return io.TextIOWrapper(
        io.BufferedWriter(_Masked(stderr())), "utf-8", errors="backslashreplace", line_buffering=True
    )


@cache
def _nowhere() -> TextIO:
    """A stream that leads nowhere, open as long as the process."""
    return open(os.devnull, "w", encoding="utf-8")


class _Masked(io.RawIOBase):
    """A stream that passes text on without keys and control characters."""

    def __init__(self, stream: TextIO | None) -> None:
        super().__init__()
        self._stream = stream

    def writable(self) -> bool:
        """Whether text can be written: yes."""
        return True

    def write(self, data: Any) -> int:
        """Pass on what a library wrote."""
        from automix_cli.data.jsonl import printable
        from automix_cli.errors import redact

        text = redact(bytes(data).decode("utf-8", "replace"))
        print(printable(text), end="", file=self._stream, flush=True)
        return len(data)
