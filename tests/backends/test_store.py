"""The disk store: private, text only, never silently wrong."""

import contextlib
import json
import os
import pickle
import random
import shutil
import sqlite3
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import diskcache
import pytest
from shell import PATIENCE

from automix_cli.backends.store import Busy, Damaged, Store, survey
from automix_cli.backends.store_entries import entry_key
from automix_cli.backends.store_folder import cache_folder
from automix_cli.backends.store_leases import lease_owner
from automix_cli.errors import StorageError
from automix_cli.records import Completion, TokenLogprob
from automix_cli.usage import Usage

PROMPT = "0" * 64
HELLO = Completion(text="hello", usage=Usage(input_tokens=3, output_tokens=1, calls=1), latency_s=0.5)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "cache"


@pytest.fixture
def store(folder: Path) -> Iterator[Store]:
    with contextlib.closing(Store(folder)) as opened:
        yield opened


def fill(folder: Path, *texts: str) -> None:
    with contextlib.closing(Store(folder)) as store:
        store.put(PROMPT, {i: Completion(text=text) for i, text in enumerate(texts)})


def sql(folder: Path, statement: str, *values: object) -> list[tuple[object, ...]]:
    with contextlib.closing(sqlite3.connect(folder / "cache.db")) as db, db:
        return db.execute(statement, values).fetchall()


def plant(folder: Path, key: object, **columns: object) -> None:
    """Write a row as a stranger with access to the file could."""
    row = {"key": key, "raw": 1, "store_time": 0, "mode": 1, "filename": None, "value": None, **columns}
    marks = ",".join("?" * len(row))
    sql(folder, f"INSERT OR REPLACE INTO Cache({','.join(row)}) VALUES ({marks})", *row.values())


# ---------------------------------------------------------------- the folder


@pytest.mark.parametrize(
    ("environ", "platform", "expected"),
    [
        ({"HOME": "/h"}, "linux", "/h/.cache/automix"),
        ({"HOME": "/h"}, "darwin", "/h/Library/Caches/automix"),
        ({"HOME": "/h", "XDG_CACHE_HOME": "/x"}, "linux", "/x/automix"),
        ({"HOME": "/h", "XDG_CACHE_HOME": "/x"}, "darwin", "/x/automix"),
        ({"HOME": "/h", "XDG_CACHE_HOME": ""}, "linux", "/h/.cache/automix"),
        ({"HOME": "/h", "XDG_CACHE_HOME": "relative"}, "linux", "/h/.cache/automix"),
        ({"HOME": "/h", "XDG_CACHE_HOME": "/x", "AUTOMIX_CACHE_DIR": "/c"}, "linux", "/c"),
        ({"HOME": "/h", "AUTOMIX_CACHE_DIR": ""}, "linux", "/h/.cache/automix"),
        ({"AUTOMIX_CACHE_DIR": "/a/../c"}, "linux", "/c"),
    ],
)
def test_the_folder_is_where_the_environment_says(
    environ: dict[str, str], platform: str, expected: str
) -> None:
    assert cache_folder(environ, platform) == Path(expected)


