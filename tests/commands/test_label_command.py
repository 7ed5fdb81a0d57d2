"""`automix label` from a shell and in a terminal: what it draws, shows, writes and settles."""

import json
import os
import pty
import re
import select
import signal
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from shell import COMMAND, PATIENCE, automix, environment, jsonl, read_terminal, warm_command

N = 60
COSTS = ("--costs", "small=1,large=20")


@pytest.fixture
def rows(tmp_path: Path) -> Path:
    """Sixty questions; on every fifth one the small tier's answer is not the large one's."""
    path = tmp_path / "rows.jsonl"
    path.write_text(
        jsonl(
            *(
                {
                    "id": n,
                    "question": f"What is {n} + 1?",
                    "tiers": {
                        "small": {"answer": str(n + 1 + (n % 5 == 0))},
                        "large": {"answer": str(n + 1)},
                    },
                }
                for n in range(N)
            )
        ),
        "utf-8",
    )
    return path


def rows_of(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text("utf-8").splitlines()]


def fill_in(path: Path) -> None:
    """What a tool or an editor does."""
    path.write_text(jsonl(*({**row, "expected": str(row["id"] + 1)} for row in rows_of(path))), "utf-8")


def test_without_a_terminal_the_rows_go_to_stdout(rows: Path) -> None:
    ran = automix("label", rows, "-n", "12", cwd=rows.parent)
    assert ran.code == 0
    assert "answers differ on 12 of 60 rows (20.0 %)" in ran.err
    assert {row["drawn"] for row in ran.rows} <= {"chosen", "random", "both"}
    assert all(0 < row["inclusion"] <= 1 and "expected" not in row for row in ran.rows)
    assert sum(row["id"] % 5 == 0 for row in ran.rows) >= 6
    assert list(rows.parent.iterdir()) == [rows]


def test_a_file_is_filled_in_read_back_and_used_by_calibrate(rows: Path) -> None:
    path, folder = rows.parent / "to-label.jsonl", rows.parent
    ran = automix("label", rows, "-n", "40", "-o", path, cwd=folder)
    n = len(rows_of(path))
    assert ran.out == f"0 of {n} rows labelled\n"
    fill_in(path)
    ran = automix("label", rows, "-o", path, cwd=folder)
    assert f"{n} of {n} rows labelled" in ran.out
    assert "large on 10 of 10" in ran.out
    assert f"automix calibrate {rows} --labels {path} --baseline large" in ran.out
    [result] = automix("label", rows, "-o", path, "--json", cwd=folder).rows
    assert (result["labelled"], result["right_at_random"]["large"]) == (n, [10, 10])
    low, high = result["loss_at_every_look"]
    assert low <= result["loss_points"] <= high
    ran = automix("calibrate", rows, "--labels", path, "--baseline", "large", *COSTS, "--json", cwd=folder)
    assert ran.code == 0
    assert ran.rows[0]["loss"]["labels"] == n
    assert ran.rows[0]["loss"]["labels_where_answers_differ"] == 12


@pytest.mark.parametrize(
    ("change", "args", "message"),
    [
        ({}, ("--seed", "3"), "its rows were drawn from other rows, or with other options"),
        ({}, ("-n", "9"), "holds more rows to label than 9"),
        ({"inclusion": None}, (), "is no row that automix label drew"),
    ],
    ids=["another seed", "fewer rows", "another file"],
)
def test_a_file_of_another_draw_is_refused(
    rows: Path, change: dict[str, Any], args: tuple[str, ...], message: str
) -> None:
    path = rows.parent / "to-label.jsonl"
    assert automix("label", rows, "-n", "12", "-o", path).code == 0
    if change:
        path.write_text(jsonl({"id": 1, "question": "?"}), "utf-8")
    ran = automix("label", rows, "-o", path, *args)
    assert ran.code == 2
    assert message in ran.err


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("my questions.jsonl", '{"question": "What is 2 + 2?"}\n'),
        ("my questions.csv", "Question\nWhat is 2?\n"),
    ],
)
def test_questions_without_answers_lead_to_the_command_that_records_them(
    name: str, text: str, tmp_path: Path
) -> None:
    (tmp_path / name).write_text(text, "utf-8")
    ran = automix("label", name, cwd=tmp_path)
    assert (ran.code, "the rows hold no answers of tiers" in ran.err) == (2, True)
    assert f"automix calibrate '{name}' --baseline TIER --traces rows.jsonl -o bound.yaml" in ran.err


