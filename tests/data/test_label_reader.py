"""Files of rows to label are checked line by line, and as one draw."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from automix_cli.data.label_reader import read_labels, with_draw
from automix_cli.errors import DataError

Row = dict[str, Any]


def draw(n: int = 3) -> list[Row]:
    return with_draw(
        [
            {
                "id": k,
                "question": f"{k} + 1?",
                "tiers": {"small": {"answer": str(k)}, "large": {"answer": str(k + 1)}},
                "drawn": "chosen",
                "inclusion": 0.25 + k / 7,
            }
            for k in range(n)
        ]
    )


def write(path: Path, rows: list[Row]) -> Path:
    path.write_text("".join(f"{json.dumps(row)}\n" for row in rows), "utf-8")
    return path


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"inclusion": "0.5"}, ":2: inclusion: expected a number"),
        ({"inclusion": None}, ":2: inclusion: expected a number"),
        ({"inclusion": 0}, ":2: inclusion: expected a number"),
        ({"look": "two"}, ":2: look: expected a whole number from 1 to 60"),
        ({"look": 10**6}, ":2: look: expected"),
        ({"drawn": "top"}, ":2: drawn: expected chosen, random, both"),
        ({"draw_rows": 0}, ":2: draw_rows: expected a whole number"),
        ({"skipped": "false"}, ":2: skipped: expected true or false"),
        ({"tiers": [1]}, ":2: tiers: expected an object"),
        ({"tiers": {"small": 3}}, ":2: tiers.small: expected an object"),
        ({"tiers": {"small": {"score": 2}}}, ":2: tiers.small.score: expected a finite number in 0..1"),
        ({"expected": {"a": 1}}, ":2: expected: expected text"),
        ({"id": 0}, ":2: id 0 stands twice .first in line 1"),
        (
            {
                "expected": "2",
                "labelled_by": "ann",
                "tiers": {"small": {"answer": "1", "score": 1}, "large": {"answer": "2", "score": 0}},
            },
            ":2: tiers.large: its answer is .expected., and its score is 0",
        ),
        ({"inclusion": 1.0}, ": its rows are not as they were drawn"),
        ({"look": 2}, ": its rows are not as they were drawn"),
    ],
)
def test_a_row_that_cannot_be_right_is_refused(tmp_path: Path, change: Row, message: str) -> None:
    rows = draw()
    path = write(tmp_path / "labels.jsonl", [rows[0], {**rows[1], **change}, rows[2]])
    with pytest.raises(DataError, match=f"labels.jsonl{message}"):
        read_labels(path)


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (lambda rows: rows[1:], "holds 2 rows, and 3 were drawn"),
        (lambda rows: [], "there are no rows"),
        (lambda rows: [*rows[:2], {"id": 5, "question": "?"}], ":3: is no row that automix label drew"),
    ],
)
def test_a_draw_must_be_whole(tmp_path: Path, edit: Callable[[list[Row]], list[Row]], message: str) -> None:
    with pytest.raises(DataError, match=message):
        read_labels(write(tmp_path / "labels.jsonl", edit(draw())))


def test_a_row_that_lost_its_draw_says_which_keys_it_lacks(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="it has no inclusion, drawn, draw_rows, draw_check") as error:
        read_labels(write(tmp_path / "labels.jsonl", [{"id": 1, "expected": "2"}]))
    assert 'stands in the rows themselves, as "expected"' in str(error.value.hint)


def test_labels_of_other_tools_are_read_in_any_order(tmp_path: Path) -> None:
    rows = draw(4)
    rows[0]["expected"] = " "
    rows[1]["gold"] = "2"
    rows[2]["tiers"]["small"]["score"] = True
    labels = read_labels(write(tmp_path / "labels.jsonl", rows[::-1]))
    own = {row["id"]: row for row in labels.rows}
    assert (labels.blanks, "expected" in own[0], own[1]["expected"]) == (1, False, "2")
    assert own[2]["tiers"]["small"]["score"] == 1.0
    assert labels.lines == {"3": 1, "2": 2, "1": 3, "0": 4}
    assert "blank in 1 of 4 rows" in labels.note()
    assert "only some tiers have a score in 1 of 4 rows: no label there" in labels.note()


def test_scores_that_contradict_the_gold_answer_are_said(tmp_path: Path) -> None:
    """A tool that filled in both is believed in the scores, as in every other row, but not in silence."""
    rows = draw(3)
    for row in rows:
        row["expected"] = row["tiers"]["small"]["answer"]
        row["tiers"]["small"]["score"], row["tiers"]["large"]["score"] = float(row["id"] == 0), 0.0
    labels = read_labels(write(tmp_path / "labels.jsonl", rows))
    assert 'a score and "expected" disagree in 2 of 3 rows: the score counts' in labels.note()
