"""Recorded answers of real models, where they are at hand: never copied into the project.

They are looked for in the folder that the environment variable AUTOMIX_DATA names, else in
../shared/data beside the repository. Each set is read as two tiers; prices are given, because
the sets record none or those of another time.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from msgspec.structs import replace

from automix_cli.data.read_traces import read_table
from automix_cli.data.traces import TraceTable

DATA = Path(os.environ.get("AUTOMIX_DATA") or Path(__file__).parents[2] / "shared" / "data")


class Recorded(NamedTuple):
    """Two tiers of a recorded set."""

    name: str
    small: str
    large: str

    @property
    def path(self) -> Path:
        """Where the rows are, if they are."""
        return DATA / f"{self.name}.jsonl"

    def table(self) -> TraceTable:
        """The rows that score both tiers, at the recorded prices."""
        table = read_table(enumerate(self._rows(), 1), tiers=(self.small, self.large))
        return table.require_scores(drop=True)

    def priced(self, table: TraceTable, ratio: float, vote: float = 0.0) -> TraceTable:
        """The table at a price of 1 for the small tier, `ratio` for the large one, `vote` for a vote."""
        costs = {self.small: 1.0, self.large: float(ratio)}
        return table.with_costs(costs, {self.small: vote})

    def _rows(self) -> Iterator[dict[str, Any]]:
        with self.path.open(encoding="utf-8") as lines:
            yield from map(json.loads, lines)


# Votes: agreement between samples, or an own verdict, recorded for one answer.
VOTED = (
    Recorded("cruxeval_output", "codellama-7b", "gpt-4o-mini-2024-07-18"),
    Recorded("zeroeval_gsm8k", "ensemble5-small", "claude-3-5-sonnet-20241022"),
    Recorded("zeroeval_math_l5", "ensemble5-small", "o1-mini-2024-09-12"),
    Recorded("automix_repl_selfverify", "llama-3.1-8b-instruct", "gpt-5"),
)
# A continuous confidence that comes with the answer.
CONFIDENT = (
    Recorded("mmlupro_confidence", "gpt-4o-mini-2024-07-18", "gpt-4o-2024-08-06"),
    Recorded("mmlupro_confidence", "llama-3.1-8b-instruct", "llama-3.1-70b-instruct"),
    Recorded("mcqa_msp", "llama-3-8b-instruct", "llama-3-70b-instruct"),
    Recorded("mcqa_msp", "gpt-3.5-turbo", "gpt-4-turbo"),
    Recorded("automix_repl_logprob", "llama-3.1-8b-instruct", "gpt-5"),
)


class Known(NamedTuple):
    """A set of which it is known whether routing pays at 98 % of the best tier's quality.

    `shuffled`: votes are dealt to other rows at random.
    """

    words: str
    recorded: Recorded
    expected: str
    ratio: float | None = None
    vote: float = 0.0
    shuffled: bool = False

    def table(self) -> TraceTable:
        """All rows, at these prices or as recorded."""
        table = self.recorded.table()
        if self.ratio is not None:
            table = self.recorded.priced(table, self.ratio, self.vote)
        return shuffled(table) if self.shuffled else table


def shuffled(table: TraceTable) -> TraceTable:
    """The table with each row's votes dealt to another one: they then say nothing of the answer."""
    order = np.random.default_rng(0).permutation(len(table))
    dealt = tuple(own._replace(code=own.code[order]) for own in table.recorded_votes)
    return replace(table, votes=table.votes[order], recorded_votes=dealt)


VERDICTS = (
    Known(
        "routerarena_haiku_flash: the dearer model is the worse one",
        Recorded("routerarena_haiku_flash", "gemini-2.0-flash-001", "claude-3-haiku-20240307"),
        "single tier",
    ),
    Known("zeroeval_gsm8k at 1:20, a vote at 1/8", VOTED[1], "route", 20, 1 / 8),
    Known("zeroeval_math_l5, votes shuffled", VOTED[2], "single tier", 20, 1 / 8, True),
    Known("cruxeval_output, votes shuffled", VOTED[0], "single tier", 20, 1 / 8, True),
)
