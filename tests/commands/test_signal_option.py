"""`--signal`, and the signal that rows are read with where it is not given: the profile's own."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from shell import automix, jsonl

from automix_cli.api import CallOptions
from automix_cli.data.labelled import DataFile, TableOptions
from automix_cli.data.traces import TraceTable
from automix_cli.errors import UsageError
from automix_cli.library.trace_source import TraceSource
from automix_cli.views.terminal import Reporter

PROFILE = "version: 1\nextends: demo\nverification: {{signal: {signal}, logprob_of: {of}}}\n"


def rows(count: int, **small: Any) -> list[dict[str, Any]]:
    rng = np.random.default_rng(0)
    made = []
    for i in range(count):
        own = {"score": i % 2, "cost": 0.001, "vote_cost": 0.001, "conf_b": 0.2 + 0.6 * (i % 2)}
        sure = float(rng.uniform(0.4, 0.9))
        made.append(
            {
                "id": i,
                "tiers": {
                    "small": {**own, "votes": [int(sure > 0.5)], "confidence": sure, **small},
                    "large": {"score": 1, "cost": 0.02},
                },
            }
        )
    return made


def read(folder: Path, signal: str, of: str, option: str | None = None, **small: Any) -> TraceTable:
    """The table of rows, read with a profile of this signal."""
    path = folder / "profile.yaml"
    path.write_text(PROFILE.format(signal=signal, of=of))
    source = TraceSource(
        data=DataFile("rows.jsonl", jsonl(*rows(40, **small)).encode()),
        options=TableOptions(signal=option),
        calls=CallOptions(profile=str(path)),
        reporter=Reporter(quiet=True),
        traces=None,
        labels_from=None,
        baseline=None,
        force=False,
    )
    return source.read().table


READ: dict[str, tuple[tuple[str, str, str | None], dict[str, Any], str]] = {
    "a verdict's confidence, not its vote": (("logprob", "verdict", None), {}, "verdict"),
    "a confidence that comes with answers": (
        ("logprob", "answer", None),
        {"votes": None, "vote_cost": None},
        "logprob",
    ),
    "votes": (("votes", "verdict", None), {}, "votes"),
    "an option before the profile": (("logprob", "verdict", "conf_b"), {}, "logprob"),
    "a profile whose signal the rows lack": (("logprob", "answer", None), {"confidence": None}, "votes"),
}


@pytest.mark.parametrize(("how", "small", "signal"), READ.values(), ids=READ)
def test_rows_are_read_with_the_signal_that_the_profile_asks_for(
    tmp_path: Path, how: tuple[str, str, str | None], small: dict[str, Any], signal: str
) -> None:
    assert read(tmp_path, *how, **small).signals[0] == signal


def test_a_signal_that_rows_lack_is_refused_with_those_that_they_hold(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="the rows hold no 'samples'") as caught:
        read(tmp_path, "votes", "verdict", "samples")
    assert caught.value.hint == "they hold none, conf_b, verdict; auto compares them"


def test_a_router_for_a_signal_that_nobody_records_live_is_shown_and_not_written(tmp_path: Path) -> None:
    (tmp_path / "rows.jsonl").write_text(jsonl(*rows(60)))
    args = ("calibrate", "rows.jsonl", "--profile", "demo", "--cost-weight", "20", "--folds", "3")
    ran = automix(*args, "--signal", "auto", "-o", "new.yaml", cwd=tmp_path)
    assert ran.code == 2
    assert "signal: conf_b, +" in ran.out
    assert "no router written: it looks at conf_b, which ask cannot record" in ran.err
    assert not (tmp_path / "new.yaml").exists()
