"""The gates of `bench`: its own figures, an earlier run beside it, and the summary of a CI job."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from msgspec import Struct
from msgspec.structs import replace

from automix_cli.errors import GateError, StorageError, UsageError
from automix_cli.library.comparison import NO_RUNS, TakeRuns

if TYPE_CHECKING:
    from automix_cli.data.groups import Grouping
    from automix_cli.evaluation.gates import Gate
    from automix_cli.evaluation.play import Run, Runs
    from automix_cli.evaluation.run_lines import RunLines
    from automix_cli.views.bench_view import BenchView

_SAME_ROWS = "both runs must read the same questions, with the same --split and --seed"


class Gating(Struct, kw_only=True):
    """What must hold, and what it is compared with.

    Attributes:
        gates: of `--fail-under`.
        earlier: the run of `--against`; None without.
        needs_proof: whether a gate that cannot be told is missed.
        summary: the file to which Markdown is appended.
        here: this run, as far as it is compared.
    """

    gates: tuple[Gate, ...]
    earlier: RunLines | None
    needs_proof: bool
    summary: Path | None
    text: str | None
    here: RunLines | None

    @classmethod
    def read(
        cls, text: str | None, against: Path | None, *, needs_proof: bool, summary: str | None
    ) -> Gating:
        """Read options and the earlier run, before anything is spent.

        Raises:
            UsageError: what cannot be read, or does not go together.
            DataError: the earlier run is broken.
        """
        from automix_cli.evaluation.gates import check_against, read_gates

        gates = () if text is None else read_gates(text)
        check_against(gates, has_earlier=against is not None, needs_proof=needs_proof)
        path = None if summary is None else _summary_path(summary)
        own = cls(gates=gates, earlier=None, needs_proof=needs_proof, summary=path, text=text, here=None)
        if against is not None:
            from automix_cli.evaluation.run_lines import RunLines, read_runs

            own.earlier = read_runs(against)
            own.here = RunLines("this run", own.earlier.by)
        return own

    # ------------------------------------------------------------ before the run

    def check_policies(self, names: Sequence[str]) -> None:
        """Refuse gates of policies that do not take part, here or in the earlier run."""
        from automix_cli.evaluation.gates import check_policies

        check_policies(self.gates, names)
        default = "pomdp" if "pomdp" in names else ""
        for gate in self.gates:
            if self.earlier is not None and gate.is_paired and (policy := gate.policy or default):
                self.earlier.counterpart(policy)

    def check_questions(self, group: Callable[[], Grouping]) -> None:
        """Refuse questions of which the earlier run holds none, before they are paid for."""
        if self.earlier is None or self.earlier.by != "key":
            return
        keys = self.earlier.keys()
        if not any(f"{key:016x}" in keys for key in group().row_keys.tolist()):
            raise UsageError(
                f"--against {self.earlier.source}: none of these questions is in it", hint=_SAME_ROWS
            )

    # ------------------------------------------------------------ during the run

    def least_runs(self, runs: Runs) -> Runs:
        """Which runs are wanted, if only for the comparison."""
        return "chosen" if runs == "none" and self.here is not None else runs

    @contextmanager
    def take(self, takers: TakeRuns = NO_RUNS) -> Iterator[Callable[[Run], None]]:
        """Give the runs to whoever takes them, and keep those that are compared with an earlier one."""
        with takers as on_run:
            yield self._take_also(on_run)

    def _take_also(self, on_run: Callable[[Run], None]) -> Callable[[Run], None]:
        """Keep the chosen settings of this run, too, where it is compared."""
        from automix_cli.views.bench_files import run_lines

        here = self.here
        if here is None:
            return on_run

        def take(run: Run) -> None:
            on_run(run)
            if run.role.startswith("chosen"):  # read from text, as the earlier run is
                for line in run_lines(run):
                    here.add(json.loads(line), here.source)

        return take

    # ------------------------------------------------------------ after the run

    def compare(self, view: BenchView) -> BenchView:
        """The view with the comparison, where there is an earlier run."""
        if self.earlier is None or self.here is None:
            return view
        from automix_cli.evaluation.against import compare_runs
        from automix_cli.evaluation.gates import default_policy

        grouping = view.table.grouping
        if self.earlier.by == "key":
            names = [f"{key:016x}" for key in grouping.row_keys.tolist()]
        else:
            names = [str(ident) for ident in view.table.ids]
        groups = dict(zip(names, grouping.groups.tolist(), strict=True))
        of_two = [gate for gate in self.gates if gate.is_paired]
        policy = default_policy(view.comparison)
        return replace(view, against=compare_runs(self.here, self.earlier, of_two, policy, groups))

    def check(self, view: BenchView, say: Callable[[str], None]) -> None:
        """Write the summary; then exit 5 where a gate is not met.

        Raises:
            GateError: naming what is missed, or cannot be told under `--require-proof`.
            StorageError: the summary cannot be written.
        """
        from automix_cli.evaluation.gates import missed_gates
        from automix_cli.views.against_words import change_line

        shortfalls = missed_gates(self.gates, view.comparison)
        if self.summary is not None:
            _append(self.summary, view, shortfalls)
        if view.against is not None:
            shortfalls += map(change_line, view.against.verdicts("missed"))
            doubts = [change_line(change) for change in view.against.verdicts("cannot tell")]
            if self.needs_proof:
                shortfalls += doubts
            else:
                for doubt in doubts:
                    say(f"warning: {doubt}; --require-proof makes this exit 5")
        if shortfalls:
            raise GateError("; ".join(shortfalls))

    def config(self) -> dict[str, Any]:
        """The options, as they were understood."""
        against = None if self.earlier is None else self.earlier.source
        return {"fail_under": self.text, "against": against, "require_proof": self.needs_proof}


def _summary_path(text: str) -> Path:
    """The file of `--summary`.

    Raises:
        UsageError: it is none.
    """
    if not text.strip():
        raise UsageError(
            "--summary names no file",
            hint="GITHUB_STEP_SUMMARY is set on GitHub's runners; elsewhere: --summary s.md",
        )
    if Path(text).is_dir() or not Path(text).parent.is_dir():
        raise UsageError(f"--summary {text}: no file can be written there", hint="--summary summary.md")
    return Path(text)


def _append(path: Path, view: BenchView, shortfalls: Sequence[str]) -> None:
    from automix_cli.views.bench_markdown import job_summary

    try:
        with path.open("a", encoding="utf-8", newline="\n") as file:
            file.write(job_summary(view, shortfalls))
    except OSError as exc:
        raise StorageError(f"--summary {path}: {exc.strerror or exc}") from exc