def test_the_rows_themselves_are_never_replaced_nor_what_lies_beside(rows: Path) -> None:
    lock, before = rows.parent / "mine.jsonl.lock", rows.read_bytes()
    lock.touch()
    ran = automix("label", rows, "-n", "12", "-o", rows, "--force")
    assert (ran.code, rows.read_bytes()) == (2, before)
    assert "is the file of the rows itself" in ran.err
    path = rows.parent / "mine.jsonl"
    assert automix("label", rows, "-n", "12", "-o", path).code == 0
    fill_in(path)
    ran = automix("label", rows, "-o", path, "--keep", "0.8", *COSTS)
    assert f"--labels {path} --baseline large --keep 0.8 --costs small=1,large=20" in ran.out
    assert lock.exists()
    path.write_text(jsonl(*rows_of(path)[1:]), "utf-8")
    for args in (("label", rows, "-o", path), ("calibrate", rows, "--labels", path, *COSTS)):
        ran = automix(*args, cwd=rows.parent)
        assert ran.code == 2
        assert "were drawn" in ran.err


def test_where_nothing_is_left_to_settle_no_row_is_drawn(rows: Path) -> None:
    """Answers that are all equal lose nothing; a number of rows that is named is drawn all the same."""
    own = [{**row, "tiers": {name: {"answer": "4"} for name in row["tiers"]}} for row in rows_of(rows)]
    rows.write_text(jsonl(*own), "utf-8")
    path = rows.parent / "to-label.jsonl"
    for args in ((), ("-o", path), ("-o", path, "--json")):
        ran = automix("label", rows, *args, cwd=rows.parent)
        assert ran.code == 0
        assert (
            "nothing to settle: labels change the loss against large on these rows by at most 0.0" in ran.err
        )
        assert [row["to_label"] for row in ran.rows] == ([0] if "--json" in args else [])
        assert list(rows.parent.iterdir()) == [rows]
    ran = automix("label", rows, "-n", "12", "-o", path)
    assert "0 of 6 rows labelled" in ran.out


def test_more_rows_are_drawn_beside_those_that_have_a_label(rows: Path) -> None:
    path = rows.parent / "to-label.jsonl"
    assert automix("label", rows, "-n", "12", "-o", path).code == 0
    first = rows_of(path)
    fill_in(path)
    for n in ("20", "20"):  # the second time nothing changes
        assert automix("label", rows, "-n", n, "-o", path).code == 0
        more = rows_of(path)
        assert [row["id"] for row in more[: len(first)]] == [row["id"] for row in first]
        assert [("expected" in row) for row in more] == [k < len(first) for k in range(len(more))]
        assert {row["look"] for row in more} == {2}  # their number was fixed after labels were given
        assert all(row["inclusion"] >= old["inclusion"] for row, old in zip(more, first, strict=False))


def test_free_text_says_first_how_much_differs(rows: Path) -> None:
    own = [
        {
            **row,
            "tiers": {
                name: {**step, "answer": f"{name} says {row['id']}"} for name, step in row["tiers"].items()
            },
        }
        for row in rows_of(rows)
    ]
    rows.write_text(jsonl(*own), "utf-8")
    ran = automix("label", rows, "-n", "12")
    lines = ran.err.splitlines()
    assert "answers differ on 60 of 60 rows (100.0 %)" in lines[-3]
    assert "labels of chosen rows cannot save much" in lines[-2]


# ---------------------------------------------------------------- in a terminal


class Screen:
    """`automix label` on a terminal of 80 columns, as somebody sits before it."""

    def __init__(self, rows: Path, *args: str, command: Sequence[str] = ()) -> None:
        self.ours, theirs = pty.openpty()
        self.child = subprocess.Popen(
            [*(command or warm_command()), "label", str(rows), *args],
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
            cwd=rows.parent,
            env=environment(NO_COLOR="1", TERM="xterm", COLUMNS="80"),
            start_new_session=True,
        )
        os.close(theirs)
        self.text, self.place = "", 0

    def wait_for(self, words: str) -> None:
        """Read until words appear behind those that were waited for before."""
        while (place := self.text.find(words, self.place)) < 0:
            assert select.select([self.ours], [], [], PATIENCE)[0], self.text
            self.text += os.read(self.ours, 4096).decode()
        self.place = place + len(words)

    def press(self, key: str) -> None:
        os.write(self.ours, key.encode())

    def end(self) -> int:
        self.text += read_terminal(self.ours)
        return self.child.wait()


