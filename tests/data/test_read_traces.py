"""Trace rows read into a table: to the same values as the strict reader, or refused with its message."""

import copy
import json
import math
import os
import random
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from trace_rows import numbered, trace_row

from automix_cli.data.read_traces import ROWS_AT_A_TIME, read_table
from automix_cli.data.rows import trace_from_dict
from automix_cli.data.traces import TraceTable
from automix_cli.errors import DataError, UsageError
from automix_cli.evaluation.reliability import auroc
from automix_cli.records import Trace, Verdict

DATA = Path(os.environ.get("AUTOMIX_DATA") or Path(__file__).parents[3] / "shared" / "data")


# ---------------------------------------------------------------- two readers, the same values


def any_row(rng: random.Random, i: int) -> dict[str, Any]:
    """A valid row with about half of everything left out, null, or spelled another way."""

    def some(*values: Any) -> dict[str, Any]:
        return {} if rng.random() < 0.4 else {"": rng.choice(values)}

    def cell() -> dict[str, Any] | None:
        if rng.random() < 0.1:
            return None
        maybe = {
            "score": some(0, 1, 0.5, 1.0, None),
            "correct": some(True, False, 0, 1, 0.25, None),
            "confidence": some(0, 1, 0.123, None),
            "votes": some([], [1, 0, None], [True, False, 1.0], [None] * 9, None),
            "samples": some([], ["a", "b"], None),
            "answer": some("x", 7, None),
            "cost": some(0, 3, 0.25, 1e-300, None),
            "vote_cost": some(0, 0.5, None),
            "round_cost": some(2, None),
            "latency": some(0.25, 3, None),
            "input_tokens": some(0, 12, 12.0, None),
            "output_tokens": some(5, None),
            "out_chars": some("whatever", [1], {}),
        }
        if rng.random() < 0.1:
            beside = {"cost", "latency", "input_tokens", "output_tokens"}
            maybe = {key: value for key, value in maybe.items() if key in beside}
            maybe |= {"failed": {"": rng.choice([True, "no_text"])}, "score": some(0, None)}
        return {key: value[""] for key, value in maybe.items() if value}

    asked = rng.choice(["question", "prompt", "input", "query", "messages", None, ""])
    text = f"question {i}"
    texts = {"messages": [{"role": "user", "content": text}], None: None, "": ""}
    question = {asked or "question": texts.get(asked, text)}
    ident = rng.choice([{"id": f"q{i}"}, {"custom_id": f"c{i}"}, {"id": 10_000 + i}, {}])
    split = rng.choice([{"dataset": "d"}, {"split": "test", "dataset": None}, {"split": 3}, {}])
    names = rng.sample(["small", "middle", "large"], rng.randrange(4))
    return {**ident, **question, **split, "tiers": {name: cell() for name in names}}


def as_table_sees(trace: Trace, table: TraceTable) -> dict[str, Any]:
    """What the strict reader found, in the table's terms."""
    seen: dict[str, Any] = {
        "ids": trace.question.id,
        "texts": trace.question.text,
        "datasets": trace.question.dataset,
        "splits": trace.question.split,
    }
    steps = [trace.step(name) for name in table.tiers]
    fields = {"score": "score", "confidence": "confidence", "cost": "answer_cost"}
    fields |= {"vote_cost": "vote_cost", "round_cost": "round_cost", "latency": "latency_s"}
    for name, attribute in fields.items():
        values = [getattr(step, attribute) if step else None for step in steps]
        seen[name] = [math.nan if value is None else value for value in values]
    verdicts = (Verdict.CORRECT, Verdict.INCORRECT, Verdict.UNPARSED)
    seen["failed"] = [bool(step and step.failed) for step in steps]
    seen["votes"] = [[step.votes.count(v) if step else 0 for v in verdicts] for step in steps]
    seen["sample_counts"] = [len(step.samples) if step else 0 for step in steps]
    return seen


@pytest.mark.parametrize("seed", range(4))
def test_the_table_holds_what_the_strict_reader_reads_of_every_valid_row(seed: int) -> None:
    rng = random.Random(seed)
    rows = [any_row(rng, i) for i in range(400)]
    table = read_table(numbered(copy.deepcopy(rows)), tiers=("small", "middle", "large"))
    for i, raw in enumerate(rows):
        for name, value in as_table_sees(trace_from_dict(raw, i), table).items():
            np.testing.assert_array_equal(getattr(table, name)[i], value, err_msg=f"{name} of {raw}")


