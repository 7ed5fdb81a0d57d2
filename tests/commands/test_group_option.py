"""Copies and groups of rows, as `calibrate` and `bench` take and report them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from known import draw_rows, two_tiers
from shell import Ran, automix, jsonl

from automix_cli.evaluation.certificate import questions_needed

NOTE = "160 rows, 40 questions: 120 copies; figures are for new questions"
FEW = ("--folds", "3")  # quicker than ten, and as good for what is counted here
DEMO = ("--profile", "demo", "--tiers", "small,large")


def questions(rows: int, documents: int) -> list[dict[str, Any]]:
    return [
        {"id": i, "question": f"What is {i} + {i}?", "expected": str(2 * i), "doc": f"d{i % documents}"}
        for i in range(rows)
    ]


def copied(name: str = "question") -> list[dict[str, Any]]:
    """Traces of 40 questions, each four times, with `name` in common."""
    once = draw_rows(two_tiers(), 40, 0)
    return [row | {"id": f"{row['id']}-{k}", name: f"q {row['id']}"} for k in range(4) for row in once]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("AUTOMIX_CACHE_DIR", str(tmp_path / "cache"))
    return tmp_path


def run(folder: Path, rows: list[dict[str, Any]], *args: str) -> Ran:
    """Run a command on rows in `rows.jsonl`."""
    (folder / "rows.jsonl").write_text(jsonl(*rows))
    return automix(args[0], "rows.jsonl", *args[1:], cwd=folder)


# ------------------------------------------------------------------ a certificate out of reach


@pytest.mark.parametrize("more", [(), ("--dry-run",)])
def test_a_promise_that_the_questions_cannot_prove_is_refused_before_anything_is_sent(
    folder: Path, more: tuple[str, ...]
) -> None:
    ran = run(folder, questions(100, 100), "calibrate", *DEMO, "--certify", "0.9", *more)
    assert (ran.code, ran.out) == (5, "")
    assert "100 questions cannot certify --keep 0.98 with probability 90 %" in ran.err
    assert f"at least {questions_needed(0.98, 0.9)} are needed" in ran.err
    assert "--keep 0.9 takes 85" in ran.err
    assert "nothing was sent" in ran.err
    assert not (folder / "cache").exists()


@pytest.mark.parametrize("grouped", [False, True])
def test_copies_and_rows_of_a_group_count_once_towards_a_certificate(folder: Path, grouped: bool) -> None:
    rows = questions(100, 50)
    if not grouped:
        rows = [row | {"question": f"Who is {row['doc']}?"} for row in rows]
    options = ("--group", "doc") if grouped else ()
    ran = run(folder, rows, "calibrate", *DEMO, "--keep", "0.9", "--certify", "0.9", *options)
    assert ran.code == 5
    assert f"50 {'groups' if grouped else 'questions'} cannot certify --keep 0.9" in ran.err


def test_enough_questions_and_a_promise_of_all_quality_are_not_refused(folder: Path) -> None:
    for args in (("--keep", "0.9"), ("--keep", "1")):
        ran = run(folder, questions(90, 90), "calibrate", *DEMO, *args, "--certify", "0.9", "--dry-run")
        assert ran.code == 0, ran.err


# ------------------------------------------------------------------ copies in the report


def test_copies_are_counted_in_both_reports(folder: Path) -> None:
    calibrated = run(folder, copied(), "calibrate", *FEW)
    assert calibrated.code == 0, calibrated.err
    assert f"note: {NOTE}" in calibrated.out
    [report] = run(folder, copied(), "calibrate", *FEW, "--json").rows
    assert (report["rows"], report["questions"]) == (160, 40)
    assert NOTE in " ".join(report["notes"])
    compared = run(folder, copied(), "bench", "--policies", "random-mix,threshold", "-o", "out")
    assert compared.code == 0, compared.err
    assert f"note: {NOTE}" in compared.out
    assert json.loads((folder / "out" / "summary.json").read_text())["questions"] == 40


def test_rows_without_copies_are_not_remarked_on(folder: Path) -> None:
    ran = run(folder, draw_rows(two_tiers(), 60, 0), "calibrate", *FEW)
    assert ran.code == 0, ran.err
    assert "copies" not in ran.out


# ------------------------------------------------------------------ --group


@pytest.mark.parametrize("command", ["calibrate", "bench"])
def test_rows_with_one_value_of_a_column_are_one_group(folder: Path, command: str) -> None:
    rows = [row | {"metadata": {"doc": row.pop("doc")}} for row in copied("doc")]
    options = ("--policies", "random-mix") if command == "bench" else FEW
    [report] = run(folder, rows, command, *options, "--group", "metadata.doc", "--json").rows
    assert (report["rows"], report["questions"], report["groups"]) == (160, 160, 40)
    assert "160 rows, 160 questions; 40 groups, and figures are for new groups" in " ".join(report["notes"])
    [report] = run(folder, rows, command, *options, "--json").rows
    assert (report["questions"], report["groups"]) == (160, 160)


def test_a_column_of_a_flat_table_may_be_the_group(folder: Path) -> None:
    lines = [f"{i},d {i % 30},{i % 2},{int(i % 3 > 0)}" for i in range(90)]
    (folder / "rows.csv").write_text("\n".join(["id,page,a,b", *lines]))
    columns = ("--columns", "small.score=a,large.score=b", "--costs", "small=1,large=9")
    [report] = automix("calibrate", "rows.csv", *columns, *FEW, "--group", "page", "--json", cwd=folder).rows
    assert (report["questions"], report["groups"]) == (90, 30)


@pytest.mark.parametrize("rows", [questions(4, 2), copied("doc")], ids=["questions", "traces"])
def test_a_column_without_values_is_refused_with_the_nearest_name(
    folder: Path, rows: list[dict[str, Any]]
) -> None:
    ran = run(folder, rows, "calibrate", *DEMO[:2], "--group", "docs")
    assert (ran.code, ran.out) == (2, "")
    assert "--group: no row has a value in column 'docs'; did you mean doc?" in ran.err
    assert not (folder / "cache").exists()


def test_collected_rows_keep_the_column_for_the_next_time(folder: Path) -> None:
    args = (*FEW, "--group", "doc", "--json")
    first = run(folder, questions(24, 6), "calibrate", *DEMO, "--traces", "t.jsonl", *args)
    assert first.code == 0, first.err
    assert (first.rows[0]["questions"], first.rows[0]["groups"]) == (24, 6)
    again = automix("calibrate", "t.jsonl", *DEMO, *args, cwd=folder)
    assert again.rows[0]["groups"] == 6
