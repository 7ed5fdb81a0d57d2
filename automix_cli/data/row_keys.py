"""The keys of question and trace rows: declared here once, for every reader and writer of rows.

Two readers share these tables: the strict one (`rows`), whose errors name the key that is wrong,
and the fast one (`read_traces`), which reads whole columns. `columns` maps flat tables onto them.
"""

from __future__ import annotations

import sys
from functools import lru_cache
from typing import Literal, NamedTuple

ANY_AMOUNT = sys.float_info.max


class RowKey(NamedTuple):
    """A key of a question row.

    `aliases` are other names that it is read under, without case, blanks and underscores (see
    `plain_name`); `flat` is true where `--columns` may map a column of a flat table onto it.
    """

    name: str
    aliases: tuple[str, ...] = ()
    flat: bool = True


ROW_KEYS = (
    RowKey("id", ("custom_id",)),
    RowKey("question", ("prompt", "instruction", "input", "query")),
    RowKey("context"),
    RowKey("expected", ("reference", "gold", "label", "output", "target", "ideal", "answer key")),
    RowKey("choices", ("options",)),
    RowKey("metadata", flat=False),
    RowKey("dataset"),
    RowKey("split"),
)

ANSWER_NAMES = ("answer", "best answer")
"""Names of the right answer in rows of others; in our own rows, and for `verify`, an answer is a model's."""

OWN_ROW_KEYS = frozenset({"schema", "route", "tiers"})
"""Keys of rows whose `answer` is a model's."""

DRAW_KEYS = ("drawn", "inclusion", "look", "draw_rows", "draw_check")
"""How a row to label was drawn: chosen, random or both; with which chance, above 0 and at most 1; how many
times the number of rows was fixed, where that was more than once; of how many rows the draw was; and a
digest of it."""

LABEL_KEYS = ("expected", "labelled_by", "skipped")
"""What a label adds to a row, beside a score per tier: what is right, who said so, that nobody could tell."""


class TierKey(NamedTuple):
    """A key of what one tier did on a row.

    Numbers lie in 0..`highest`. `step` is the field of `Step` that holds the value, and `column`
    is true where `TraceTable` has a column of numbers of this name. `flat` as in `RowKey`.
    """

    name: str
    kind: Literal["text", "texts", "number", "votes", "failure"] = "number"
    highest: float = ANY_AMOUNT
    step: str = ""
    column: bool = True
    flat: bool = True


TIER_KEYS = (
    TierKey("failed", "failure", column=False),
    TierKey("score", highest=1.0, step="score"),
    TierKey("confidence", highest=1.0, step="confidence"),
    TierKey("votes", "votes", column=False),
    TierKey("answer", "text", column=False),
    TierKey("samples", "texts", column=False, flat=False),
    TierKey("cost", step="answer_cost"),
    TierKey("vote_cost", step="vote_cost"),
    TierKey("round_cost", step="round_cost"),
    TierKey("sample_cost", step="sample_cost", column=False, flat=False),
    TierKey("input_tokens"),
    TierKey("output_tokens", column=False),
    TierKey("latency", step="latency_s"),
)

SCORE_ALIAS = "correct"
"""The other name of `score`; under this name it may be a boolean."""

UNKNOWN_FAILURE = "unknown"
"""The kind of a failure that is recorded as `true`."""

NOT_BESIDE_FAILED = ("answer", "votes", "samples", "confidence")
"""What a tier that gave no answer cannot have, in the order in which it is refused."""

ROW_KEY_NAMES = {key.name: (key.name, *key.aliases) for key in ROW_KEYS}
"""Every name that a row key is read under, its own first."""


@lru_cache(maxsize=4096)
def plain_name(name: str) -> str:
    """The name of a key as names compare: without case, blanks and underscores.

    Example:
        >>> plain_name("Best Answer"), plain_name("custom_id")
        ('bestanswer', 'customid')
    """
    return "".join(name.casefold().replace("_", " ").split())


PLAIN_NAMES = {key: frozenset(map(plain_name, names)) for key, names in ROW_KEY_NAMES.items()}
"""The same names as they compare."""

CONTENT_NAMES = frozenset(
    map(
        plain_name,
        (
            *("context", "choices", "options", "messages", "body", "instructions", "answers", "tiers"),
            *(*ROW_KEY_NAMES["question"], *ROW_KEY_NAMES["expected"], *ANSWER_NAMES),
        ),
    )
)
"""The names of what a row asks and what is right, as they compare."""

HIGHEST = {key.name: key.highest for key in TIER_KEYS if key.kind == "number"}
"""The highest value of each number of a tier."""

TABLE_COLUMNS = tuple(key.name for key in TIER_KEYS if key.column)
"""The numbers of a tier that a `TraceTable` keeps."""

STEP_NUMBERS = {key.name: key.step for key in TIER_KEYS if key.step}
"""The numbers of a tier that `Step` keeps as they are, with the name of the field."""
