"""The folder into which `automix bench -o` writes its results."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from automix_cli.data.jsonl import dumps
from automix_cli.errors import StorageError, UsageError

if TYPE_CHECKING:
    from automix_cli.evaluation.play import Run, Runs
    from automix_cli.fitting.router_block import Settings
    from automix_cli.views.bench_view import BenchView


class ResultFolder:
    """Where the results go; a result that is there already is kept unless forced."""

    def __init__(self, path: Path, *, html: bool, force: bool) -> None:
        self.path, self.html, self.names = path, html, list[str]()
        if path.exists() and not path.is_dir():
            raise UsageError(f"{path} is a file", hint="-o names a folder")
        there = [name for name in _FILE_NAMES if (path / name).exists()]
        if there and not force:
            raise UsageError(
                f"{path / there[0]} exists", hint="--force overwrites it; or name another folder"
            )

    @contextmanager
    def open(self, name: str) -> Iterator[Callable[[Iterable[str]], None]]:
        """A new file in it, as what takes its lines.

        Raises:
            StorageError: it cannot be written.
        """
        with self._name_file(name):
            self.path.mkdir(parents=True, exist_ok=True)
            file = open(self.path / name, "w", encoding="utf-8", newline="\n")  # noqa: SIM115

        def take(lines: Iterable[str]) -> None:
            with self._name_file(name):
                file.writelines(lines)

        try:
            yield take
        finally:
            with self._name_file(name):
                file.close()
        self.names.append(name)

    @contextmanager
    def _name_file(self, name: str) -> Iterator[None]:
        """What the system refuses, with the name of the file."""
        try:
            yield
        except OSError as exc:
            raise StorageError(f"{self.path / name}: {exc.strerror or exc}") from exc

    def write(self, view: BenchView, settings: Settings, config: dict[str, Any]) -> None:
        """Everything but the runs, which are written by now."""
        import yaml

        from automix_cli import __version__
        from automix_cli.views.bench_files import summary, summary_csv
        from automix_cli.views.bench_markdown import report_markdown
        from automix_cli.views.chart import frontier_svg

        texts = {
            "summary.json": dumps(summary(view)) + "\n",
            "summary.csv": summary_csv(view),
            "report.md": report_markdown(view),
            "frontier.svg": frontier_svg(view),
            "config.yaml": yaml.safe_dump(
                {"automix": __version__, **config}, sort_keys=False, allow_unicode=True
            ),
        }
        if self.html:
            from automix_cli.views.page import page

            texts["index.html"] = page(view, settings)
        for name, text in texts.items():
            with self.open(name) as take:
                take((text,))


_FILE_NAMES = (
    "runs.jsonl",
    "summary.json",
    "summary.csv",
    "report.md",
    "frontier.svg",
    "index.html",
    "config.yaml",
)


@contextmanager
def take_runs(folder: ResultFolder | None, runs: Runs) -> Iterator[Callable[[Run], None]]:
    """Take the runs as they come: millions of lines never wait in memory."""
    from automix_cli.views.bench_files import run_lines

    if folder is None or runs == "none":
        yield lambda run: None
        return
    with folder.open("runs.jsonl") as take:
        yield lambda run: take(run_lines(run))
