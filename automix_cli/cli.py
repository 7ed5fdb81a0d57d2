"""The command line: which commands there are, and the one place where errors become exit codes."""

from __future__ import annotations

import errno
import gc
import os
import signal
import sys
from functools import cache
from importlib import import_module
from io import TextIOWrapper
from typing import Annotated, Any

from automix_cli.backends.foreign_warnings import ignore_foreign_warnings

ignore_foreign_warnings()  # before the first library is imported

import typer  # noqa: E402
from typer.core import TyperCommand, TyperGroup  # noqa: E402

from automix_cli.commands.options import Version  # noqa: E402
from automix_cli.errors import AutomixError  # noqa: E402
from automix_cli.process import collect_rarely, own_process  # noqa: E402
from automix_cli.streams import leave_to_others  # noqa: E402

_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO)  # a disk that takes no more


COMMANDS = {
    "ask": "Answer a question with the cheapest tier that can be trusted.",
    "verify": "Check an answer: how likely is it right, and why.",
    "calibrate": "Learn from your own labelled rows when to escalate.",
    "bench": "Compare routing policies on your own rows, held out from all.",
    "label": "Label the rows that tell most of what routing loses.",
    "audit": "Tell from shadow calls what routing saves and loses.",
    "merge": "Put the rows of all shards together, in input order.",
    "profile": "List, show and check profiles; start one of your own.",
    "doctor": "Say what a run would meet here: profile, keys, servers.",
    "schema": "Print the JSON schema of a profile, for editors.",
    "serve": "Serve a profile to every client of OpenAI's protocol.",
    "cache": "Show, empty or find the cache of completions.",
}
"""Each command and what it is for: help and completion load none of them."""


@cache
def load_command(name: str) -> Any:
    """Import the module of a command."""
    return typer.main.get_command(import_module(f"automix_cli.commands.{name}").app)


class Boundary(TyperGroup):
    """Loads the command that is run; turns errors into messages and exit codes.

    A traceback is only for `--debug`.
    """

    def __init__(self, **settings: Any) -> None:
        commands = {name: TyperCommand(name, help=purpose) for name, purpose in COMMANDS.items()}
        super().__init__(**settings | {"commands": commands})

    def resolve_command(self, ctx: Any, args: list[str]) -> tuple[Any, Any, list[str]]:
        """The command that the arguments name, loaded."""
        name, command, rest = super().resolve_command(ctx, args)
        return name, command and load_command(command.name), rest

    def invoke(self, ctx: Any) -> Any:
        """Run a command; docs/reliability.md has the table of exit codes."""
        try:
            with own_process():
                return super().invoke(ctx)
        except AutomixError as exc:
            if ctx.params.get("debug"):
                _show_traceback()
            _show(exc.message, exc.hint)
            raise typer.Exit(exc.exit_code) from None
        except BrokenPipeError:
            # The reader went away; what Python still holds for stdout must not be flushed into it.
            os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
            raise typer.Exit(141) from None
        except KeyboardInterrupt:
            raise typer.Exit(130) from None
        except Exception as exc:
            if type(exc).__module__.startswith("typer"):
                raise
            if ctx.params.get("debug"):
                _show_traceback()
            if isinstance(exc, OSError) and exc.errno in _FULL and exc.filename is None:
                _show(f"stdout: {exc.strerror}", "make room, or write elsewhere")
            else:
                _show(
                    f"internal error: {type(exc).__name__}: {exc}",
                    "automix --debug … shows where; please report it",
                )
            raise typer.Exit(1) from None


app = typer.Typer(
    name="automix",
    cls=Boundary,
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    add_completion=True,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="Ask the cheapest model first, let it check itself, escalate when that pays.",
    epilog='Start here: automix ask --profile demo "What is 17 * 23?"',
)


@app.callback()
def options(
    version: Version = False,
    debug: Annotated[
        bool, typer.Option("--debug", help="Show tracebacks, and what libraries say; keys stay masked.")
    ] = False,
) -> None:
    """Ask the cheapest model first, let it check itself, escalate when that pays."""


def _show(message: str, hint: str) -> None:
    """What, where, and the command that mends it."""
    from automix_cli.data.jsonl import printable
    from automix_cli.errors import redact
    from automix_cli.views.terminal import unbroken, width_of

    problem = unbroken(printable(redact(f"automix: {message}")), width_of(sys.stderr))
    hints = [f"  {line}" for line in hint.splitlines()]  # commands: whole, to be copied
    print("\n".join([problem, *(printable(redact(line)) for line in hints)]), file=sys.stderr)


def _show_traceback() -> None:
    """The traceback at hand: exceptions of libraries quote what servers say, and those quote keys."""
    import traceback

    from automix_cli.data.jsonl import printable
    from automix_cli.errors import redact

    print(printable(redact(traceback.format_exc())), file=sys.stderr)


def _hold_closed_streams() -> None:
    """Open nowhere in place of each standard stream that the caller closed.

    Else the next file opened, the cache perhaps, would get its number, and messages would go to stdout.
    """
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # takes the lowest number that is free: this one
    if sys.stderr is None:
        sys.stderr = open(2, "w", closefd=False)  # noqa: SIM115 (lasts as long as the process)


def run() -> None:
    """Run the `automix` script: a process that ends with its command.

    At the end Python looks for cycles among all objects, whose memory goes with the process in any case:
    they are taken out of its sight.
    """
    collect_rarely()
    try:
        main()
    except SystemExit:
        leave_to_others()
        gc.freeze()
        raise


def _die_tidily(number: int, frame: object) -> None:
    """Remove temporary folders, then die of the signal as if it had not been caught."""
    folders = sys.modules.get("automix_cli.backends.store_folder")
    if folders is not None:
        folders.remove_temporary_folders()
    signal.signal(number, signal.SIG_DFL)
    os.kill(os.getpid(), number)


def main() -> None:
    """Run the command that `sys.argv` holds; it ends with SystemExit."""
    _hold_closed_streams()
    for number in (signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) == signal.SIG_DFL:  # nohup has it ignored
            signal.signal(number, _die_tidily)
    if isinstance(sys.stdout, TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # as stderr: a locale may lack arrows and dashes
    if os.environ.get("_AUTOMIX_COMPLETE") == "complete_bash":
        from automix_cli.commands.completion import join_words

        join_words(os.environ)
    if not sys.warnoptions:  # ours are for developers, who ask for them with -W
        import warnings

        warnings.simplefilter("ignore")
    try:
        app()
    except KeyboardInterrupt:
        sys.exit(130)