def test_in_a_terminal_one_key_labels_a_row(rows: Path) -> None:
    screen, path = Screen(rows, "-n", "12", "--by", "ann"), rows.parent / "rows.labels.jsonl"
    for k, key in enumerate(["1", "n", "u", "s"], 1):
        screen.wait_for("q quit")
        screen.press(key)
        n_done = [1, 2, 1, 2][k - 1]
        screen.wait_for(f"{n_done} of")
    screen.wait_for("q quit")
    screen.press("q")
    assert screen.end() == 0
    assert "rows are left in rows.labels.jsonl; the same command goes on" in " ".join(screen.text.split())
    first, second, *others = rows_of(path)
    assert (first["labelled_by"], second["skipped"]) == ("ann", True)
    assert not any("labelled_by" in row for row in others)
    [early, late] = screen.text.partition("the first row, to be read meanwhile")[2].split("row 1 of", 1)
    assert str(first["question"]) in early, "while the policy is fitted"
    assert early.index(str(first["question"])) < early.index("rows to label")
    assert str(first["question"]) in late
    assert "small" not in screen.text.partition("row 1 of")[2].partition("right on rows")[0]
    assert not re.search(r"\x1b\[(3|4|9|10)\d", screen.text)  # NO_COLOR


def test_three_answers_are_marked_one_by_one(rows: Path) -> None:
    own = rows_of(rows)
    for row in own:
        row["tiers"] = {name: {"answer": f"{name}-{row['id']}"} for name in ("small", "mid", "large")}
    rows.write_text(jsonl(*own), "utf-8")
    screen = Screen(rows, "-n", "12")
    screen.wait_for("1-3 mark right ones, Enter · b all · n none")
    for keys, mark in (("1", "right: 1,"), ("3", "right: 1 3,"), ("1", "right: 3,"), ("2", "right: 2 3,")):
        screen.press(keys)
        screen.wait_for(mark)
    screen.press("\r")
    screen.wait_for("1 of")
    screen.press("b")
    screen.wait_for("2 of")
    screen.press("\x04")  # Ctrl-D
    assert screen.end() == 0
    first, second, *_ = rows_of(rows.parent / "rows.labels.jsonl")
    assert len(first["expected"]) == 2
    assert sorted(step["score"] for step in first["tiers"].values()) == [0.0, 1.0, 1.0]
    assert len(second["expected"]) == 3


def test_labels_of_rows_that_changed_are_refused_before_more_are_given(rows: Path) -> None:
    """In the terminal it is the first thing that is said, not the last one after twelve labels."""
    path = rows.parent / "rows.labels.jsonl"
    assert automix("label", rows, "-n", "12", "-o", path).code == 0
    changed = [{**row, "question": f"What is {row['id']} + 2?"} for row in rows_of(rows)]
    rows.write_text(jsonl(*changed), "utf-8")
    screen = Screen(rows)
    assert screen.end() == 2
    assert "the question of" in screen.text
    assert "q quit" not in screen.text


def test_after_a_stop_the_row_is_shown_again(rows: Path) -> None:
    """A shell had the terminal, and what it wrote hides the row."""
    screen = Screen(rows, "-n", "12", command=COMMAND)  # signals reach no copy of a warm process
    screen.wait_for("q quit")
    os.kill(screen.child.pid, signal.SIGCONT)
    screen.wait_for("row 1 of")
    screen.wait_for("q quit")
    screen.press("q")
    assert screen.end() == 0


def test_ctrl_c_leaves_a_valid_file_and_says_where_to_go_on(rows: Path) -> None:
    screen = Screen(rows, "-n", "12")
    screen.wait_for("q quit")
    screen.press("1")
    screen.wait_for("q quit")
    os.killpg(screen.child.pid, signal.SIGINT)
    assert screen.end() == 130
    assert "interrupted: 1 of" in screen.text
    assert sum("labelled_by" in row for row in rows_of(rows.parent / "rows.labels.jsonl")) == 1
    assert sorted(path.name for path in rows.parent.iterdir()) == ["rows.jsonl", "rows.labels.jsonl"]
