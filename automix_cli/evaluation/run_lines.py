"""The lines of `runs.jsonl`, read again: what each policy came to on each question, at its chosen setting.

Rows meet by the key of their question, a hash of what it asks, so that neither the order of a file nor
its ids matter, and a question that was edited is another one. Files without keys go by id.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Literal

import numpy as np
from msgspec import Struct, field

from automix_cli.data.jsonl import Line, parse_line, read_chunks, split_lines
from automix_cli.errors import DataError, UsageError
from automix_cli.evaluation.choice_luck import ChoiceLuck
from automix_cli.evaluation.measures import LINE_MEASURES, RunLine
from automix_cli.pomdp.arrays import Floats
from automix_cli.records import Json

KeyName = Literal["key", "id"]

_RUN_AGAIN = "run bench again with -o DIR; --against takes the runs.jsonl of an earlier one"


class QuestionLines(Struct):
    """What a policy came to on the rows of one question.

    Attributes:
        ids: of its rows.
        lines: how many there are: one per row and split.
        sums: of each of `LINE_MEASURES` over the lines; NaN where a line lacks it.
    """

    ids: set[str] = field(default_factory=set)
    lines: int = 0
    sums: Floats = field(default_factory=lambda: np.zeros(len(LINE_MEASURES)))

    @property
    def means(self) -> Floats:
        """The mean of each of `LINE_MEASURES`."""
        means: Floats = self.sums / self.lines
        return means


class RunLines(Struct):
    """One run of `bench`.

    Attributes:
        source: its file, or a word for it.
        by: what rows are called by: the keys of their questions, or their ids.
        policies: by name, the questions by key.
        seeds: of its splits.
        measure: what a score is called, where it is not plain quality.
        choices: by policy, how each split's choice depends on the luck of training answers, by its seed.
    """

    source: str
    by: KeyName = "key"
    policies: dict[str, dict[str, QuestionLines]] = field(default_factory=dict)
    seeds: set[Json] = field(default_factory=set)
    measure: str = ""
    choices: dict[str, dict[str, ChoiceLuck]] = field(default_factory=dict)
    _settings: dict[tuple[str, str], str] = field(default_factory=dict)

    def add(self, line: RunLine, where: str) -> None:
        """Take a line of a chosen setting.

        Raises:
            DataError: naming the place, for what is no such line.
        """
        policy, key = line.get("policy"), line.get(self.by)
        if not isinstance(policy, str) or isinstance(key, bool) or not isinstance(key, str | int):
            raise DataError(
                f'{where}: not of runs.jsonl, for want of "policy" or "{self.by}"', hint=_RUN_AGAIN
            )
        self._check_setting(policy, line, where)
        if "choice" in line:
            self.choices.setdefault(policy, {})[str(line.get("seed"))] = _choice(line, where)
        own = self.policies.setdefault(policy, {}).setdefault(str(key), QuestionLines())
        own.ids.add(str(line.get("id", key)))
        own.lines += 1
        own.sums += _values(line, where)
        self.seeds.add(line.get("seed"))
        self.measure = line.get("measure") or self.measure

    def _check_setting(self, policy: str, line: RunLine, where: str) -> None:
        """Refuse two chosen settings of one policy in one split: files of two runs, one behind the other."""
        seed, setting = str(line.get("seed")), json.dumps(line.get("setting"), sort_keys=True)
        if self._settings.setdefault((policy, seed), setting) != setting:
            raise DataError(
                f"{where}: a second run begins, with another setting of {policy}", hint=_RUN_AGAIN
            )

    def knows_luck(self, policy: str) -> bool:
        """Whether the luck of a policy's training answers is told; single tiers have none."""
        return policy.startswith(_NOT_ROUTING) or bool(self.choices)

    def keys(self) -> set[str]:
        """The keys of all questions."""
        return set().union(*self.policies.values())

    def counterpart(self, policy: str) -> str:
        """The policy to compare with: of the same name, else the only one that routes.

        Raises:
            UsageError: there is neither.
        """
        if policy in self.policies:
            return policy
        routing = [name for name in self.policies if not name.startswith(_NOT_ROUTING)]
        if len(routing) == 1 and not policy.startswith(_NOT_ROUTING):
            return routing[0]
        raise UsageError(
            f"--against {self.source}: {policy} did not take part in that run",
            hint=f"there were {', '.join(self.policies)}; --fail-under 'NAME.quality_delta>=-0.01' names one",
        )


_NOT_ROUTING = ("always:", "maj@", "random-mix", "oracle", "bound:")


def _choice(line: RunLine, where: str) -> ChoiceLuck:
    try:
        return ChoiceLuck.of_dict(line["choice"])
    except (ValueError, TypeError, KeyError, AttributeError) as exc:
        raise DataError(f"{where}: the choice of its setting cannot be read", hint=_RUN_AGAIN) from exc


def _values(line: RunLine, where: str) -> Floats:
    try:
        values = [spec.line(line) for spec in LINE_MEASURES if spec.line is not None]
    except TypeError as exc:
        raise DataError(f"{where}: a number is wanted where there is none", hint=_RUN_AGAIN) from exc
    for spec, value in zip(LINE_MEASURES, values, strict=True):
        if isinstance(value, bool) or not isinstance(value, float | int | None):
            raise DataError(f"{where}: {spec.key} is no number", hint=_RUN_AGAIN)
        if value is None and spec.key == "quality":
            raise DataError(f"{where}: the score is missing", hint=_RUN_AGAIN)
    return np.array([np.nan if value is None else value for value in values], dtype=float)


def read_runs(path: Path) -> RunLines:
    """Read the chosen settings of an earlier run; a folder stands for its `runs.jsonl`.

    Raises:
        UsageError: there is no such file.
        DataError: it is cut off, or holds something else.
    """
    path = path / "runs.jsonl" if path.is_dir() else path
    try:
        with path.open("rb", buffering=0) as file:
            return _read_lines(str(path), split_lines(read_chunks(file.fileno())))
    except OSError as exc:
        raise UsageError(
            f"--against {path}: {exc.strerror or exc}", hint=f"{_RUN_AGAIN} (without --runs none)"
        ) from exc


def _read_lines(source: str, lines: Iterable[Line]) -> RunLines:
    runs: RunLines | None = None
    for number, line in _chosen_lines(source, lines):
        runs = runs or RunLines(source, "key" if "key" in line else "id")
        runs.add(line, f"{source}:{number}")
    if runs is None:
        raise DataError(f"{source}: no line of a chosen setting", hint=_RUN_AGAIN)
    return runs


_OTHER_ROLES = (b'"role":"curve"', b'"role":"path"')  # no text holds these: its quotes are escaped


def _chosen_lines(source: str, lines: Iterable[Line]) -> Iterator[tuple[int, RunLine]]:
    """The lines of chosen settings, with their numbers; most lines are others, and are not parsed."""
    for line in lines:
        if line.data is not None and any(role in line.data for role in _OTHER_ROLES):
            continue
        try:
            row = parse_line(line)
        except DataError as exc:
            hint = f"if it is the last line, that run was interrupted; {_RUN_AGAIN}"
            raise DataError(f"{source}:{line.number}: {exc.message}", hint=hint) from exc
        if not isinstance(row, Mapping) or not isinstance(row.get("role"), str):
            raise DataError(
                f'{source}:{line.number}: no line of runs.jsonl: "role" is needed', hint=_RUN_AGAIN
            )
        if row["role"].startswith("chosen"):
            yield line.number, row
