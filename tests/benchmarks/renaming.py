"""Renaming tiers and reordering rows and votes must change nothing that `calibrate` finds.

    python tests/benchmarks/renaming.py [--runs 20] [--cells gsm8k] [--jobs 2]

A recorded set (where one is at hand) and rows drawn from a model are calibrated as they are, and
again with other names of the tiers, rows in another order, each row's votes in another order and
its tiers in another order; ids stay. Everything in the result is compared, names mapped back.
Prints the largest difference of any number, relative where it is above 1, and where it lies; the
exit status is 1 where one is above 1e-9.
"""

from __future__ import annotations

import dataclasses
import json
import sys
from collections import Counter
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

sys.path.insert(0, str(Path(__file__).parents[1]))

import numpy as np
from known import table_of
from msgspec import Struct, structs
from recorded import VOTED, Recorded
from runs import is_picked, option_parser, processes, run_all, table_head, table_line
from worlds import draw_world, paying_world

from automix_cli.evaluation.calibrate import Calibration, calibrate
from automix_cli.fitting.router_block import Settings

ALIKE = 1e-9
SETS = {r.name: r for r in (*VOTED[1:3], VOTED[0])}
WORLDS = {"drawn, 2 tiers, 400 rows": (2, 400), "drawn, 3 tiers, 200 rows": (3, 200)}


class Task(NamedTuple):
    """One calibration: the rows as they are (seed None), or renamed and reordered."""

    cell: str
    seed: int | None


class Outcome(NamedTuple):
    """Every value of a calibration by where it stands, with the names of the tiers mapped back."""

    kind: str
    edge: float
    values: dict[str, Any]


@cache
def rows_of(cell: str) -> list[dict[str, Any]]:
    """The rows as they are, with prices."""
    if cell in WORLDS:
        tiers, rows = WORLDS[cell]
        return draw_world(paying_world(tiers), rows, seed=0)
    return _recorded_rows(SETS[cell])


def _recorded_rows(recorded: Recorded) -> list[dict[str, Any]]:
    prices = {recorded.small: {"cost": 1.0, "vote_cost": 1 / 8}, recorded.large: {"cost": 20.0}}
    with recorded.path.open(encoding="utf-8") as lines:
        rows = [json.loads(line) for line in lines]
    return [
        {**row, "tiers": {name: {**row["tiers"][name], **price} for name, price in prices.items()}}
        for row in rows
    ]


def measure(task: Task) -> Outcome:
    """Calibrate, and map the names back."""
    rows, names = rows_of(task.cell), {}
    if task.seed is not None:
        rng = np.random.default_rng(task.seed)
        names = {name: f"tier-{rng.integers(10**9):09d}" for name in rows[0]["tiers"]}
        rows = [_reordered(rows[i], names, rng) for i in rng.permutation(len(rows))]
    table = table_of(rows)
    calibration = calibrate(table, Settings(max_votes=max(table.max_votes)))
    verdict = calibration.verdict
    assert verdict is not None, "enough rows by construction"
    return Outcome(verdict.kind, verdict.edge, dict(_values(calibration, names, len(table))))


def _reordered(row: dict[str, Any], names: Mapping[str, str], rng: np.random.Generator) -> dict[str, Any]:
    tiers = list(row["tiers"].items())
    shuffled = {}
    for k in rng.permutation(len(tiers)):
        name, cell = tiers[k]
        votes = cell.get("votes")
        shuffled[names[name]] = {
            **cell,
            "votes": [votes[i] for i in rng.permutation(len(votes))] if votes else votes,
        }
    return {**row, "tiers": shuffled}


def _values(calibration: Calibration, names: Mapping[str, str], rows: int) -> Iterator[tuple[str, Any]]:
    for place, value in _leaves(calibration, "", rows):
        yield _with_old_names(place, names), _with_old_names(value, names)


def _leaves(value: Any, place: str, rows: int) -> Iterator[tuple[str, Any]]:
    """Every number and text of a result, with where it stands; what each row came to, by size."""
    parts: Iterator[tuple[object, Any]] | None = None
    if dataclasses.is_dataclass(value):
        parts = ((f".{f.name}", getattr(value, f.name)) for f in dataclasses.fields(value))
    elif isinstance(value, Struct):
        parts = ((f".{key}", own) for key, own in structs.asdict(value).items())
    elif hasattr(value, "_asdict"):
        parts = ((f".{key}", own) for key, own in value._asdict().items())
    elif isinstance(value, Mapping):
        parts = ((f"[{key}]", own) for key, own in value.items())
    elif isinstance(value, np.ndarray) and rows in value.shape:
        parts = (
            (f"[{k}]", own) for k, own in enumerate(np.sort(value, axis=value.shape.index(rows)).ravel())
        )
    elif isinstance(value, list | tuple | np.ndarray):
        parts = ((f"[{k}]", own) for k, own in enumerate(value))
    if parts is None:
        yield place, value
        return
    for step, own in parts:
        yield from _leaves(own, f"{place}{step}", rows)


def _with_old_names(value: Any, names: Mapping[str, str]) -> Any:
    if isinstance(value, str):
        for old, new in names.items():
            value = value.replace(new, old)
    return value


class Difference(NamedTuple):
    """How far two values are apart, and where they stand."""

    size: float
    place: str


def largest_difference(one: Mapping[str, Any], other: Mapping[str, Any]) -> Difference:
    """Compare two results; unequal texts, and what only one of them has, are infinitely far apart."""
    differences = (
        Difference(_distance(one[place], other[place]) if place in one and place in other else np.inf, place)
        for place in one | other
    )
    return max(differences, key=lambda d: d.size)


def _distance(one: Any, other: Any) -> float:
    numbers = int | float | np.number
    if one is other or one == other:
        return 0.0
    if not isinstance(one, numbers) or not isinstance(other, numbers):
        return np.inf
    if np.isnan(one) or np.isnan(other):
        return 0.0 if np.isnan(one) and np.isnan(other) else np.inf
    return float(abs(one - other) / max(1.0, abs(one)))


def main() -> int:
    """Run and print."""
    parser = option_parser(__doc__, runs=20)
    args = parser.parse_args()
    at_hand = [name for name, recorded in SETS.items() if recorded.path.exists()][:1]
    cells = [name for name in (*at_hand, *WORLDS) if is_picked(name, args.cells)]
    names = ("rows", "renamings", "verdict as it is", "verdicts", "edges", "largest difference", "where")
    print(table_head(*names, "CPU s a run"))
    all_alike = True
    with processes(args.jobs) as pool:
        for cell in cells:
            tasks = [Task(cell, None), *(Task(cell, args.seed + k) for k in range(args.runs))]
            (first, *others), seconds = run_all(pool, measure, tasks)
            kinds = ", ".join(f"{n} {kind}" for kind, n in Counter(o.kind for o in others).items())
            worst = max((largest_difference(first.values, o.values) for o in others), key=lambda d: d.size)
            all_alike &= worst.size <= ALIKE
            edges = [100 * o.edge for o in others]
            statement = f"{first.kind}, {100 * first.edge:+.2f}"
            span = f"{min(edges):+.2f} to {max(edges):+.2f}"
            each = f"{seconds / len(tasks):.2f}"
            print(
                table_line(cell, args.runs, statement, kinds, span, f"{worst.size:.1e}", worst.place, each),
                flush=True,
            )
    print(f"\nseeds from {args.seed}; alike: at most {ALIKE:g}")
    return 0 if all_alike else 1


if __name__ == "__main__":
    sys.exit(main())
