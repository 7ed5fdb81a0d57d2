"""What the command line sets for its whole process, and what it leaves as it is."""

import gc
import os

import pytest

from automix_cli.process import ONE_THREAD, collect_as_usual, collect_rarely, is_ours, own_process


@pytest.mark.parametrize(("before", "then"), [(None, "1"), ("4", "4")])
def test_one_thread_adds_unless_the_environment_says_otherwise(
    before: str | None, then: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ONE_THREAD:
        monkeypatch.setenv(name, before or "")
        if before is None:
            monkeypatch.delenv(name)
    with own_process():
        assert is_ours()
        assert {os.environ[name] for name in ONE_THREAD} == {then}


def test_cycles_are_looked_for_as_usual_again_in_a_process_of_ours_that_goes_on() -> None:
    before = gc.get_threshold()
    try:
        collect_rarely()
        rare = gc.get_threshold()
        collect_as_usual()
        assert gc.get_threshold() == rare > before
        with own_process():
            collect_as_usual()
        assert gc.get_threshold() == before
    finally:
        gc.set_threshold(*before)
