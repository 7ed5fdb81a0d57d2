"""What dry runs say of money, beside the bill that a server then writes."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from loopback import Call, Loopback, Reply, default_reply, openai_body
from msgspec.structs import replace
from shell import ROOT, automix

from automix_cli import prompts
from automix_cli.cascade.estimate import plan_calls
from automix_cli.profile.read import read_profile
from automix_cli.records import Question
from automix_cli.usage import Price

PRICES = {"tiny": (1.0, 2.0), "huge": (10.0, 20.0)}  # USD per million tokens, read and written
PASSAGE = "The ledger of the harbour lists each ship, its cargo and its master. " * 12


class Till:
    """A server's replies, and the dollars that it bills for them.

    Attributes:
        gives_n: whether it gives as many choices as are asked for, for one prompt.
        usd: billed so far.
    """

    def __init__(self, *, gives_n: bool, words: tuple[int, int] | None = None) -> None:
        self.gives_n, self.words, self.usd = gives_n, words, 0.0

    def reply(self, call: Call) -> Reply:
        """What it says: by default, or in so many words."""
        if self.words is None:
            return default_reply(call)
        least, most = self.words
        counts = [least + call.draw(i) % (most - least + 1) for i in range(call.n)]
        ends = [f"\n{prompts.decision(call.draw(i) % 5 > 1)}" for i in range(call.n)]
        if not call.verifies:
            ends = [str(call.draw(i) % 9) for i in range(call.n)]
        texts = (" ".join([*["so"] * (n - 1), end]) for n, end in zip(counts, ends, strict=True))
        return Reply(texts=tuple(texts))

    def __call__(self, call: Call) -> Reply:
        own = call if self.gives_n else call._replace(n=1)
        body = openai_body(own, self.reply(own))
        usage, (read, written) = body["usage"], PRICES[call.model]
        self.usd += (usage["prompt_tokens"] * read + usage["completion_tokens"] * written) / 1e6
        return Reply(body=json.dumps(body).encode())

    def bill_of(self, *command: object) -> float:
        """What a command makes it bill."""
        before = self.usd
        ran = automix(*command)
        assert ran.code == 0, ran.err
        return self.usd - before


@pytest.fixture(params=[False, True], ids=["one choice", "several choices"])
def till(request: pytest.FixtureRequest) -> Till:
    return Till(gives_n=request.param)


@pytest.fixture
def server(till: Till) -> Iterator[Loopback]:
    with Loopback(till) as server:
        yield server


def profile_at(server: Loopback, folder: Path, batch: tuple[int, ...] = (1, 2, 4)) -> Path:
    path = folder / "own.yaml"
    tiers = "\n".join(
        f'  - {{name: {name}, model: hosted_vllm/{model}, api_base: "{server.url}", '
        f"price: {{input: {PRICES[model][0]}, output: {PRICES[model][1]}}}}}"
        for name, model in (("small", "tiny"), ("large", "huge"))
    )
    path.write_text(
        f"version: 1\nname: own\ntiers:\n{tiers}\nrouter: {{kind: majority}}\n"
        f"verification: {{batch: {list(batch)}}}\n"
    )
    return path


def rows_in(folder: Path, count: int) -> Path:
    rows = [
        {"id": n, "question": f"Which ship came as number {n}?", "context": PASSAGE, "expected": "answer"}
        for n in range(count)
    ]
    path = folder / f"{count}.jsonl"
    path.write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    return path


def dry_run(*command: object) -> dict[str, Any]:
    ran = automix(*command, "--dry-run", "--json")
    assert ran.code == 0, ran.err
    return dict(json.loads(ran.out))


def demo_lines() -> list[str]:
    return (ROOT / "profiles" / "demo-questions.jsonl").read_text().splitlines(keepends=True)


def test_before_a_server_has_shown_anything_each_vote_has_a_prompt_and_the_lower_bill_is_named(
    till: Till, server: Loopback, tmp_path: Path
) -> None:
    plan = dry_run("calibrate", rows_in(tmp_path, 12), "-p", profile_at(server, tmp_path))
    assert "each vote is billed with a prompt, or all of a call with one" in plan["assumes"]
    assert plan["usd_if_shared"] < 0.6 * plan["expected"]["usd"]


@pytest.mark.parametrize("batch", [(1, 2, 4), (1,)], ids=["rounds", "one by one"])
def test_labels_cost_what_the_dry_run_said_or_less_where_the_server_has_not_shown_that_it_gives_several(
    till: Till, server: Loopback, tmp_path: Path, batch: tuple[int, ...]
) -> None:
    rows, profile = rows_in(tmp_path, 12), profile_at(server, tmp_path, batch)
    till.bill_of("ask", "-i", rows_in(tmp_path, 4), "-p", profile)
    plan = dry_run("bench", rows, "-p", profile)
    ratio = till.bill_of("bench", rows, "-p", profile, "--policies", "threshold") / plan["to_pay"]["usd"]
    is_known = batch != (1,)  # asked for one vote at a time, a server cannot show that it gives several
    assert ("usd_if_shared" in plan) == (not is_known)
    assert ratio == pytest.approx(1, abs=0.02) if is_known or not till.gives_n else 0.3 < ratio < 0.7


def test_votes_on_answers_that_exist_cost_what_the_dry_run_said(
    till: Till, server: Loopback, tmp_path: Path
) -> None:
    profile, out = profile_at(server, tmp_path), tmp_path / "out.jsonl"
    till.bill_of("ask", "-i", rows_in(tmp_path, 6), "-p", profile)  # shows what the servers do
    till.bill_of("ask", "-i", rows_in(tmp_path, 20), "-p", profile, "--tier", "small", "-o", out)
    verify = ("verify", "-i", out, "-p", profile, "--no-cache")
    plan = dry_run(*verify)
    assert "usd_if_shared" not in plan
    assert plan["expected"]["usd"] == pytest.approx(till.bill_of(*verify), rel=0.05)


@pytest.mark.parametrize(("words", "gives_n"), [((1, 5), False), ((50, 100), True), ((800, 800), True)])
def test_the_bill_is_between_the_ends_before_any_call_and_as_expected_after_a_few(
    words: tuple[int, int], gives_n: bool, tmp_path: Path
) -> None:
    till = Till(gives_n=gives_n, words=words)
    with Loopback(till) as server:
        rows, profile = rows_in(tmp_path, 40), profile_at(server, tmp_path)
        ask, collect = ("ask", "-i", rows, "-p", profile), ("bench", rows, "-p", profile)
        before = [dry_run(*command)["expected"] for command in (ask, collect)]
        first = till.bill_of(*ask, "--limit", "20")
        after = [dry_run(*command) for command in (ask, collect)]
        bills = [first + till.bill_of(*ask)]
        bills.append(till.bill_of(*collect, "--policies", "always", "--no-cache"))
    for bill, guess, plan in zip(bills, before, after, strict=True):
        low, high = guess["usd_range"]
        assert low < bill < high
        assert plan["expected"]["usd"] == pytest.approx(bill, rel=0.25)
        usd = plan["expected"]["usd"]  # the one figure where prompts make up nearly all of the bill
        one_figure = [0.95 * usd, 1.05 * usd]
        least, most = plan["expected"].get("usd_range") or plan.get("likely_usd", one_figure)
        assert least < bill < most
        assert most / least < high / low


@pytest.mark.parametrize("rows_before", [1, 2, 5])
def test_after_a_few_rows_the_bill_lies_between_the_ends_that_are_told(
    rows_before: int, tmp_path: Path
) -> None:
    till = Till(gives_n=True, words=(20, 400))
    with Loopback(till) as server:
        rows, profile = rows_in(tmp_path, 40), profile_at(server, tmp_path)
        ask = ("ask", "-i", rows, "-p", profile, "--tier", "large")
        first = till.bill_of(*ask, "--limit", str(rows_before))
        plan = dry_run(*ask)
        bill = first + till.bill_of(*ask)
    low, high = plan["expected"]["usd_range"]
    assert low < bill < high
    assert "by those seen: answers of large" in plan["assumes"]
    assert "more calls narrow it" in plan["assumes"]


def test_a_calibrated_profile_is_expected_to_cost_what_its_plan_then_costs(tmp_path: Path) -> None:
    lines = demo_lines()
    labelled, rows = tmp_path / "labelled.jsonl", tmp_path / "rows.jsonl"
    labelled.write_text("".join(lines[:120]))
    rows.write_text("".join(lines[-150:]))
    profile = tmp_path / "own.yaml"
    assert automix("calibrate", labelled, "-p", "demo", "-o", profile, "--folds", "3").code == 0
    plan = dry_run("ask", "-i", rows, "-p", profile)
    answers = automix("ask", "-i", rows, "-p", profile).rows
    bill, (low, high) = sum(row["cost_usd"] for row in answers), plan["likely_usd"]
    assert plan["expected"]["usd"] == pytest.approx(bill, rel=0.1)
    assert plan["low"]["usd"] <= low < bill < high <= plan["worst"]["usd"]
    assert high < 2 * low
    assert "by the calibrated plan" in plan["assumes"]
    # Where prices have changed since, the plan is the same, at the new prices.
    now = read_profile(profile, trusted=True, origin="named")
    tiers = tuple(
        replace(tier, price=Price(input=3 * own.input, output=3 * own.output))
        for tier, own in ((tier, tier.list_price()) for tier in now.tiers)
        if own is not None
    )
    questions = [Question(text=json.loads(line)["question"]) for line in rows.read_text().splitlines()]
    dearer, same = (plan_calls(own, questions) for own in (replace(now, tiers=tiers), now))
    assert ("likely_usd" in dearer, dearer["expected"]["calls"]) == (False, same["expected"]["calls"])
    low, high = dearer["expected"]["usd_range"]
    assert low < 3 * same["expected"]["usd"] < high