def test_a_relative_or_home_folder_of_the_users_choice_becomes_absolute(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", "/h")
    assert cache_folder({"AUTOMIX_CACHE_DIR": "mine"}) == tmp_path / "mine"
    assert cache_folder({"AUTOMIX_CACHE_DIR": "~/mine"}) == Path("/h/mine")


@pytest.mark.parametrize("marker", ["folder", "file"])  # .git is a file in a linked work tree
def test_a_default_folder_inside_a_git_work_tree_is_refused(tmp_path: Path, marker: str) -> None:
    git = tmp_path / "clone" / ".git"
    git.parent.mkdir()
    git.mkdir() if marker == "folder" else git.touch()
    xdg = str(tmp_path / "clone" / "deep" / ".cache")
    with pytest.raises(StorageError, match="git work tree") as caught:
        cache_folder({"HOME": "/h", "XDG_CACHE_HOME": xdg})
    assert "AUTOMIX_CACHE_DIR" in caught.value.hint
    assert cache_folder({"HOME": "/h", "AUTOMIX_CACHE_DIR": xdg}) == Path(xdg)


def test_a_home_kept_in_git_may_hold_the_cache(tmp_path: Path) -> None:
    (tmp_path / ".git").mkdir()
    assert cache_folder({"HOME": str(tmp_path)}) == tmp_path / ".cache" / "automix"


@pytest.mark.parametrize("umask", [0o000, 0o022, 0o077])
def test_folder_and_files_are_private_whatever_the_umask(folder: Path, umask: int) -> None:
    before = os.umask(umask)
    try:
        with contextlib.closing(Store(folder)) as store:
            store.put(PROMPT, {0: HELLO})
            modes = {p.name: stat.S_IMODE(p.stat().st_mode) for p in folder.iterdir()}
    finally:
        os.umask(before)
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert modes == dict.fromkeys(("cache.db", "cache.db-wal", "cache.db-shm", "CACHEDIR.TAG"), 0o600)


@pytest.mark.parametrize("mode", [0o770, 0o707, 0o720, 0o702])
def test_a_folder_that_others_can_write_to_is_refused(folder: Path, mode: int) -> None:
    folder.mkdir()
    folder.chmod(mode)
    with pytest.raises(StorageError, match="other users can write") as caught:
        Store(folder)
    assert caught.value.hint == f"chmod go-w {folder}"
    assert list(folder.iterdir()) == []


@pytest.mark.parametrize("name", ["cache.db", "cache.db-wal", "CACHEDIR.TAG"])
def test_a_file_that_others_can_write_to_is_refused(folder: Path, name: str) -> None:
    fill(folder, "a")
    (folder / name).touch()
    (folder / name).chmod(0o620)
    with pytest.raises(StorageError, match="other users can write"):
        Store(folder)


def test_a_file_that_others_can_read_is_closed_to_them(folder: Path) -> None:
    fill(folder, "a")
    (folder / "cache.db").chmod(0o644)
    Store(folder).close()
    assert stat.S_IMODE((folder / "cache.db").stat().st_mode) == 0o600


@pytest.mark.parametrize("name", ["cache.db", "cache.db-wal", "CACHEDIR.TAG"])
def test_a_symbolic_link_in_place_of_a_file_is_refused(folder: Path, name: str, tmp_path: Path) -> None:
    folder.mkdir(mode=0o700)
    (tmp_path / "target").write_text("theirs")
    (folder / name).symlink_to(tmp_path / "target")
    with pytest.raises(StorageError, match="not a plain file"):
        Store(folder)
    assert (tmp_path / "target").read_text() == "theirs"


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a folder away")
@pytest.mark.parametrize("path", [".", "cache.db"])
def test_a_folder_or_file_of_another_user_is_refused(folder: Path, path: str) -> None:
    fill(folder, "a")
    os.chown(folder / path, 65534, 65534)
    with pytest.raises(StorageError, match="belongs to another user"):
        Store(folder)


def test_a_database_that_automix_did_not_make_is_refused_and_left_alone(folder: Path) -> None:
    folder.mkdir(mode=0o700)
    with diskcache.Cache(str(folder)) as theirs:
        theirs["key"] = "value"
    before = (folder / "cache.db").read_bytes()
    with pytest.raises(StorageError, match="not made by automix"):
        Store(folder)
    assert (folder / "cache.db").read_bytes() == before


def test_a_folder_name_with_a_variable_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ELSEWHERE", str(tmp_path / "elsewhere"))
    with pytest.raises(StorageError, match="variable"):
        Store(tmp_path / "$ELSEWHERE")
    assert list(tmp_path.iterdir()) == []


def test_a_path_that_is_no_folder_is_a_storage_error(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(StorageError, match="file"):
        Store(tmp_path / "file" / "cache")


# ---------------------------------------------------------------- entries


@pytest.mark.parametrize(
    "completion",
    [
        HELLO,
        Completion(text="\x00\x1b]52;c;!\x07 \u2028 \ud800 🐈 \u202e"),
        Completion(text="x" * 4_000_000),
        Completion(text="cut", finish_reason="length", flags=("truncated", "usage_suspect")),
        Completion(
            text="yes",
            logprobs=(
                TokenLogprob("yes", -0.1, (("yes", -0.1), ("no", -2.5))),
                TokenLogprob("", float("-inf")),
            ),
            usage=Usage(input_tokens=9, output_tokens=2, cached_input_tokens=4, reasoning_tokens=1, calls=1),
            latency_s=1.25,
        ),
    ],
    ids=["plain", "odd text", "4 MB", "flags", "logprobs"],
)
def test_a_completion_comes_back_as_it_was_but_marked(folder: Path, completion: Completion) -> None:
    with contextlib.closing(Store(folder)) as store:
        store.put(PROMPT, {7: completion})
    with contextlib.closing(Store(folder)) as store:
        found = store.get(PROMPT, 7)
        assert store.get(PROMPT, 8) is None
    assert found is not None
    assert found.cached
    assert {f: getattr(found, f) for f in found.__struct_fields__ if f != "cached"} == {
        f: getattr(completion, f) for f in completion.__struct_fields__ if f != "cached"
    }


def test_values_are_json_text_inside_their_rows(folder: Path) -> None:
    fill(folder, "short", "long" * 100_000)
    rows = sql(folder, "SELECT raw, mode, filename, typeof(key), typeof(value), value FROM Cache")
    assert [row[:5] for row in rows] == [(1, 1, None, "text", "text")] * 2
    assert [json.loads(str(row[5]))["text"][:5] for row in rows] == ["short", "longl"]
    assert {p.name for p in folder.iterdir()} == {"cache.db", "CACHEDIR.TAG"}


def test_several_samples_are_stored_together_or_not_at_all(store: Store) -> None:
    broken = Completion(text="b", finish_reason=object())  # type: ignore[arg-type]
    with pytest.raises(TypeError):
        store.put(PROMPT, {0: HELLO, 1: broken})
    assert store.get(PROMPT, 0) is None


@pytest.mark.parametrize("text", ["", " \n\t"])
def test_blank_text_is_never_stored(store: Store, text: str) -> None:
    store.put(PROMPT, {0: Completion(text=text), 1: HELLO})
    assert store.get(PROMPT, 0) is None
    assert store.stats.writes == 1


def test_an_entry_older_than_the_refresh_is_a_miss_until_it_is_stored_again(store: Store) -> None:
    store.put(PROMPT, {0: HELLO})
    first = store.begin_refresh()
    assert store.get(PROMPT, 0) is not None
    assert store.get(PROMPT, 0, since=first) is None
    store.put(PROMPT, {0: HELLO})
    assert store.get(PROMPT, 0, since=first) is not None
    store.clear()
    assert store.begin_refresh() == first + 1


def test_a_flipped_bit_anywhere_in_an_entry_is_a_counted_miss(folder: Path) -> None:
    fill(folder, *["The answer is 42."] * 1000)
    places = 0
    with contextlib.closing(sqlite3.connect(folder / "cache.db")) as db, db:
        for place in range(1000):  # of one entry each, until there is no such place
            key = entry_key(PROMPT, place)
            ((good,),) = db.execute("SELECT value FROM Cache WHERE key = ?", (key,))
            bad = bytearray(good, "ascii")
            if place >= len(bad):  # entries differ by a few digits of the time they were stored
                places = place
                break
            bad[place] ^= 1 << place % 8
            db.execute("UPDATE Cache SET value = CAST(? AS TEXT) WHERE key = ?", (bytes(bad), key))
    assert places > 100
    with contextlib.closing(Store(folder)) as store:
        for place in range(places):
            assert store.get(PROMPT, place) is None
            assert store.get(PROMPT, place) is None
            assert (store.stats.corrupt, store.stats.hits) == (place + 1, 0)
        assert store.get(PROMPT, places) is not None


@pytest.mark.parametrize("cut", [0, 1, 76, 77, 100, -1])
def test_a_truncated_entry_is_a_miss(folder: Path, cut: int) -> None:
    fill(folder, "The answer is 42.")
    ((good,),) = sql(folder, "SELECT value FROM Cache")
    sql(folder, "UPDATE Cache SET value = ?", str(good)[:cut])
    with contextlib.closing(Store(folder)) as store:
        assert store.get(PROMPT, 0) is None


def test_an_entry_under_another_key_is_a_miss(folder: Path) -> None:
    fill(folder, "mine", "yours")
    sql(folder, "UPDATE Cache SET key = key || 'x' WHERE key = ?", entry_key(PROMPT, 0))
    sql(folder, "UPDATE Cache SET key = ? WHERE key = ?", entry_key(PROMPT, 0), entry_key(PROMPT, 1))
    with contextlib.closing(Store(folder)) as store:
        assert store.get(PROMPT, 0) is None
        assert store.stats.corrupt == 1


def test_a_miss_heals_when_it_is_stored_again(folder: Path) -> None:
    fill(folder, "old")
    sql(folder, "UPDATE Cache SET value = 'junk'")
    with contextlib.closing(Store(folder)) as store:
        assert store.get(PROMPT, 0) is None
        store.put(PROMPT, {0: HELLO})
        found = store.get(PROMPT, 0)
        assert found is not None
        assert found.text == "hello"


def test_nothing_is_evicted_beyond_the_size_at_which_diskcache_would(store: Store) -> None:
    store.database.cache.reset("size_limit", 1000)
    for i in range(50):
        store.put(PROMPT, {i: Completion(text=f"{i}" * 5000)})
    assert all(store.get(PROMPT, i) for i in range(50))


# ---------------------------------------------------------------- what a stranger could plant


class Bomb:
    """Unpickling it creates a file."""

    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self) -> tuple[Callable[..., object], tuple[str, str]]:
        return open, (str(self.target), "w")


@pytest.fixture
def bomb(tmp_path: Path) -> Iterator[tuple[bytes, Path]]:
    """A pickle and the file that exists once it was loaded; it is shown to work first."""
    target = tmp_path / "exploded"
    data = pickle.dumps(Bomb(target))
    pickle.loads(data).close()
    assert target.exists()
    target.unlink()
    yield data, target
    assert not target.exists()


def use_everything(folder: Path) -> Store:
    """Go through every operation that touches rows."""
    with contextlib.closing(Store(folder)) as store:
        assert store.get(PROMPT, 0) is None
        assert store.take(PROMPT, 60)
        store.release(PROMPT)
        store.put(PROMPT, {0: HELLO})
        assert store.get(PROMPT, 0) is not None
        survey(folder)
        store.clear()
    return store


def test_a_pickled_value_is_a_miss_and_is_not_loaded(folder: Path, bomb: tuple[bytes, Path]) -> None:
    fill(folder, "x")
    for key in (entry_key(PROMPT, 0), f"{PROMPT}/lease"):
        plant(folder, key, mode=4, value=bomb[0])
    assert use_everything(folder).stats.corrupt == 1


def test_a_pickled_value_in_a_file_is_not_loaded(folder: Path, bomb: tuple[bytes, Path]) -> None:
    fill(folder, "x")
    name = f"ab/cd/{'e' * 28}.val"
    (folder / name).parent.mkdir(parents=True)
    (folder / name).write_bytes(bomb[0])
    plant(folder, entry_key(PROMPT, 0), mode=4, filename=name)
    assert use_everything(folder).stats.corrupt == 1


def test_a_pickled_key_is_not_loaded(folder: Path, bomb: tuple[bytes, Path]) -> None:
    fill(folder)
    plant(folder, bomb[0], raw=0, value="x")
    with contextlib.closing(Store(folder)) as store, pytest.raises(ValueError, match="key"):
        list(store.database.cache)
    use_everything(folder)


@pytest.mark.parametrize("mode", [2, 3, 4], ids=["binary", "text", "pickle"])
@pytest.mark.parametrize("absolute", [False, True], ids=["../", "/"])
def test_a_file_that_a_row_names_is_neither_read_nor_deleted(
    folder: Path, tmp_path: Path, mode: int, absolute: bool
) -> None:
    fill(folder, "x")
    outside = tmp_path / "outside"
    ((entry,),) = sql(folder, "SELECT value FROM Cache")
    outside.write_text(str(entry))  # valid, so that reading it would be a hit
    for key in (entry_key(PROMPT, 0), f"{PROMPT}/lease"):
        plant(folder, key, mode=mode, filename=str(outside) if absolute else "../outside")
    assert use_everything(folder).stats.corrupt == 1
    assert outside.read_text() == entry


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("_directory", "/"),
        ("disk__directory", "/"),
        ("sqlite_temp_store_directory", 1),
        ("sqlite_journal_mode", "wal; DROP TABLE Cache"),
        ("eviction_policy", "'); --"),
    ],
)
def test_a_planted_setting_is_not_obeyed(folder: Path, key: str, value: object) -> None:
    fill(folder, "x")
    sql(folder, "INSERT OR REPLACE INTO Settings VALUES (?, ?)", key, value)
    with pytest.raises(Damaged, match=key):
        Store(folder)


