"""S: disks that are full or read-only, caches that are damaged, outputs that cannot be written."""

import contextlib
import os
import sqlite3
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from loopback import Call, Reply, default_reply
from nursery import World, double_paid, rows

ROWS = 12
CORRECT = "The answer was compared.\nVerification Decision: The AI generated answer is Correct."


@pytest.fixture
def world(world: World) -> World:
    world.server.reply = long_winded
    return world


def long_winded(call: Call) -> Reply:
    """The default reply, filling the disk with its reasons."""
    said = default_reply(call)
    return Reply(texts=tuple(f"{'because ' * 1500}\n{text}" for text in said.texts))


@contextlib.contextmanager
def small_disk(folder: Path, size: str) -> Iterator[None]:
    """A file system of its own under `folder`; skips where that is not allowed."""
    folder.mkdir(mode=0o700, exist_ok=True)
    mount = ["mount", "-t", "tmpfs", "-o", f"size={size},mode=700", "tmpfs", str(folder)]
    if os.geteuid() != 0 or subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("a small file system can be mounted by root only")
    try:
        yield
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


def remount(folder: Path, options: str) -> None:
    subprocess.run(["mount", "-o", f"remount,{options}", str(folder)], check=True)


# ---------------------------------------------------------------- S1, S2: the disk


def test_S1_a_full_disk_under_the_cache_stops_the_run_with_place_and_room(world: World) -> None:
    questions = world.questions(40)
    world.write_profile()
    with small_disk(world.cache, "256k"):
        ran = world.ask(questions, "--tier", "small", "-j", "4")
        made = len(world.server.calls)
        assert ran.code == 1
        assert f"no room for the cache in {world.cache}: " in ran.err
        assert "go on with: automix ask" in ran.err
        assert made < 40
        kept = len(rows(world.out))
        remount(world.cache, "size=64m")
        assert world.ask(questions, "--tier", "small", "--resume").code == 0
        assert [row["id"] for row in rows(world.out)] == [f"q{n}" for n in range(40)]
        assert len(world.server.calls) - made <= 40 - kept
        assert double_paid(world.server) <= 4


def test_S1_a_full_disk_under_the_output_loses_nothing_that_was_paid(world: World) -> None:
    questions, disk = world.questions(40), world.folder / "disk"
    with small_disk(disk, "32k"):
        world.out = disk / "out.jsonl"
        ran = world.ask(questions, "--tier", "small")
        assert ran.code == 1
        assert f"{world.out}: No space left on device" in ran.err
        assert "go on with: automix ask" in ran.err
        assert len(world.server.calls) < 40
        remount(disk, "size=64m")
        assert world.ask(questions, "--tier", "small", "--resume").code == 0
        assert [row["id"] for row in rows(world.out)] == [f"q{n}" for n in range(40)]
    assert len(world.server.calls) == 40
    assert double_paid(world.server) == 0


def test_S2_a_cache_that_cannot_be_written_is_found_before_anything_is_asked(world: World) -> None:
    with small_disk(world.cache, "1m"):
        remount(world.cache, "ro")
        ran = world.ask(world.questions(3))
    assert ran.code == 1
    assert "--no-cache" in ran.err
    assert world.server.calls == []


def said(world: World) -> list[tuple[str, str, str]]:
    return [(row["id"], row["answer"], row["tier"]) for row in rows(world.out)]


# ---------------------------------------------------------------- S3, S4: the cache


def test_S3_a_damaged_cache_is_set_aside_aloud_and_the_next_run_begins_a_new_one(world: World) -> None:
    questions = world.questions(ROWS)
    assert world.ask(questions).code == 0
    (world.cache / "cache.db").write_bytes(b"no database")
    made = len(world.server.calls)
    ran = world.ask(questions, "--force")
    assert ran.code == 1
    assert "damaged" in ran.err
    assert "paid again" in ran.err
    assert len(world.server.calls) == made
    assert world.ask(questions, "--force").code == 0
    assert len(world.server.calls) == 2 * made


def test_S4_a_damaged_entry_is_said_and_asked_again_and_never_an_answer(world: World) -> None:
    # The same for one vote as for two, for only the damaged one of two is asked again.
    world.server.reply = lambda call: CORRECT if call.verifies else "answer"
    questions = world.questions(ROWS)
    assert world.ask(questions).code == 0
    calm, made = said(world), len(world.server.calls)
    with contextlib.closing(sqlite3.connect(world.cache / "cache.db")) as db, db:
        some = "SELECT key FROM Cache ORDER BY key LIMIT 7"  # rows may lie in any order, and in any place
        db.execute(f"UPDATE Cache SET value = replace(value, 'answer', 'nonsense') WHERE key IN ({some})")
    ran = world.ask(questions, "--force")
    assert ran.code == 0
    assert "damaged: not used, asked again" in ran.err
    assert said(world) == calm
    assert made < len(world.server.calls) < 2 * made


# ---------------------------------------------------------------- S9: the output


@pytest.mark.parametrize("kind", ["folder", "link", "pipe", "no folder", "too long a name"])
def test_S9_an_output_that_cannot_be_written_is_refused_before_the_first_call(
    kind: str, world: World
) -> None:
    world.out = world.folder / (
        "x" * 300 if kind == "too long a name" else "there" if kind != "no folder" else "no/there"
    )
    precious = world.folder / "precious"
    precious.write_text("kept")
    if kind == "folder":
        world.out.mkdir()
    elif kind == "link":
        world.out.symlink_to(precious)
    elif kind == "pipe":
        os.mkfifo(world.out)
    for way in ("--force", "--resume"):
        ran = world.ask(world.questions(3), way)
        assert ran.code == 2, ran.err
        assert "Traceback" not in ran.err
    assert world.server.calls == []
    assert precious.read_text() == "kept"
