"""Right answers that are the place of a choice: read as that choice, where a whole file shows it."""

import json
from pathlib import Path
from typing import Any

import pytest

from automix_cli.data.choice_places import ChoicePlaces
from automix_cli.data.labelled import read_data, scored_rows
from automix_cli.data.shards import Shard
from automix_cli.data.sources import open_rows
from automix_cli.errors import DataError

TOWNS = ["Rome", "Oslo", "Bern", "Kyiv"]


def rows_with(*labels: Any, key: str = "answer", choices: Any = None) -> list[dict[str, Any]]:
    return [
        {"question": f"Which town is {n}?", "choices": choices or TOWNS, key: own}
        for n, own in enumerate(labels)
    ]


def write(tmp_path: Path, rows: list[dict[str, Any]]) -> Path:
    path = tmp_path / "rows.jsonl"
    path.write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    return path


@pytest.mark.parametrize(
    ("rows", "expected", "places"),
    [
        (rows_with(1, 0), ["Oslo", "Rome"], ChoicePlaces("answer", 0, True)),
        (rows_with("1", "0", key="label"), ["Oslo", "Rome"], ChoicePlaces("label", 0, True)),
        (rows_with(4, 1), ["Kyiv", "Rome"], ChoicePlaces("answer", 1, True)),
        (rows_with(1), ["Oslo"], ChoicePlaces("answer", 0, False)),
        (rows_with("B", 1), ["B", "1"], None),
        (rows_with(17, 1), ["17", "1"], None),
        (rows_with("4", "9", choices=["4", "7", "9"]), ["4", "9"], None),
        (
            [*rows_with(0, 3), *rows_with(1, choices=["0", "1", "2", "7"])],
            ["Rome", "Kyiv", "1"],
            ChoicePlaces("answer", 0, True),
        ),
    ],
)
def test_a_whole_number_is_the_place_of_a_choice_where_all_rows_agree(
    rows: list[dict[str, Any]], expected: list[str], places: ChoicePlaces | None, tmp_path: Path
) -> None:
    data = read_data(write(tmp_path, rows))
    assert data.places == places
    assert [question.expected[0] for question in data.questions()] == expected


def test_options_are_choices_too(tmp_path: Path) -> None:
    rows = [{"question": "Which?", "options": dict(zip("ABCD", TOWNS, strict=True)), "label": 0}]
    question = read_data(write(tmp_path, rows)).questions()[0]
    assert (question.choices, question.expected) == (tuple(TOWNS), ("Rome",))


def test_places_that_count_from_0_and_from_1_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"counts in some rows from 0, in others from 1"):
        read_data(write(tmp_path, rows_with(0, 4)))


def test_a_guess_is_said_and_own_names_are_not(tmp_path: Path) -> None:
    line = "read: question=question, expected=answer (answer is the place of a choice, and 0 is the first"
    assert read_data(write(tmp_path, rows_with(1))).guess_line() == (
        f'{line}: that is a guess, and no row shows it); first: "Which town is 0?" → "Oslo"'
    )
    assert read_data(write(tmp_path, rows_with("Rome", key="expected"))).guess_line() == ""


def test_recorded_answers_are_scored_against_the_choice(tmp_path: Path) -> None:
    rows = [{**row, "tiers": {"small": {"answer": "B"}}} for row in rows_with(1, 0, key="expected")]
    scored = scored_rows(read_data(write(tmp_path, rows)).numbered_rows(), "choice")
    assert [row["tiers"]["small"]["score"] for _, row in scored] == [1.0, 0.0]


def test_ask_reads_places_of_a_file_and_leaves_rows_of_a_pipe_as_they_are(tmp_path: Path) -> None:
    said = list[str]()
    rows = open_rows(write(tmp_path, rows_with(1, 0)))
    assert rows is not None
    own = rows.with_places(said.append)
    for source in (own, own.pick(limit=None, sample=None, seed=0, shard=Shard(0, 1))):
        source.check(strict=False)
        assert [row.question.expected for row in source.all() if row.question] == [("Oslo",), ("Rome",)]
    assert said == ["read: answer is the place of a choice, and 0 is the first"]
    rows.seekable = False
    assert rows.with_places() is rows


def test_places_that_count_in_two_ways_are_no_reason_not_to_ask(tmp_path: Path) -> None:
    said = list[str]()
    rows = open_rows(write(tmp_path, rows_with(0, 4)))
    assert rows is not None
    assert rows.with_places(said.append).places is None
    assert "counts in some rows from 0, in others from 1: its answers get no score" in said[0]


@pytest.mark.parametrize("form", ["lists", "each", "stem"])
@pytest.mark.parametrize(("label", "key"), [("ABCD", "C"), ("1234", "3")])
def test_choices_with_labels_as_arc_has_them_are_read(
    label: str, key: str, form: str, tmp_path: Path
) -> None:
    each = [{"text": town, "label": own} for town, own in zip(TOWNS, label, strict=True)]
    asked = {
        "lists": {"question": "Which?", "choices": {"text": TOWNS, "label": [*label]}},
        "each": {"question": "Which?", "choices": each},
        "stem": {"question": {"stem": "Which?", "choices": each}},
    }
    row = {"id": "q", **asked[form], "answerKey": key}
    data = read_data(write(tmp_path, [row]))
    [question] = data.questions()
    assert (question.text, question.choices, question.expected) == ("Which?", tuple(TOWNS), ("C",))
    assert data.places is None
    rows = open_rows(write(tmp_path, [row]))
    assert rows is not None
    assert [own.question for own in rows.all()] == [question]
    if form == "stem":
        [mapped] = read_data(write(tmp_path, [row]), columns="question=question.stem").questions()
        assert (mapped.text, mapped.choices, mapped.expected) == ("Which?", tuple(TOWNS), ("C",))
    recorded = {**row, "tiers": {"small": {"answer": "Bern"}, "large": {"answer": "D"}}}
    [(_, scored)] = scored_rows(read_data(write(tmp_path, [recorded])).numbered_rows(), "choice")
    assert [scored["tiers"][tier]["score"] for tier in ("small", "large")] == [1.0, 0.0]