WRONG = [
    ("score", True, "expected a number, got a boolean"),
    ("score", "0.5", "expected a number, got text"),
    ("score", 1.01, "expected a finite number in 0..1, got 1.01"),
    ("score", -1, "expected a finite number in 0..1, got -1"),
    ("score", math.nan, "expected a finite number in 0..1, got nan"),
    ("score", math.inf, "expected a finite number in 0..1, got inf"),
    ("score", [1], "expected a number, got a list"),
    ("correct", "false", "expected a number, got text"),
    ("correct", 2, "expected a finite number in 0..1, got 2"),
    ("confidence", 1.5, "expected a finite number in 0..1, got 1.5"),
    ("confidence", False, "expected a number, got a boolean"),
    ("cost", -0.01, "expected a finite number 0 or more, got -0.01"),
    ("cost", math.nan, "expected a finite number 0 or more, got nan"),
    ("cost", 10**400, "expected a finite number 0 or more, got 1000"),
    ("vote_cost", "1$", "expected a number, got text"),
    ("round_cost", {}, "expected a number, got an object"),
    ("latency", -1, "expected a finite number 0 or more, got -1"),
    ("input_tokens", -1, "expected a finite number 0 or more, got -1"),
    ("votes", 3, "expected a list of 1, 0 and null, got a number"),
    ("votes", "", "expected a list of 1, 0 and null, got text"),
    ("votes", [1, 2], r"expected a list of 1, 0 and null, got \[1, 2\]"),
    ("votes", ["1"], "expected a list of 1, 0 and null"),
    ("votes", [[]], "expected a list of 1, 0 and null"),
    ("votes", [0.5], "expected a list of 1, 0 and null"),
    ("samples", 3, "expected a list of texts, got a number"),
    ("samples", "a", "expected a list of texts, got text"),
]


@pytest.mark.parametrize(("key", "value", "said"), WRONG)
def test_a_wrong_value_is_refused_with_its_line_and_key_by_both_readers(
    key: str, value: Any, said: str
) -> None:
    bad = trace_row(700, small={"score": 1}, large={key: value})
    with pytest.raises(DataError, match=said) as strictly:
        trace_from_dict(bad)
    assert strictly.value.message.startswith(f"tiers.large.{key}: ")
    rows = [*(trace_row(i, small={"score": 1}) for i in range(700)), bad, trace_row(701, small={"score": 1})]
    with pytest.raises(DataError) as fast:
        read_table(enumerate(rows, start=3))
    assert fast.value.message == f"line 703: {strictly.value.message}"


@pytest.mark.parametrize(
    ("cell", "said"),
    [
        ({"failed": 1}, "failed: expected the kind of failure or true, got a number"),
        ({"failed": ""}, "failed: expected the kind of failure or true, got empty text"),
        ({"failed": True, "score": 1}, "score: a tier that failed scores 0, got 1.0"),
        ({"failed": True, "correct": True}, "score: a tier that failed scores 0, got 1.0"),
        ({"failed": "no_text", "answer": ""}, "answer: a tier that failed has none"),
        ({"failed": True, "votes": [0]}, "votes: a tier that failed has none"),
        ({"failed": True, "samples": ["a"]}, "samples: a tier that failed has none"),
        ({"failed": True, "confidence": 0}, "confidence: a tier that failed has none"),
    ],
)
def test_a_failure_beside_an_answer_is_refused_with_its_line_by_both_readers(
    cell: dict[str, Any], said: str
) -> None:
    bad = trace_row(1, small={"score": 1}, large=cell)
    with pytest.raises(DataError) as strictly:
        trace_from_dict(bad)
    assert strictly.value.message == f"tiers.large.{said}"
    with pytest.raises(DataError) as fast:
        read_table(numbered([trace_row(0, small={"score": 1}), bad]))
    assert fast.value.message == f"line 2: tiers.large.{said}"


def test_a_row_on_which_a_tier_failed_is_complete_and_takes_no_votes_from_the_others() -> None:
    votes = {"votes": [1, 0, 1], "vote_cost": 1}
    rows = [
        trace_row(0, small={"score": 1, **votes}, large={"score": 1}),
        trace_row(1, small={"failed": "no_text", "cost": 0.5}, large={"score": 1}),
    ]
    table = read_table(numbered(rows)).require_scores()
    assert table.score.tolist() == [[1.0, 1.0], [0.0, 1.0]]
    assert table.failed.tolist() == [[False, False], [True, False]]
    assert table.max_votes == (3, 0)
    assert table.subset(np.array([1])).pick(["large", "small"]).failed.tolist() == [[False, True]]


