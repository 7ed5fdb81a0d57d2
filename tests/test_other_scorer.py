"""A scorer that finds nearly nothing right is named beside one that finds much; none is called right."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from shell import jsonl
from typer.testing import CliRunner

from automix_cli.cascade.tally import Tally
from automix_cli.cli import app
from automix_cli.records import Answer, Question
from automix_cli.scoring import SCORERS
from automix_cli.scoring.comparison import TierAnswer, other_scorer
from automix_cli.views.lines import batch_summary
from automix_cli.views.scorer_words import scorer_lines

PROFILE = """\
tiers:
  - {name: small, model: demo/small, price: {input: 0.1, output: 0.4}}
  - {name: large, model: demo/large, price: {input: 5, output: 20}}
"""


def answers(texts: list[str], label: str = "125", choices: tuple[str, ...] = ()) -> list[TierAnswer]:
    return [TierAnswer("large", text, (label,), choices) for text in texts]


@pytest.mark.parametrize(
    ("text", "label", "choices", "scorer", "other"),
    [
        ("We add, and so. Answer: 125", "125", (), "exact", "numeric"),
        ("Thus the answer is (B).", "B", (), "exact", "choice"),
        ("It is Rome, of course.", "rome", (), "exact", "contains"),
        ('Here it is: {"b": 1, "a": 2}', '{"a": 2, "b": 1}', (), "exact", "json"),
        ("It is Rome.", "Rome", ("Rome", "Paris"), "json", "choice"),
        ("Answer: 124", "125", (), "exact", None),
        ("125", "125", (), "exact", None),
    ],
)
def test_the_scorer_that_finds_such_answers_right_is_found(
    text: str, label: str, choices: tuple[str, ...], scorer: str, other: str | None
) -> None:
    found = other_scorer(answers([text] * 20, label, choices), scorer)
    assert (found and found.other) == other


@pytest.mark.parametrize(("right", "like", "n", "is_told"), [(0, 5, 20, True), (0, 4, 20, False)])
def test_it_takes_many_of_the_answers(right: int, like: int, n: int, is_told: bool) -> None:
    texts = ["125"] * right + ["Answer: 125"] * like + ["7"] * (n - right - like)
    assert (other_scorer(answers(texts), "exact") is not None) == is_told


@pytest.mark.parametrize(("right", "n", "is_told"), [(2, 20, True), (3, 20, False), (0, 4, False)])
def test_only_a_scorer_that_finds_nearly_nothing_right_is_doubted(right: int, n: int, is_told: bool) -> None:
    texts = ["125"] * right + ["Answer: 125"] * (n - right)
    assert (other_scorer(answers(texts), "exact") is not None) == is_told


def test_it_names_the_qualities_the_example_and_the_line_and_calls_no_scorer_right() -> None:
    small = [TierAnswer("small", text, ("125",)) for text in ["125"] * 15 + ["7"] * 5]
    found = other_scorer(
        [*small, *answers(["Step by step, " * 9 + "Answer: 125"] * 19 + ["Answer: 3"])], "exact"
    )
    assert found is not None
    lines = list(scorer_lines(found))
    assert (
        lines[0]
        == "note: scorer exact finds 0 of 20 answers of large right, and numeric finds 19 of them right"
    )
    assert lines[1] == "  quality by exact: small 75%, large 0%; by numeric: small 75%, large 95%"
    assert 'the label "125" and the answer "Step by step' in lines[2]
    assert lines[2].endswith('Answer: 125"')
    assert len(lines[2]) < 130
    assert "task: {scorer: numeric}" in lines[3]
    assert not any(f"{name} is right" in " ".join(lines) for name in SCORERS)


# ---------------------------------------------------------------- calibrate


def trace(i: int, small: str, large: str) -> dict[str, Any]:
    votes = [1] * 8 if small == str(i) else [0] * 8
    own = {"answer": small, "votes": votes, "cost": 1e-4, "vote_cost": 1e-5}
    return {
        "id": i,
        "question": f"{i}?",
        "expected": str(i),
        "tiers": {"small": own, "large": {"answer": large, "cost": 2e-3}},
    }


def calibrate(folder: Path, rows: list[dict[str, Any]], *options: str) -> tuple[int, str, bool]:
    """The exit code, what stderr says, and whether a router was written."""
    (folder / "t.jsonl").write_text(jsonl(*rows), encoding="utf-8")
    (folder / "p.yaml").write_text(PROFILE, encoding="utf-8")
    own = [str(folder / name) for name in ("t.jsonl", "p.yaml", "o.yaml")]
    args = ["calibrate", own[0], "--profile", own[1], "-o", own[2], *options]
    ran = CliRunner().invoke(app, args)
    return ran.exit_code, ran.stderr, Path(own[2]).exists()


WORDY = [
    trace(i, str(i) if i % 4 else "no", f"So it is. Answer: {i if i % 9 else 0}") for i in range(100, 124)
]
WRONG = [trace(i, "no", "none") for i in range(100, 124)]


def test_a_tier_whose_answers_the_scorer_does_not_read_is_not_dropped(tmp_path: Path) -> None:
    code, err, is_written = calibrate(tmp_path, WORDY)
    assert (code, is_written) == (5, False)
    assert err.startswith("note: scorer exact finds 0 of 24 answers of large right, and numeric finds 22")
    assert "nothing written: large is right on no row by scorer exact" in err


def scored(rows: list[dict[str, Any]], worth: float) -> list[dict[str, Any]]:
    """The rows as they are collected: each answer with its score; large's is `worth`."""
    tiers = [
        {
            "small": {
                **row["tiers"]["small"],
                "score": float(row["tiers"]["small"]["answer"] == row["expected"]),
            },
            "large": {**row["tiers"]["large"], "score": worth},
        }
        for row in rows
    ]
    return [{**row, "tiers": own} for row, own in zip(rows, tiers, strict=True)]


def test_rows_with_the_scores_of_that_scorer_are_looked_at_and_those_of_another_judge_are_not(
    tmp_path: Path,
) -> None:
    code, err, _ = calibrate(tmp_path, scored(WORDY, 0.0))
    assert (code, "note: scorer exact finds 0 of 24 answers of large right" in err) == (5, True)
    assert "note: scorer" not in calibrate(tmp_path, scored(WORDY, 0.05))[1]


def test_where_nothing_is_right_nothing_is_written(tmp_path: Path) -> None:
    code, err, is_written = calibrate(tmp_path, WRONG)
    assert (code, is_written) == (5, False)
    assert "nothing written: no tier is right on any row" in err
    assert "note: scorer" not in err


@pytest.mark.parametrize("rows", [WORDY, WRONG])
def test_force_writes_it_all_the_same(tmp_path: Path, rows: list[dict[str, Any]]) -> None:
    assert calibrate(tmp_path, rows, "--force")[2]


# ---------------------------------------------------------------- ask


def tally_of(texts: list[str]) -> Tally:
    tally = Tally(scorer="exact")
    for i, text in enumerate(texts):
        tally.add(
            Answer(
                question=Question(text="?", id=i, expected=("125",)), status="ok", answer=text, tier="large"
            )
        )
    return tally


def test_a_batch_of_quality_0_says_what_another_scorer_finds() -> None:
    text = "\n".join(batch_summary(tally_of(["So. Answer: 125"] * 6), 1.0))
    assert "quality 0%" in text
    assert "note: scorer exact finds 0 of 6 answers of large right, and numeric finds 6 of them right" in text
    assert "note:" not in "\n".join(batch_summary(tally_of(["125"] * 6), 1.0))
    assert "note:" not in "\n".join(batch_summary(tally_of(["7"] * 6), 1.0))
