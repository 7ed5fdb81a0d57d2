"""`automix merge`: the rows of all shards, in the order of the input."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from automix_cli.commands import options as o
from automix_cli.commands.command import GroupedCommand, command_app
from automix_cli.errors import StorageError, UsageError
from automix_cli.texts import count_of
from automix_cli.views.terminal import Reporter, row_progress

if TYPE_CHECKING:
    from automix_cli.data.output import RowWriter
    from automix_cli.data.sources import Rows
    from automix_cli.serving.merge import Merge


app = command_app()


@app.command("merge", cls=GroupedCommand, no_args_is_help=True)
def merge(
    parts: Annotated[
        list[Path], typer.Argument(metavar="PARTS…", help="Files that automix ask --shard wrote.")
    ],
    output: o.Output = None,
    input_file: Annotated[
        Path | None,
        typer.Option(
            "--input-file",
            "-i",
            metavar="FILE",
            help="Compare with the input of the shards; needed where that was a pipe.",
        ),
    ] = None,
    columns: o.ColumnMap = None,
    limit: o.Limit = None,
    sample: Annotated[int | None, typer.Option("--sample", min=0, metavar="N", help="As ask had it.")] = None,
    seed: o.Seed = 0,
    force: o.Force = False,
    quiet: o.Quiet = False,
    version: o.Version = False,
) -> None:
    """Put the rows of all shards together, in the order of the input.

    The result is what a single process would have written. Nothing is written where a shard or
    a row is missing (exit 1, with the commands that make it), or where parts do not belong
    together: other inputs, other profiles, other numbers of shards. Exit 3: some rows are errors.

    \b
    Examples:
      automix merge part-*.jsonl -o answers.jsonl
      automix merge part-*.jsonl -o answers.jsonl -i questions.jsonl
    """  # noqa: D301
    from automix_cli.serving.merge import Merge

    reporter = Reporter(quiet=quiet)
    source = _source(input_file, columns, limit, sample, seed)
    if output is not None:
        _check_output(output, parts, force=force)
    merging = Merge(parts, source)
    write_merged(merging, output, reporter, force=force)
    raise typer.Exit(_conclude(merging, output, reporter))


def _source(
    input_file: Path | None, columns: str | None, limit: int | None, sample: int | None, seed: int
) -> Rows | None:
    """The input of the shards, where it is given."""
    from automix_cli.data.sources import read_rows

    if input_file is None:
        if limit is not None or sample is not None or columns is not None:
            raise UsageError("--limit, --sample and --columns say how the input was read", hint="-i FILE")
        return None
    rows = read_rows(input_file, columns=columns, say=lambda line: None)
    assert rows is not None  # a file was named
    return rows.pick(limit=limit, sample=sample, seed=seed)


def _check_output(path: Path, parts: list[Path], *, force: bool) -> None:
    """Refuse to write over a file, or over a part.

    Raises:
        UsageError: naming it.
    """
    from automix_cli.data.destination import Destination
    from automix_cli.serving.parts import same_file

    if any(same_file(path, part) for part in parts):
        raise UsageError(f"{path}: is a part as well; the rows together need a file of their own")
    Destination(path=path, force=force).check("--force overwrites it")


def write_merged(merging: Merge, path: Path | None, reporter: Reporter, *, force: bool) -> None:
    """Write the rows of all parts to a file, which is there only once it is whole; or to stdout.

    Raises:
        AutomixError: rows are missing or do not belong together; nothing was written.
        StorageError: the disk is full.
    """
    if path is None:
        _write_to_stdout(merging)
        return
    with _whole_file(path, force=force) as writer:
        _write(merging, writer, reporter)


def _write(merging: Merge, writer: RowWriter, reporter: Reporter | None = None) -> None:
    bar = row_progress(reporter or Reporter(quiet=True), None, lambda seconds: "merged")
    with bar as advance:
        for row in merging.read():
            writer.write(row)
            advance()


def _write_to_stdout(merging: Merge) -> None:
    """Read all once to find out whether it is whole, and once more to write it."""
    from automix_cli.data.destination import Destination
    from automix_cli.data.output import RowWriter

    if merging.source is not None and merging.source.is_pipe:
        raise UsageError("to stdout the input is read twice, and it is a pipe", hint="-o FILE")
    for destination in (Destination(silent=True), Destination()):
        destination.check()
        with destination.open() as stream:
            _write(merging, RowWriter(stream))


@contextmanager
def _whole_file(path: Path, *, force: bool) -> Iterator[RowWriter]:
    """A writer beside the file, which takes its place at the end; after an error nothing is left."""
    from automix_cli.data.output import RowWriter, open_output

    beside = path.with_name(f"{path.name}.merge")
    file = open_output(beside, force=True)
    try:
        yield RowWriter(file, str(path))
        try:
            os.fsync(file.fileno())
        except OSError as exc:
            raise StorageError(f"{path}: {exc.strerror or exc}") from exc
        if not force and path.exists():
            raise UsageError(f"{path}: exists", hint="--force overwrites it")
        os.replace(beside, path)
    except BaseException:
        beside.unlink(missing_ok=True)
        raise
    finally:
        with suppress(OSError):  # the write that failed has raised its error already
            file.close()


def _conclude(merging: Merge, output: Path | None, reporter: Reporter) -> int:
    """Say what the rows came to; returns the exit code."""
    reporter.say(merge_line(merging))
    undone = merging.statuses["error"] + merging.statuses["skipped"]
    if undone and output is not None:
        reporter.say("the commands of the shards, with --resume, do them again; then merge with --force")
    return 3 if undone else 0


def merge_line(merging: Merge) -> str:
    """What merged rows came to."""
    from automix_cli.views.lines import money

    statuses = merging.statuses
    kinds = ", ".join(f"{statuses[name]:,} {name}" for name in sorted(statuses, key=_order) if statuses[name])
    head = f"{count_of(merging.rows, 'row')} of {count_of(len(merging.paths), 'part')}"
    bill = f"cost {money(merging.cost_usd)}, spent {money(merging.spent_usd)}"
    return f"{head}{': ' if kinds else ''}{kinds} · {bill}"


def _order(status: str) -> tuple[bool, str]:
    return status != "ok", status