@pytest.mark.parametrize(
    ("bad", "said"),
    [
        ([1], "expected a JSON object, got a list"),
        (None, "expected a JSON object, got null"),
        ({"question": "?"}, "tiers: expected an object of tiers by name, got null"),
        ({"tiers": ["small"]}, "tiers: expected an object of tiers by name, got a list"),
        ({"tiers": {"small": 1}}, "tiers.small: expected an object, got a number"),
        ({"tiers": {"small": ""}}, "tiers.small: expected an object, got text"),
        ({"id": True, "tiers": {}}, "id: expected text or a whole number, got a boolean"),
        ({"id": 1.5, "tiers": {}}, "id: expected text or a whole number, got a number"),
        ({"question": 5, "tiers": {}}, "question: expected text, got a number"),
        ({"messages": [], "tiers": {}}, "messages: expected a list of {role, content} objects"),
    ],
)
def test_a_row_of_another_shape_is_refused_with_its_line(bad: Any, said: str) -> None:
    with pytest.raises(DataError) as caught:
        read_table(numbered([trace_row(0, small={"score": 1}), bad]))
    assert caught.value.message == f"line 2: {said}"


def test_correct_is_read_as_score_and_only_correct_may_be_a_boolean() -> None:
    table = read_table(numbered([trace_row(i, s={"correct": c}) for i, c in enumerate([True, False, 0.5])]))
    assert table.score[:, 0].tolist() == [1, 0, 0.5]
    both = read_table(numbered([trace_row(0, s={"score": 0.25, "correct": True})]))
    assert both.score.tolist() == [[0.25]]


def test_the_text_of_a_chat_row_is_its_last_message_whatever_else_it_holds() -> None:
    chat = {"question": "old", "messages": [{"role": "user", "content": "new"}], "tiers": {"s": {}}}
    assert read_table(numbered([chat, chat | {"id": 7}])).texts.tolist() == ["new", "new"]
    assert trace_from_dict(chat).question.text == "new"


def test_ids_that_stand_twice_are_refused_with_both_lines() -> None:
    rows = [trace_row(0, s={"score": 1}), {"id": 1, "tiers": {}}, {"id": "1", "tiers": {}}]
    with pytest.raises(DataError, match="line 13: id '1' stands twice \\(first in line 12\\)"):
        read_table(enumerate(rows, start=11))


def test_a_row_without_an_id_gets_its_place_from_0() -> None:
    rows = [{"tiers": {"s": {}}}, {"custom_id": "x", "tiers": {}}, {"id": None, "tiers": {}}]
    assert read_table(enumerate(rows, start=5)).ids.tolist() == [0, "x", 2]


@pytest.mark.parametrize(
    ("rows", "said"), [([], "there are no rows"), ([{"tiers": {}}], "no row has a tier")]
)
def test_nothing_to_read_is_an_error(rows: list[Any], said: str) -> None:
    with pytest.raises(DataError, match=said):
        read_table(numbered(rows))


# ---------------------------------------------------------------- tiers and chunks


def test_tiers_come_by_mean_cost_where_every_tier_has_one_else_as_they_appear() -> None:
    rows = [trace_row(0, a={"cost": 5}, b={"cost": 1}), trace_row(1, c={"cost": 2}, a={"cost": 0.5})]
    assert read_table(numbered(rows)).tiers == ("b", "c", "a")
    del rows[1]["tiers"]["c"]["cost"]
    assert read_table(numbered(rows)).tiers == ("a", "b", "c")
    assert read_table(numbered(rows), costs={"c": 0.1}).tiers == ("c", "b", "a")
    table = read_table(numbered(rows), tiers=("c", "a"))
    assert table.tiers == ("c", "a")
    np.testing.assert_array_equal(table.cost, [[math.nan, 5], [math.nan, 0.5]])


def test_equally_dear_tiers_keep_the_order_they_appear_in() -> None:
    rows = [trace_row(0, b={"cost": 1}, a={"cost": 1}, c={"cost": 1})]
    assert read_table(numbered(rows)).tiers == ("b", "a", "c")


@pytest.mark.parametrize(
    "options",
    [
        {"tiers": ("small", "lage")},
        {"costs": {"lage": 1.0}},
        {"vote_costs": {"lage": 1.0}},
    ],
)
def test_an_unknown_tier_is_refused_with_the_name_that_was_meant(options: dict[str, Any]) -> None:
    option = "--" + next(iter(options)).replace("_", "-")
    with pytest.raises(UsageError, match=f"{option}: no tier 'lage'; did you mean large"):
        read_table(numbered([trace_row(0, small={"score": 1}, large={"score": 1})]), **options)


