"""Flat tables as trace rows, by a mapping of columns."""

import csv
import math
from collections.abc import Iterable
from typing import Any

import numpy as np
import pytest
from trace_rows import numbered

from automix_cli.data.columns import ColumnMapping, read_amounts, read_columns
from automix_cli.data.read_traces import read_table
from automix_cli.errors import DataError, UsageError


def from_csv(text: str) -> Iterable[tuple[int, dict[str, Any]]]:
    return enumerate(csv.DictReader(text.splitlines()), start=2)


def test_automix_s_released_table_reads_with_one_line() -> None:
    columns = read_columns("small.score=llama13b_f1,small.confidence=p_ver_13b,large.score=llama70b_f1")
    flat = {"id": "7", "question": "Who?", "output": "Frank", "dataset": "coqa", "split": "val"}
    flat |= {"llama13b_f1": 0.25, "p_ver_13b": 0.875, "llama70b_f1": 1, "llama13b_pred_ans": "F."}
    table = read_table([(1, flat)], columns=columns, costs={"small": 1, "large": 50})
    assert table.tiers == ("small", "large")
    assert table.score.tolist() == [[0.25, 1.0]]
    assert table.confidence[0, 0] == 0.875
    assert table.signals == ("logprob", "logprob")
    assert (table.ids[0], table.texts[0], table.datasets[0], table.splits[0]) == ("7", "Who?", "coqa", "val")


def test_routellm_s_response_tables_read_with_one_line() -> None:
    columns = read_columns("small.score=mixtral-8x7b-instruct-v0.1,large.score=gpt-4-1106-preview")
    text = 'prompt,mixtral-8x7b-instruct-v0.1,gpt-4-1106-preview\n"What, then?",True,False\nWhy?,false,TRUE\n'
    table = read_table(from_csv(text), columns=columns)
    assert table.score.tolist() == [[1, 0], [0, 1]]
    assert table.texts.tolist() == ["What, then?", "Why?"]
    assert table.ids.tolist() == [0, 1]


def test_routerbench_s_wide_tables_read_with_one_line() -> None:
    columns = read_columns(
        "id=sample_id,dataset=eval_name,small.score=mistralai/mixtral-8x7b-chat,"
        "small.cost=mistralai/mixtral-8x7b-chat|total_cost,"
        "large.score=gpt-4-1106-preview,large.cost=gpt-4-1106-preview|total_cost"
    )
    text = (
        "sample_id,prompt,eval_name,mistralai/mixtral-8x7b-chat,mistralai/mixtral-8x7b-chat|total_cost,"
        "gpt-4-1106-preview,gpt-4-1106-preview|total_cost\n"
        "mmlu.1,?,mmlu,0.0,1.2e-05,1.0,0.00123\nmmlu.2,!,mmlu,0.5,,,0.002\n"
    )
    table = read_table(from_csv(text), columns=columns)
    assert table.ids.tolist() == ["mmlu.1", "mmlu.2"]
    assert table.datasets.tolist() == ["mmlu", "mmlu"]
    np.testing.assert_array_equal(table.score, [[0, 1], [0.5, math.nan]])
    np.testing.assert_array_equal(table.cost, [[1.2e-05, 0.00123], [math.nan, 0.002]])


def test_flat_rows_hold_votes_as_lists_and_csv_cells_as_json() -> None:
    columns = read_columns("s.votes=v,s.answer=a,s.latency=t")
    assert columns.map_row({"v": [1, None], "a": "x", "t": 1})["tiers"] == {
        "s": {"votes": [1, None], "answer": "x", "latency": 1}
    }
    assert columns.map_row({"v": "[1, null]", "a": "", "t": " 1e1 "})["tiers"] == {
        "s": {"votes": [1, None], "answer": None, "latency": 10.0}
    }


def test_a_tier_s_name_may_hold_dots_and_a_column_s_anything() -> None:
    columns = read_columns('gpt-3.5.score=a=b,"gpt-3.5.cost=c, d"')
    assert [tuple(m) for m in columns.columns] == [("gpt-3.5", "score", "a=b"), ("gpt-3.5", "cost", "c, d")]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "nothing is mapped"),
        ("small.score", "expected KEY=COLUMN or TIER.KEY=COLUMN, got 'small.score'"),
        ("small.score=", "expected KEY=COLUMN or TIER.KEY=COLUMN, got 'small.score='"),
        ("small.scroe=x", "unknown key 'scroe' in 'small.scroe=x'; did you mean score?"),
        ("idd=x,a.score=y", "unknown key 'idd' in 'idd=x'; did you mean id?"),
        (".score=x", "unknown key 'score'"),
        ("a.score=x,a.correct=y", "a.score is mapped twice"),
        ("id=x,id=y,a.score=z", "id is mapped twice"),
    ],
)
def test_a_mapping_that_cannot_be_meant_is_refused(text: str, said: str) -> None:
    with pytest.raises(UsageError) as caught:
        read_columns(text)
    assert said in caught.value.message


