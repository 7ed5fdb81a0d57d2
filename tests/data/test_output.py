"""Output files of rows: whole lines, never over another file, one writer at a time."""

import io
import os
from pathlib import Path

import pytest

from automix_cli.data.output import RowWriter, open_output
from automix_cli.errors import StorageError, UsageError


def test_an_output_is_never_overwritten_without_force(tmp_path: Path) -> None:
    path = tmp_path / "out.jsonl"
    path.write_text("precious")
    with pytest.raises(UsageError, match="exists") as caught:
        open_output(path)
    assert "--force" in caught.value.hint
    assert path.read_text() == "precious"
    with open_output(path, force=True) as file:
        RowWriter(file).write({"a": 1})
    assert path.read_text() == '{"a": 1}\n'


def test_an_output_is_private_and_locked_while_written(tmp_path: Path) -> None:
    path = tmp_path / "out.jsonl"
    with open_output(path):
        assert path.stat().st_mode & 0o777 == 0o600
        with pytest.raises(UsageError, match="another process"):
            open_output(path, force=True)


@pytest.mark.parametrize("kind", ["link", "folder", "fifo", "missing"])
def test_an_output_that_is_no_regular_file_is_refused(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "out.jsonl"
    if kind == "link":
        (tmp_path / "real").write_text("precious")
        path.symlink_to(tmp_path / "real")
    elif kind == "folder":
        path.mkdir()
    elif kind == "missing":
        path = tmp_path / "no" / "out.jsonl"
    else:
        os.mkfifo(path)
        reader = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    with pytest.raises(UsageError):
        open_output(path, force=True)
    if kind == "fifo":
        os.close(reader)


def test_a_full_disk_is_a_storage_error() -> None:
    with open("/dev/full", "wb", buffering=0) as full, pytest.raises(StorageError, match="No space"):
        RowWriter(full).write({"a": 1})


def test_every_row_is_flushed_before_the_next() -> None:
    class Stream(io.BytesIO):
        flushed = 0

        def flush(self) -> None:
            self.flushed += 1

    stream = Stream()
    writer = RowWriter(stream)
    for n in range(3):
        writer.write({"n": n})
        assert stream.flushed == n + 1
    assert stream.getvalue().count(b"\n") == 3
