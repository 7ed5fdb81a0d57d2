"""`ask --shard I/N` and `merge`: the rows of all shards together are those of a single process."""

import fcntl
import json
from pathlib import Path
from typing import Any

import pytest
from shell import Ran, automix, jsonl

DEMO = ("ask", "--profile", "demo", "-q")
NEVER_EQUAL = ("spent_usd", "latency_s", "usage")
IDS: list[Any] = ["q1", 7, "Köln", "a b", "\U0001f600", None, 0, "x" * 300, "\udc80", None, "-1", 2**70]
BAD = ['{"id": "no question"}', "no JSON", '{"id": "q3", "question": "?", "question": "?"}']


def row_of(number: int, ident: Any) -> dict[str, Any]:
    return {"question": f"What is {number} + {number}?"} | ({} if ident is None else {"id": ident})


INPUT = jsonl(*(row_of(n, ident) for n, ident in enumerate(IDS))) + "\n".join([*BAD, "", ""])


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three shards of one input, and what a single process writes."""
    folder = tmp_path_factory.mktemp("shards")
    (folder / "q.jsonl").write_text(INPUT)
    assert ask(folder, "whole.jsonl").code == 3
    codes = [ask(folder, f"part-{n}.jsonl", "--shard", f"{n}/3").code for n in range(3)]
    assert set(codes) <= {0, 3}
    return folder


@pytest.fixture
def place(folder: Path, tmp_path: Path) -> Path:
    """Copies of them, to be changed."""
    for path in folder.glob("*.jsonl"):
        (tmp_path / path.name).write_bytes(path.read_bytes())
    return tmp_path


def ask(place: Path, out: str, *args: str, stdin: str | None = None, source: str = "q.jsonl") -> Ran:
    given = () if stdin is not None else ("-i", source)
    env = {"AUTOMIX_CACHE_DIR": str(place / "cache")}
    return automix(*DEMO, *given, "-o", out, *args, cwd=place, stdin=stdin, env=env)


def merge(place: Path, *args: str) -> Ran:
    return automix("merge", *(args or ("part-0.jsonl", "part-1.jsonl", "part-2.jsonl")), cwd=place)


def comparable(text: str) -> list[dict[str, Any]]:
    rows = [json.loads(line) for line in text.split("\n")[:-1]]
    for row in rows:
        for holder in (row, *row["route"]):
            for key in NEVER_EQUAL:
                holder.pop(key, None)
    return rows


def test_the_rows_of_all_shards_are_those_of_a_single_process(place: Path) -> None:
    whole = comparable((place / "whole.jsonl").read_text())
    ran = merge(place, "part-2.jsonl", "part-0.jsonl", "part-1.jsonl", "-o", "all.jsonl")
    assert ran.code == 3
    assert ran.err.startswith("15 rows of 3 parts: 12 ok, 3 error")
    assert comparable((place / "all.jsonl").read_text()) == whole
    assert comparable(merge(place).out) == whole
    beside = merge(place, "part-0.jsonl", "part-1.jsonl", "part-2.jsonl", "-i", "q.jsonl")
    assert comparable(beside.out) == whole
    assert [list(row) for row in whole] == [list(row) for row in comparable(beside.out)]


@pytest.mark.parametrize("count", [1, 40])
def test_any_number_of_shards_holds_every_row_once(count: int, place: Path) -> None:
    parts = [f"of-{count}-{n}.jsonl" for n in range(count)]
    for n, part in enumerate(parts):
        if count == 1 or n % 8 == 0:
            assert ask(place, part, "--shard", f"{n}/{count}").code in (0, 3)
    held = [p for p in parts if (place / p).exists()]
    ran = merge(place, *held, "-i", "q.jsonl")
    if count == 1:
        assert comparable(ran.out) == comparable((place / "whole.jsonl").read_text())
    else:
        assert ran.code == 1
        assert ran.out == ""


@pytest.mark.parametrize("picks", [("--limit", "5"), ("--sample", "6", "--seed", "3")])
def test_rows_that_are_picked_are_divided_like_all_rows(picks: tuple[str, ...], place: Path) -> None:
    ask(place, "picked.jsonl", *picks)
    for n in range(2):
        ask(place, f"of2-{n}.jsonl", "--shard", f"{n}/2", *picks)
    expected = comparable((place / "picked.jsonl").read_text())
    assert comparable(merge(place, "of2-0.jsonl", "of2-1.jsonl").out) == expected
    assert comparable(merge(place, "of2-0.jsonl", "of2-1.jsonl", "-i", "q.jsonl", *picks).out) == expected


def test_shards_of_a_pipe_are_merged_beside_their_input(place: Path) -> None:
    for n in range(2):
        ask(place, f"piped-{n}.jsonl", "--shard", f"{n}/2", stdin=INPUT)
    parts = ("piped-0.jsonl", "piped-1.jsonl")
    refused = merge(place, *parts)
    assert (refused.code, refused.out) == (2, "")
    assert "not known: their rows were read from a pipe" in refused.err
    merged = merge(place, *parts, "-i", "q.jsonl")
    assert comparable(merged.out) == comparable((place / "whole.jsonl").read_text())
    lacking = merge(place, parts[1], "-i", "q.jsonl")
    assert lacking.code == 1
    assert "automix ask -i q.jsonl -o piped-0.jsonl --shard 0/2" in lacking.err


@pytest.mark.parametrize(
    ("shard", "message"),
    [
        ("4/4", "there is no shard 4/4: the numbers of 4 start at 0"),
        ("/4", "'/4' has nothing before the slash"),
        ("3/", "'3/' has nothing after the slash"),
        ("1", "expected I/N, got '1'"),
        ("-1/4", "expected I/N, got '-1/4'"),
        ("0/0", "expected 1 to 100,000 shards, got 0"),
        ("a/b", "expected I/N, got 'a/b'"),
    ],
)
def test_what_is_no_shard_is_refused(shard: str, message: str, place: Path) -> None:
    ran = ask(place, "new.jsonl", "--shard", shard)
    assert (ran.code, (place / "new.jsonl").exists()) == (2, False)
    assert message in ran.err


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (("--shard", "0/3", "--unordered"), "--shard excludes --unordered"),
        (("--shard", "0/3", "--resume", "-o", "part-1.jsonl"), "part-1.jsonl: holds rows of shard 1/3"),
        (("--shard", "0/3", "--resume", "-o", "whole.jsonl"), "whole.jsonl: holds rows of no shard"),
        (("--resume", "-o", "part-1.jsonl"), "part-1.jsonl: holds rows of shard 1/3"),
    ],
)
def test_options_that_would_lose_rows_are_refused(args: tuple[str, ...], message: str, place: Path) -> None:
    before = {path: path.read_bytes() for path in place.glob("*.jsonl")}
    ran = ask(place, "new.jsonl", *args)
    assert ran.code == 2
    assert message in ran.err
    assert {path: path.read_bytes() for path in place.glob("*.jsonl")} == before


def test_a_shard_is_of_rows(tmp_path: Path) -> None:
    ran = automix("ask", "--profile", "demo", "What is 2 + 2?", "--shard", "0/2", cwd=tmp_path)
    assert (ran.code, "this is one question" in ran.err) == (2, True)


def test_every_shard_refuses_an_id_that_stands_twice_wherever_it_is(place: Path) -> None:
    (place / "twice.jsonl").write_text(jsonl(row_of(0, "a"), row_of(1, 7), row_of(2, "7"), row_of(3, "b")))
    for n in range(2):
        ran = ask(place, "new.jsonl", "--shard", f"{n}/2", source="twice.jsonl")
        assert (ran.code, "twice.jsonl:3: id '7' stands twice" in ran.err) == (2, True)


def test_each_shard_has_its_share_of_the_budget(place: Path) -> None:
    counts = [len((place / f"part-{n}.jsonl").read_text().splitlines()) for n in range(3)]
    env = {"AUTOMIX_CACHE_DIR": str(place / "cache")}
    for n, count in enumerate(counts):
        args = ("ask", "--profile", "demo", "-i", "q.jsonl", "--shard", f"{n}/3", "--max-cost", "1.5", "-n")
        ran = automix(*args, cwd=place, env=env)
        assert f"shard {n}/3: {count} of 15 rows; it may spend ${count / 10:.2f}" in ran.err
        assert f"{count - ran.out.count('not counted')}" in ran.out
    nothing = ask(place, "poor.jsonl", "--shard", "0/3", "--max-cost", "0.0000001", "--no-cache")
    assert nothing.code == 4


# ---------------------------------------------------------------- parts that do not belong together


def cut(place: Path) -> None:
    part = place / "part-1.jsonl"
    part.write_bytes(part.read_bytes()[:-30])


def lose_rows(place: Path) -> None:
    part = place / "part-1.jsonl"
    part.write_text("".join(part.read_text().splitlines(keepends=True)[:-2]))


def other_input(place: Path) -> None:
    (place / "other.jsonl").write_text(INPUT.replace("0 + 0", "9 + 9"))
    ask(place, "part-1.jsonl", "--shard", "1/3", "--force", source="other.jsonl")


def other_profile(place: Path) -> None:
    part = place / "part-1.jsonl"
    sha = json.loads(part.read_text().splitlines()[0])["profile_sha"]
    part.write_text(part.read_text().replace(sha, "0" * 12))


def other_count(place: Path) -> None:
    ask(place, "part-1.jsonl", "--shard", "1/4", "--force")


def twice(place: Path) -> None:
    (place / "part-1.jsonl").write_bytes((place / "part-0.jsonl").read_bytes())


def out_of_order(place: Path) -> None:
    part = place / "part-1.jsonl"
    part.write_text("".join(reversed(part.read_text().splitlines(keepends=True))))


def two_in_one(place: Path) -> None:
    parts = [(place / f"part-{n}.jsonl").read_text().splitlines(keepends=True) for n in (0, 1)]
    rows = sorted((line for part in parts for line in part), key=lambda line: json.loads(line)["index"])
    (place / "part-1.jsonl").write_text("".join(rows))


def no_shard(place: Path) -> None:
    (place / "part-1.jsonl").write_bytes((place / "whole.jsonl").read_bytes())


def no_rows_of_ours(place: Path) -> None:
    (place / "part-1.jsonl").write_text('{"answer": 3}\n')


def broken(place: Path) -> None:
    part = place / "part-1.jsonl"
    part.write_text("{broken\n" + part.read_text())


def unfinished(place: Path) -> None:
    (place / "part-1.jsonl.part").touch()


def absent(place: Path) -> None:
    (place / "part-1.jsonl").unlink()


def empty(place: Path) -> None:
    (place / "part-1.jsonl").write_bytes(b"")


def foreign_id(place: Path) -> None:
    lines = (place / "part-1.jsonl").read_text().splitlines(keepends=True)
    row = json.loads(lines[0])
    row["id"] = json.loads((place / "part-0.jsonl").read_text().splitlines()[0])["id"]
    (place / "part-1.jsonl").write_text("".join([json.dumps(row) + "\n", *lines[1:]]))


@pytest.mark.parametrize(
    ("harm", "code", "message"),
    [
        (cut, 1, "part-1.jsonl: 1 of {n} rows of shard 1/3, line {n} is cut off"),
        (lose_rows, 1, "automix ask -i INPUT -o part-1.jsonl --shard 1/3 --resume"),
        (empty, 1, "{n} rows of shard 1/3"),
        (other_input, 2, "part-1.jsonl: was made of another input than part-0.jsonl"),
        (other_profile, 2, "part-1.jsonl: was not written with the profile and settings of part-0.jsonl"),
        (other_count, 2, "part-1.jsonl: is shard 1/4, and part-0.jsonl is shard 0/3"),
        (twice, 2, "part-1.jsonl: shard 0/3 stands in part-0.jsonl, too"),
        (out_of_order, 2, "comes after row"),
        (two_in_one, 2, "and the rows before it of"),
        (no_shard, 2, "part-1.jsonl:1: its row was not written with --shard"),
        (no_rows_of_ours, 2, "part-1.jsonl:1: its row was not written with --shard"),
        (broken, 2, "part-1.jsonl:1: not JSON"),
        (unfinished, 2, "part-1.jsonl: its run was not finished"),
        (absent, 2, "part-1.jsonl: No such file"),
        (foreign_id, 2, "belongs to shard 0/3, not to 1/3"),
    ],
)
def test_parts_that_are_not_all_of_one_run_are_refused_by_name(
    harm: Any, code: int, message: str, place: Path
) -> None:
    count = len((place / "part-1.jsonl").read_text().splitlines())
    harm(place)
    ran = merge(place, "part-0.jsonl", "part-1.jsonl", "part-2.jsonl", "-o", "all.jsonl")
    assert ran.code == code, ran.err
    assert message.format(n=count) in ran.err
    assert not list(place.glob("all.jsonl*"))


def test_a_part_that_is_given_twice_or_still_written_is_refused(place: Path) -> None:
    (place / "link.jsonl").symlink_to("part-0.jsonl")
    assert "link.jsonl: is given twice" in merge(place, "part-0.jsonl", "link.jsonl").err
    with (place / "part-1.jsonl").open("ab") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        assert "part-1.jsonl: another process is writing it" in merge(place).err


def test_a_file_that_exists_is_kept_without_force(place: Path) -> None:
    (place / "all.jsonl").write_text("mine")
    parts = ("part-0.jsonl", "part-1.jsonl", "part-2.jsonl")
    refused = merge(place, *parts, "-o", "all.jsonl")
    assert (refused.code, (place / "all.jsonl").read_text()) == (2, "mine")
    assert "part-0.jsonl: is a part as well" in merge(place, *parts, "-o", "part-0.jsonl", "--force").err
    assert merge(place, *parts, "-o", "all.jsonl", "--force").code == 3
    assert len((place / "all.jsonl").read_text().splitlines()) == 15


def test_another_input_beside_the_parts_is_noticed(place: Path) -> None:
    parts = ("part-0.jsonl", "part-1.jsonl", "part-2.jsonl")
    (place / "other.jsonl").write_text(INPUT.replace("0 + 0", "9 + 9"))
    changed = merge(place, *parts, "-i", "other.jsonl")
    assert (changed.code, "row 0 is not the one of the input" in changed.err) == (2, True)
    longer = merge(place, *parts, "-i", "q.jsonl", "--limit", "5")
    assert (longer.code, longer.out) == (2, "")


def test_a_finished_shard_is_resumed_at_no_cost_and_its_stamp_is_made_anew(place: Path) -> None:
    (place / "q.jsonl").write_text(INPUT + jsonl(row_of(50, "late"), row_of(51, "later")))
    for n in range(3):
        assert ask(place, f"part-{n}.jsonl", "--shard", f"{n}/3", "--resume").code in (0, 3)
    ran = merge(place)
    assert len(ran.out.splitlines()) == 17
    ask(place, "new.jsonl")
    assert comparable(ran.out) == comparable((place / "new.jsonl").read_text())