def test_a_tier_that_first_appears_late_or_stops_early_is_missing_elsewhere() -> None:
    n = 3 * ROWS_AT_A_TIME + 5
    rows = [trace_row(i, early={"score": 1, "votes": [1]}) for i in range(2 * ROWS_AT_A_TIME + 3)]
    rows += [trace_row(len(rows) + i, late={"score": 0, "votes": [0, 0]}) for i in range(n - len(rows))]
    table = read_table(numbered(rows))
    assert table.tiers == ("early", "late")
    assert table.missing == {
        "early": n - 2 * ROWS_AT_A_TIME - 3,
        "late": 2 * ROWS_AT_A_TIME + 3,
    }
    assert table.votes.sum(axis=0).tolist() == [
        [2 * ROWS_AT_A_TIME + 3, 0, 0],
        [0, 2 * table.missing["early"], 0],
    ]
    assert table.max_votes == (0, 0)


def test_reading_is_deterministic_and_reads_each_row_once() -> None:
    rows = [trace_row(i, a={"votes": [1, 0, None] * 3}) for i in range(600)]
    taken = []

    def once() -> Iterable[tuple[int, Any]]:
        for number, raw in numbered(rows):
            taken.append(number)
            yield number, raw

    first, second = read_table(once()), read_table(numbered(rows))
    assert taken == list(range(1, 601))
    assert np.array_equal(first.recorded_votes[0].code, second.recorded_votes[0].code)


# ---------------------------------------------------------------- recorded data of others

# mean score of a small and a large tier, and the AUROC of the small one's confidence or votes,
# as the collection's own table has them
RECORDED = [
    ("cruxeval_output", "ensemble5-small", "gpt-4o-2024-08-06", 800, 0.497, 0.870, 0.875),
    ("cruxeval_output", "codellama-7b", "gpt-4o-mini-2024-07-18", 800, 0.346, 0.759, 0.737),
    ("zeroeval_gsm8k", "ensemble5-small", "claude-3-5-sonnet-20241022", 1319, 0.912, 0.967, 0.897),
    ("zeroeval_math_l5", "ensemble5-small", "o1-mini-2024-09-12", 721, 0.320, 0.893, 0.831),
    ("automix_repl_selfverify", "llama-3.1-8b-instruct", "gpt-5", 4000, 0.387, 0.519, 0.540),
    ("automix_repl_logprob", "llama-3.1-8b-instruct", "gpt-5", 4000, 0.412, 0.519, 0.707),
    ("mcqa_msp", "gpt-3.5-turbo", "gpt-4-turbo", 9407, 0.701, 0.885, 0.760),
    ("routellm_gsm8k", "mixtral-8x7b-instruct", "gpt-4-1106-preview", 1319, 0.638, 0.857, None),
    ("routerarena_haiku_flash", "gemini-2.0-flash-001", "claude-3-haiku-20240307", 809, 0.690, 0.523, None),
]


@pytest.mark.parametrize(("name", "small", "large", "rows", "means", "meanl", "health"), RECORDED)
def test_recorded_data_of_real_models_give_their_published_figures(
    name: str, small: str, large: str, rows: int, means: float, meanl: float, health: float | None
) -> None:
    path = DATA / f"{name}.jsonl"
    if not path.exists():
        pytest.skip(f"no recorded data at {path}; AUTOMIX_DATA names their folder")
    with path.open(encoding="utf-8") as lines:
        table = read_table((n, json.loads(line)) for n, line in numbered(lines)).pick((small, large))
    assert len(table) == rows
    assert table.score.mean(axis=0) == pytest.approx([means, meanl], abs=0.0006)
    if health is not None:
        right = table.score[:, 0] >= 0.5
        assert auroc(table.confidence[:, 0], right).value == pytest.approx(health, abs=0.0006)
        if table.max_votes[0]:
            share = table.votes[:, 0, 0] / table.votes[:, 0, :2].sum(axis=1)
            assert auroc(share, right).value == pytest.approx(health, abs=0.0006)


@pytest.mark.parametrize(("short", "kept", "most"), [(2, 198, 8), (3, 200, 5), (0, 200, 8)])
def test_a_few_rows_short_of_votes_are_set_aside_and_many_lower_what_is_planned(
    short: int, kept: int, most: int
) -> None:
    """One row in a hundred may go; with more of them the plan buys what every row holds."""
    rows = [
        (
            i + 1,
            {"id": i, "tiers": {"s": {"score": i % 2, "votes": [1] * (5 if i < short else 8), "cost": 1}}},
        )
        for i in range(200)
    ]
    table, count = read_table(rows).without_short_rows(most=8)
    assert (len(table), count, table.max_votes) == (kept, 200 - kept, (most,))


def test_a_row_without_votes_does_not_hide_that_all_others_have_some() -> None:
    votes = [[] if i == 3 else [1, 0] for i in range(100)]
    rows = [(i + 1, {"id": i, "tiers": {"s": {"score": 1, "votes": v}}}) for i, v in enumerate(votes)]
    table = read_table(rows)
    assert table.signals == ("logprob",)
    assert table.without_short_rows(most=8)[0].signals == ("votes",)