def test_known_settings_are_taken_from_the_program_not_the_database(folder: Path) -> None:
    fill(folder, "x")
    sql(folder, "UPDATE Settings SET value = 'least-recently-used' WHERE key = 'eviction_policy'")
    sql(folder, "UPDATE Settings SET value = 10 WHERE key IN ('cull_limit', 'statistics')")
    Store(folder).close()
    settings = dict(sql(folder, "SELECT key, value FROM Settings"))  # type: ignore[arg-type]
    assert settings["eviction_policy"] == "none"
    assert settings["cull_limit"] == settings["statistics"] == 0


@pytest.mark.parametrize(
    "statement",
    [
        "CREATE TRIGGER strange AFTER INSERT ON Cache BEGIN DELETE FROM Cache; END",
        "CREATE VIEW strange AS SELECT 1",
        "CREATE TABLE strange (a)",
    ],
)
def test_a_planted_table_view_or_trigger_is_refused(folder: Path, statement: str) -> None:
    fill(folder, "x")
    sql(folder, statement)
    with pytest.raises(Damaged, match="strange"):
        Store(folder)


# ---------------------------------------------------------------- damage


def wreck_header(path: Path) -> None:
    path.write_bytes(b"garbage" * 20 + path.read_bytes()[140:])


def wreck_half(path: Path) -> None:
    os.truncate(path, path.stat().st_size // 2)


def wreck_all(path: Path) -> None:
    os.truncate(path, 0)


def read_all(folder: Path, n: int = 50) -> list[Completion | None]:
    with contextlib.closing(Store(folder)) as store:
        return [store.get(PROMPT, i) for i in range(n)]


@pytest.mark.parametrize("wreck", [wreck_header, wreck_half, wreck_all])
def test_a_damaged_database_is_set_aside_aloud_and_the_next_run_starts_anew(
    folder: Path, wreck: Callable[[Path], None]
) -> None:
    fill(folder, *(f"{i}" * 5000 for i in range(50)))
    wreck(folder / "cache.db")
    with pytest.raises(Damaged, match=r"cache\.db\.bad-") as caught:
        read_all(folder)
    assert "paid again" in caught.value.hint
    assert caught.value.exit_code == 1
    (bad,) = survey(folder).damaged_files
    assert bad.name in caught.value.message
    assert not (folder / "cache.db").exists()
    fill(folder, "new")
    assert survey(folder).entries == 1


def test_an_empty_database_is_no_damage_before_the_first_is_complete(folder: Path) -> None:
    fill(folder, "x")
    tag = (folder / "CACHEDIR.TAG").read_text()
    (folder / "CACHEDIR.TAG").write_text("\n".join(tag.splitlines()[:2]) + "\n")
    os.truncate(folder / "cache.db", 0)
    fill(folder, "y")
    assert survey(folder).entries == 1


def test_flipped_bytes_never_give_a_wrong_completion(folder: Path, tmp_path: Path) -> None:
    texts = [f"answer {i} " * 40 for i in range(30)]
    fill(folder, *texts)
    whole, seen = (folder / "cache.db").read_bytes(), set()
    for seed in range(100):
        rng = random.Random(seed)
        copy = tmp_path / f"copy{seed}"
        shutil.copytree(folder, copy)
        broken = bytearray(whole)
        for _ in range(rng.choice([1, 3, 100])):
            broken[rng.randrange(len(broken))] ^= 1 << rng.randrange(8)
        (copy / "cache.db").write_bytes(broken)
        try:
            found = read_all(copy, 30)
            seen.add("miss" if None in found else "intact")
            assert all(f is None or f.text == t for f, t in zip(found, texts, strict=True)), seed
        except StorageError as exc:
            seen.add(type(exc).__name__)
        shutil.rmtree(copy)
    assert seen >= {"miss", "intact", "Damaged"}


def test_a_full_disk_is_said_with_place_and_room_and_reads_go_on(store: Store, folder: Path) -> None:
    store.put(PROMPT, {0: HELLO})
    ((pages,),) = store.database.cache._con.execute("PRAGMA page_count")
    store.database.cache._con.execute(f"PRAGMA max_page_count = {pages}")
    with pytest.raises(StorageError, match="bytes free") as caught:
        store.put(PROMPT, {1: Completion(text="x" * 100_000)})
    assert str(folder) in caught.value.message
    assert store.get(PROMPT, 0) is not None
    assert store.get(PROMPT, 1) is None


def test_a_database_that_turned_read_only_fails_at_once(store: Store) -> None:
    store.database.cache._con.execute("PRAGMA query_only = 1")
    with pytest.raises(StorageError, match="readonly") as caught:
        store.put(PROMPT, {0: HELLO})
    assert not isinstance(caught.value, Busy)


def test_a_cache_removed_while_in_use_is_noticed_before_money_is_spent(store: Store, folder: Path) -> None:
    shutil.rmtree(folder)
    with pytest.raises(StorageError, match="removed while in use"):
        store.take(PROMPT, 60)
    with pytest.raises(StorageError, match="removed while in use"):
        store.put(PROMPT, {0: HELLO})


def test_a_locked_database_can_be_read_and_says_busy_to_writers(store: Store, folder: Path) -> None:
    store.put(PROMPT, {0: HELLO})
    with contextlib.closing(sqlite3.connect(folder / "cache.db", isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        assert store.get(PROMPT, 0) is not None
        with pytest.raises(Busy):
            store.put(PROMPT, {1: HELLO})
        with pytest.raises(Busy):
            store.take(PROMPT, 60)
        with pytest.raises(Busy):
            Store(folder, patience=0.1)
    store.put(PROMPT, {1: HELLO})


def test_many_processes_may_create_one_cache_at_once(folder: Path) -> None:
    script = (
        "import sys; from pathlib import Path; from automix_cli.backends.store import Store\n"
        "from automix_cli.records import Completion\n"
        "s = Store(Path(sys.argv[1])); s.put('0' * 64, {int(sys.argv[2]): Completion(text='x')}); s.close()"
    )
    children = [subprocess.Popen([sys.executable, "-c", script, str(folder), str(i)]) for i in range(4)]
    assert [child.wait(PATIENCE) for child in children] == [0] * 4
    assert survey(folder).entries == 4


# ---------------------------------------------------------------- leases


def test_a_lease_is_held_by_one_store_until_it_is_released(folder: Path) -> None:
    with contextlib.closing(Store(folder)) as one, contextlib.closing(Store(folder)) as two:
        assert one.take(PROMPT, 60)
        assert one.take(PROMPT, 60)
        assert not two.take(PROMPT, 60)
        assert two.take("1" * 64, 60)
        two.release(PROMPT)
        assert not two.take(PROMPT, 60)
        one.release(PROMPT)
        assert two.take(PROMPT, 60)


@pytest.mark.parametrize("samples", [(0,), (0, 1), ()])
@pytest.mark.parametrize("before", [None, "mine", "theirs", "stored"])
def test_the_last_samples_release_the_lease_and_no_other(
    folder: Path, samples: tuple[int, ...], before: str | None
) -> None:
    with contextlib.closing(Store(folder)) as one, contextlib.closing(Store(folder)) as two:
        if before == "stored":  # by an earlier run, and bought again
            one.put(PROMPT, {0: Completion(text="old")})
        if before is not None:
            assert (two if before == "theirs" else one).take(PROMPT, 60)
        one.put_and_release(PROMPT, dict.fromkeys(samples, HELLO))
        stored = two.get_samples(PROMPT, (0, 1))
        assert [i for i, c in stored.items() if c.text == HELLO.text] == list(samples)
        assert one.take(PROMPT, 60) == (before != "theirs")
        assert one.stats.writes == len(samples) + (before == "stored")
    count = sql(folder, "SELECT count(*), (SELECT value FROM Settings WHERE key = 'count') FROM Cache")
    assert len(set(count[0])) == 1


def test_a_lapsed_lease_is_taken_and_its_late_owner_cannot_release_it(folder: Path) -> None:
    with contextlib.closing(Store(folder)) as one, contextlib.closing(Store(folder)) as two:
        assert one.take(PROMPT, -1)
        assert two.take(PROMPT, 60)
        one.release(PROMPT)
        assert not one.take(PROMPT, 60)


HOLD = (
    "import sys, time; from pathlib import Path; from automix_cli.backends.store import Store\n"
    "s = Store(Path(sys.argv[1])); assert s.take('0' * 64, 600); print('held', flush=True); time.sleep(3600)"
)


@pytest.mark.parametrize("reaped", [True, False], ids=["reaped", "zombie"])
def test_the_lease_of_a_killed_process_is_taken_over_at_once(
    store: Store, folder: Path, reaped: bool
) -> None:
    with subprocess.Popen([sys.executable, "-c", HOLD, str(folder)], stdout=subprocess.PIPE) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == b"held\n"
        assert not store.take(PROMPT, 60)
        child.kill()
        if reaped:
            child.wait()
        else:
            os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)  # dead, and left unreaped
        assert store.take(PROMPT, 60)


def lease_row(store: Store, **changes: object) -> str:
    return json.dumps(json.loads(lease_owner(store._id)) | {"store": "other"} | changes)


@pytest.mark.parametrize(
    ("changes", "free"),
    [
        ({}, False),  # another store of this very process
        ({"start": "1"}, True),  # the number was given to a later process
        ({"pid": 2**22 + 1}, True),  # beyond the largest process id
        ({"pid": 10**30}, True),
        ({"host": "elsewhere", "pid": 2**22 + 1}, False),  # cannot be told from here
    ],
)
def test_a_lease_counts_as_long_as_its_owner_may_live(
    store: Store, changes: dict[str, object], free: bool
) -> None:
    store.database.cache.set(f"{PROMPT}/lease", lease_row(store, **changes), expire=60)
    assert store.take(PROMPT, 60) is free


@pytest.mark.parametrize("junk", ["", "null", "[]", "{}", "\x00", "[" * 5000])
def test_a_lease_that_names_no_owner_counts_for_nothing(store: Store, junk: str) -> None:
    store.database.cache.set(f"{PROMPT}/lease", junk, expire=60)
    assert store.take(PROMPT, 60)


# ---------------------------------------------------------------- the whole


def test_clearing_removes_completions_and_damaged_databases_but_no_lease(store: Store, folder: Path) -> None:
    store.put(PROMPT, dict.fromkeys(range(5), HELLO))
    store.take(PROMPT, 60)
    (folder / "cache.db.bad-20260101T000000").touch()
    (folder / "notes.txt").touch()
    assert survey(folder).entries == 5
    assert store.clear() == 5
    assert survey(folder)[1:] == (0, survey(folder).bytes, ())
    assert (folder / "notes.txt").exists()
    with contextlib.closing(Store(folder)) as other:
        assert not other.take(PROMPT, 60)


def test_clearing_gives_the_room_back(store: Store, folder: Path) -> None:
    store.put(PROMPT, {i: Completion(text="x" * 10_000) for i in range(100)})
    assert survey(folder).bytes > 1_000_000
    store.clear()
    assert survey(folder).bytes < 300_000


def test_surveying_creates_nothing(folder: Path) -> None:
    assert survey(folder) == (folder, 0, 0, ())
    assert not folder.exists()


def test_surveying_a_damaged_database_is_a_storage_error(folder: Path) -> None:
    fill(folder, "x")
    wreck_header(folder / "cache.db")
    with pytest.raises(StorageError, match="cannot be read"):
        survey(folder)


def test_a_temporary_store_is_gone_when_closed() -> None:
    store = Store.temporary()
    store.put(PROMPT, {0: HELLO})
    assert stat.S_IMODE(store.folder.stat().st_mode) == 0o700
    store.close()
    assert not store.folder.exists()


def test_the_users_store_is_where_the_environment_says(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AUTOMIX_CACHE_DIR", str(folder))
    with contextlib.closing(Store.open()) as store:
        assert store.folder == folder