def test_a_mapped_column_that_no_row_has_is_refused_with_the_name_that_was_meant() -> None:
    columns = read_columns("small.score=llama13_f1,large.score=llama70b_f1")
    with pytest.raises(UsageError, match="no column 'llama13_f1'; did you mean llama13b_f1"):
        read_table([(1, {"llama13b_f1": 1, "llama70b_f1": 1})], columns=columns)
    sparse = [{"llama70b_f1": 1}, {"llama13_f1": 0.5, "llama70b_f1": 1}]
    assert read_table(numbered(sparse), columns=columns).missing == {"small": 1, "large": 0}


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ("yes", "column 'f1': expected a number, got 'yes'"),
        ("1_0", "column 'f1': expected a number, got '1_0'"),
        ("１２", "column 'f1': expected a number"),
        ("nan", "column 'f1': expected a number, got 'nan'"),
        ("inf", "column 'f1': expected a number, got 'inf'"),
        ("0x1", "column 'f1': expected a number, got '0x1'"),
        ("1e999", "tiers.s.score: expected a finite number in 0..1, got inf"),
        ("1.5", "tiers.s.score: expected a finite number in 0..1, got 1.5"),
        ([1], "tiers.s.score: expected a number, got a list"),
    ],
)
def test_a_cell_that_is_no_score_is_refused_with_its_line_and_column(value: Any, said: str) -> None:
    rows = [(2, {"f1": "1"}), (3, {"f1": value})]
    with pytest.raises(DataError) as caught:
        read_table(rows, columns=read_columns("s.score=f1"))
    assert caught.value.message.startswith(f"line 3: {said}")


@pytest.mark.parametrize(
    ("columns", "flat", "said"),
    [
        ("s.score=f1,s.cost=c", {"f1": "1", "c": "True"}, "column 'c': expected a number, got 'True'"),
        ("s.score=f1,s.votes=v", {"f1": "1", "v": "[1,"}, "column 'v': expected votes like [1, 0, null]"),
        ("s.score=f1,s.votes=v", {"f1": "1", "v": "[" * 10**5}, "column 'v': expected votes like"),
        ("s.score=f1", {"f1": "1", None: ["surplus"]}, "as many cells as there are columns"),
        ("s.score=f1", ["1"], "as many cells as there are columns"),
    ],
)
def test_a_flat_row_that_cannot_be_read_is_refused(columns: str, flat: Any, said: str) -> None:
    with pytest.raises(DataError) as caught:
        read_table([(9, flat)], columns=read_columns(columns))
    assert caught.value.message.startswith("line 9: ")
    assert said in caught.value.message


def test_a_boolean_of_flat_json_is_a_score_where_it_is_mapped_as_one() -> None:
    table = read_table(numbered([{"ok": True}, {"ok": False}]), columns=read_columns("s.score=ok"))
    assert table.score.tolist() == [[1], [0]]


def test_a_failure_is_mapped_from_its_kind_or_from_a_boolean_however_it_is_written() -> None:
    columns = read_columns("s.score=ok,s.failed=why")
    text = "ok,why\n0,no_text\n,True\n0,1\n1,\n1,false\n1,0\n"
    assert read_table(from_csv(text), columns=columns).failed[:, 0].tolist() == [True] * 3 + [False] * 3
    flat = [{"ok": None, "why": True}, {"ok": 1, "why": False}, {"ok": 1, "why": None}, {"ok": 0, "why": 1}]
    table = read_table(numbered(flat), columns=columns)
    assert table.failed[:, 0].tolist() == [True, False, False, True]
    assert table.score[:, 0].tolist() == [0, 1, 1, 0]


def test_columns_are_a_value() -> None:
    assert read_columns("a.score=x") == ColumnMapping(read_columns("a.score = x".replace(" ", "")).columns)


@pytest.mark.parametrize(
    "text", ["", "a", "a=", "=1", "a=-1", "a=nan", "a=1e999", "a=1,a=2", "a=1,,b=2", "a=5$"]
)
def test_amounts_that_are_not_dollars_per_tier_are_refused(text: str) -> None:
    with pytest.raises(UsageError, match="--costs: expected TIER=DOLLARS"):
        read_amounts(text, "--costs")


def test_amounts_may_be_free_and_their_tiers_named_like_equations() -> None:
    assert read_amounts("a=b=0, c=1e-7", "--costs") == {"a=b": 0.0, "c": 1e-7}
