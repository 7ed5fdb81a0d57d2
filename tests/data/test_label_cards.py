"""What is seen of a row to label, and what a judgement makes of it."""

import json
from pathlib import Path
from typing import Any

import pytest

from automix_cli.data.label_cards import AnswerCard, LabelSession
from automix_cli.data.label_file import LabelFile, LabelsOfRows, has_judgement, lock_labels, scores_of
from automix_cli.errors import DataError, UsageError

TIERS = ("small", "mid", "large")


def row(
    ident: int = 1, answers: tuple[str | None, ...] = ("42", "7", "42.0"), **extra: Any
) -> dict[str, Any]:
    tiers = {
        tier: {"answer": answer} if answer is not None else {"failed": True}
        for tier, answer in zip(TIERS, answers, strict=True)
    }
    return {"id": ident, "question": "6 * 7?", "tiers": tiers, "drawn": "chosen", "inclusion": 0.5, **extra}


def session(tmp_path: Path, n: int = 3) -> LabelSession:
    file = LabelFile(tmp_path / "rows.labels.jsonl", [row(k) for k in range(n)])
    file.write()
    return LabelSession(file, "numeric", 0, "ann")


def on_disk(own: LabelSession) -> list[dict[str, Any]]:
    return [json.loads(line) for line in own.file.path.read_text("utf-8").splitlines()]


def test_equal_answers_are_shown_once_and_tiers_that_failed_not_at_all() -> None:
    card = AnswerCard.of(row(), "numeric", 0)
    assert sorted(answer.tiers for answer in card.answers) == [("mid",), ("small", "large")]
    assert len(AnswerCard.of(row(), "f1", 0).answers) == 3  # of free text, equal words alone are equal
    assert AnswerCard.of(row(answers=(None, None, None)), "numeric", 0).answers == ()


def test_the_order_of_answers_says_nothing_of_tiers() -> None:
    firsts = [AnswerCard.of(row(k), "numeric", 0).answers[0].tiers for k in range(200)]
    assert 70 < firsts.count(("mid",)) < 130
    assert firsts == [AnswerCard.of(row(k), "numeric", 0).answers[0].tiers for k in range(200)]


@pytest.mark.parametrize(
    ("right", "expected", "scores"),
    [
        ({"small"}, "42", [1.0, 0.0, 1.0]),
        ({"mid"}, "7", [0.0, 1.0, 0.0]),
        ({"small", "mid"}, ["42", "7"], [1.0, 1.0, 1.0]),
        (set(), None, [0.0, 0.0, 0.0]),
    ],
)
def test_a_judgement_gives_gold_answers_and_scores(
    right: set[str], expected: str | list[str] | None, scores: list[float]
) -> None:
    card = AnswerCard.of(row(), "numeric", 0)
    own = card.judge(row(), {k for k, answer in enumerate(card.answers) if right & set(answer.tiers)}, "ann")
    gold = own.get("expected")
    assert (sorted(gold) if isinstance(gold, list) else gold) == expected
    assert [own["tiers"][tier]["score"] for tier in TIERS] == scores
    assert own["labelled_by"] == "ann"
    assert has_judgement(own)
    assert not has_judgement(row())


def test_every_label_is_on_disk_at_once_and_undo_takes_it_back(tmp_path: Path) -> None:
    own = session(tmp_path)
    own.label(0, {0})
    own.skip(1)
    assert [bool(r.get("labelled_by")) for r in on_disk(own)] == [True, True, False]
    assert own.place == 2
    assert own.undo()
    assert own.place == 1
    assert own.undo()
    assert on_disk(own) == [row(k) for k in range(3)]
    assert not own.undo()


def test_a_later_session_goes_on_and_can_undo_what_was_done_before(tmp_path: Path) -> None:
    own = session(tmp_path)
    own.label(0, {0})
    later = LabelSession(LabelFile(own.file.path, on_disk(own)), "numeric", 0, "bob")
    assert later.place == 1
    assert later.undo()
    assert on_disk(later) == [row(k) for k in range(3)]


def test_skipped_rows_come_again_only_when_nothing_else_is_left(tmp_path: Path) -> None:
    own = session(tmp_path, 2)
    own.skip(0)
    own.label(1, set())
    assert own.place is None
    later = LabelSession(LabelFile(own.file.path, on_disk(own)), "numeric", 0, "ann")
    assert later.place == 0
    later.label(0, {0})
    assert later.place is None
    assert "skipped" not in on_disk(later)[0]


def test_what_was_taken_back_is_shown_next(tmp_path: Path) -> None:
    own = session(tmp_path)
    for place in range(3):
        own.skip(place)
    later = LabelSession(LabelFile(own.file.path, on_disk(own)), "numeric", 0, "ann")
    assert later.place == 0
    assert later.undo()
    assert later.place == 2
    later.label(2, {0})
    assert later.place == 0


def test_a_label_brings_neither_votes_nor_costs(tmp_path: Path) -> None:
    own = row(0, expected="42")
    tiers = {name: {**step, "cost": 9, "votes": [0]} for name, step in own["tiers"].items()}
    tiers["small"]["score"] = 1
    labels = LabelsOfRows("labels.jsonl", {"0": {**own, "tiers": tiers}})
    [(_, read)] = labels.merge(iter([(1, {**row(0), "gold": None})]))
    assert read["tiers"]["small"] == {"answer": "42", "score": 1}
    assert read["tiers"]["mid"] == {"answer": "7"}
    assert read["expected"] == "42"


def test_one_file_is_labelled_by_one_process(tmp_path: Path) -> None:
    path = tmp_path / "rows.labels.jsonl"
    with lock_labels(path), pytest.raises(UsageError, match="another process"), lock_labels(path):
        pass
    with lock_labels(path):
        assert path.with_name(".rows.labels.jsonl.automix-lock").exists()
    assert list(tmp_path.iterdir()) == []


def test_scores_are_those_of_the_row_or_of_its_gold_answer() -> None:
    assert scores_of(row(), TIERS, "numeric") is None
    own = scores_of(row(answers=("42", None, "8"), expected="42.0"), TIERS, "numeric")
    assert own is not None
    assert own.tolist() == [1.0, 0.0, 0.0]


def test_labels_are_read_in_place_of_their_rows() -> None:
    plain = [{"id": k, "question": "6 * 7?", "tiers": row(k)["tiers"]} for k in range(3)]
    earlier = {**plain[2], "expected": "7", "inclusion": 0.2}
    labels = LabelsOfRows("labels.jsonl", {"0": row(0, expected="42")})
    rows = [own for _, own in labels.merge(iter(enumerate([plain[0], plain[1], earlier], 1)))]
    assert [own.get("expected") for own in rows] == ["42", None, "7"]
    assert [own.get("inclusion") for own in rows] == [0.5, None, 1.0]  # known before: it stands for itself


@pytest.mark.parametrize(
    ("label", "message"),
    [
        (row(5), "no row has the id 5"),
        (row(0, answers=("1", "2", "3")), "answers to 0 are not those of line 1"),
        (row(0, context="Base 13."), "the question of 0 is not that of line 1"),
    ],
)
def test_labels_of_other_rows_are_refused(label: dict[str, Any], message: str) -> None:
    labels = LabelsOfRows("labels.jsonl", {str(label["id"]): label})
    with pytest.raises(DataError, match=message):
        list(labels.merge(iter([(1, {"id": 0, "question": "6 * 7?", "tiers": row(0)["tiers"]})])))
