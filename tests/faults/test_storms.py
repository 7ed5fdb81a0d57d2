"""Faults in numbers: the long runs. Small ones always, large ones with `python -m pytest -n 0 -s -m storm`.

The large ones print their figures.
"""

import asyncio
import random
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from loopback import Loopback, Reply, Storm, default_reply
from nursery import World, comparable, double_paid, rows
from shell import until

from automix_cli.backends.base import Request, ScriptedBackend
from automix_cli.backends.budget import Budget, BudgetedBackend
from automix_cli.backends.retry import Retrier
from automix_cli.cascade.answer import Degrading
from automix_cli.cascade.cascade import Cascade
from automix_cli.errors import BackendError, TimedOut
from automix_cli.profile.model import Profile
from automix_cli.profile.search import load_profile
from automix_cli.records import Completion, Question
from automix_cli.usage import Price, Usage

LARGE = pytest.mark.storm


@pytest.fixture
def server() -> Iterator[Loopback]:
    with Loopback() as server:
        yield server


# ---------------------------------------------------------------- 30 % faults


@pytest.mark.parametrize("count", [100, pytest.param(2_000, marks=LARGE), pytest.param(20_000, marks=LARGE)])
def test_A_storm_of_recoverable_faults_changes_no_row_and_pays_for_none_twice(
    count: int, server: Loopback, tmp_path: Path
) -> None:
    world = World(server, tmp_path, concurrency=32, attempts=6)
    questions, calm = world.questions(count), tmp_path / "calm.jsonl"
    plain = {"AUTOMIX_CACHE_DIR": str(tmp_path / "calm-cache")}
    assert world.run("ask", "-i", questions, "-o", calm, env=plain, timeout=3600).code == 0
    planned = len(server.calls)
    server.forget()
    server.faults = storm = Storm(seed=5, rate=0.3)
    started = time.monotonic()
    ran = world.ask(questions, timeout=7200)
    assert ran.code == 0, ran.err
    stormy = comparable(world.out)
    assert stormy == comparable(calm)
    assert len(stormy) == count
    assert double_paid(server) == 0
    served = sum(storm.served.values())
    assert len(server.calls) == planned + served
    assert served > 0.25 * planned
    print(
        f"\n{count} rows: {planned} calls planned, {served} faults served, {len(server.calls) / planned:.2f} "
        f"requests a call, 0 rows differ, 0 double-paid, {time.monotonic() - started:.0f} s"
    )


# ---------------------------------------------------------------- kill -9


@LARGE
def test_fifty_kills_at_random_times_lose_nothing_and_pay_again_at_most_what_was_in_flight(
    server: Loopback, tmp_path: Path
) -> None:
    server.reply = lambda call: Reply(texts=default_reply(call).texts, latency=0.02)
    world = World(server, tmp_path, concurrency=8)
    questions, calm = world.questions(1500), tmp_path / "calm.jsonl"
    plain = {"AUTOMIX_CACHE_DIR": str(tmp_path / "calm-cache")}
    assert world.run("ask", "-i", questions, "-o", calm, env=plain, timeout=600).code == 0
    server.forget()
    draw, kills = random.Random(23), 0
    for _ in range(50):
        child = world.start("ask", "-i", questions, "-o", world.out, "--resume")
        made = len(server.calls)
        until(lambda made=made, child=child: len(server.calls) > made or not child.process.is_alive())
        child.process.join(draw.uniform(0.0, 0.3))
        child.kill(signal.SIGKILL)
        kills += child.wait().code == -signal.SIGKILL
    assert world.ask(questions, "--resume", timeout=600).code == 0
    assert comparable(world.out) == comparable(calm)
    again = double_paid(server)
    assert kills >= 40
    assert again <= 8 * kills
    print(f"\n{kills} kills: {again} calls re-paid (bound {8 * kills}), 0 rows lost, duplicated or torn")


# ---------------------------------------------------------------- money

PRICES = {"small": Price(input=1.0, output=2.0), "large": Price(input=10.0, output=20.0)}


def two_tiers(folder: Path) -> Profile:
    path = folder / "two.yaml"
    path.write_text(
        "version: 1\nname: two\ntiers:\n"
        "  - {name: small, model: demo/small, price: {input: 1, output: 2}, params: {max_tokens: 50}}\n"
        "  - {name: large, model: demo/large, price: {input: 10, output: 20}, params: {max_tokens: 50}}\n"
        "router: {kind: majority}\nverification: {max_votes: 2, batch: [2]}\n"
    )
    return load_profile(str(path))


class Till:
    """A provider that charges as it likes, up to what was asked for, also for some of what fails."""

    def __init__(self, seed: int) -> None:
        self.draw, self.charged = random.Random(seed), 0.0

    def __call__(self, request: Request) -> Completion | Exception:
        read = sum(len(m.content) for m in request.messages) // self.draw.randint(1, 4)
        usage = Usage(input_tokens=read, output_tokens=self.draw.randint(0, 50), calls=1)
        self.charged += PRICES[request.model.partition("/")[2]].of(usage)
        if self.draw.random() < 0.1:
            return TimedOut("slow", maybe_billed=True)
        flags = ("usage_suspect",) if self.draw.random() < 0.1 else ()
        told = Usage(output_tokens=1, calls=1) if flags else usage
        said = "Verification Decision: The AI generated answer is Incorrect."
        return Completion(text=said, usage=told, flags=flags)


class Retried:
    """The scripted till behind the real retries, answering after a turn of the loop."""

    def __init__(self, till: Till, told: list[Any]) -> None:
        async def no_time(_: float) -> None:
            await asyncio.sleep(0)

        self.scripted = ScriptedBackend(till)
        self.retrier = Retrier(
            concurrency=64, sleep=no_time, on_maybe_billed=lambda r, e: [t(r, e) for t in told]
        )

    async def complete(self, request: Request) -> tuple[Completion, ...]:
        async def attempt(asked: Request) -> tuple[Completion, ...]:
            await asyncio.sleep(0)
            return await self.scripted.complete(asked)

        done: list[Completion] = []
        for i in range(request.n):
            try:
                done += await self.retrier.call(request.part(request.first + i, 1), attempt)
            except BackendError:
                if not done:
                    raise
                break
        return tuple(done)

    async def aclose(self) -> None:
        pass


async def spend(
    profile: Profile, seed: int, concurrency: int, degrade: bool
) -> tuple[Budget, Till, list[Any]]:
    till, told = Till(seed), []
    cap = random.Random(seed + 1).uniform(0.0, 0.04)
    budget = Budget(cap, final=not degrade)
    budgeted = BudgetedBackend(Retried(till, told), budget, lambda r: PRICES[r.model.partition("/")[2]])
    told.append(budgeted.note_maybe_billed)
    cascade = Cascade(profile, budgeted, None, Degrading() if degrade else None)
    slots = asyncio.Semaphore(concurrency)

    async def one(n: int) -> Any:
        async with slots:
            return await cascade.answer(Question(text=f"question {n}", id=n))

    return budget, till, await asyncio.gather(*(one(n) for n in range(12)))


@pytest.mark.parametrize("degrade", [False, True])
@pytest.mark.parametrize("concurrency", [1, 8, 64])
def test_B1_B3_no_budget_is_ever_exceeded_at_any_concurrency_over_two_hundred_seeds(
    concurrency: int, degrade: bool, tmp_path: Path
) -> None:
    profile, over, skipped, degraded = two_tiers(tmp_path), [], 0, 0
    for seed in range(200):
        budget, till, answers = asyncio.run(spend(profile, seed, concurrency, degrade))
        over.append(till.charged - budget.cap)
        assert till.charged <= budget.spent_usd + 1e-12
        assert budget.spent_usd <= budget.cap
        assert budget.reserved_usd < 1e-12
        skipped += sum(a.status == "skipped" for a in answers)
        degraded += sum("degraded" in s.flags for a in answers for s in a.route)
    assert max(over) <= 0
    assert skipped
    assert bool(degraded) is degrade


# ---------------------------------------------------------------- a hundred thousand rows


def resident(pid: int) -> float:
    """Memory of a process, in MB; 0 when it has ended."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return 0.0
    return next((int(line.split()[1]) / 1024 for line in lines if line.startswith("VmRSS")), 0.0)


@LARGE
def test_a_hundred_thousand_rows_take_the_memory_of_ten_thousand_and_resume_in_seconds(
    server: Loopback, tmp_path: Path
) -> None:
    world = World(server, tmp_path, concurrency=32)
    questions = world.questions(100_000)
    child = world.start("ask", "-i", questions, "-o", world.out, "--tier", "small")
    started, early, late = time.monotonic(), 0.0, 0.0
    while child.process.is_alive():
        child.process.join(0.5)
        late = resident(child.process.pid) or late
        early = early or (late if len(server._ledger) >= 10_000 else 0.0)
    took = time.monotonic() - started
    assert child.wait().code == 0
    assert len(rows(world.out)) == 100_000
    before = len(server.calls)
    assert double_paid(server) == 0
    started = time.monotonic()
    resumed = world.run("ask", "-i", questions, "-o", world.out, "--tier", "small", "--resume", timeout=600)
    scan = time.monotonic() - started
    again = world.run("ask", "-i", questions, "-o", tmp_path / "again.jsonl", "--tier", "small", timeout=3600)
    assert (resumed.code, again.code) == (0, 0)
    assert "100,000 rows kept" in resumed.err
    assert len(server.calls) == before
    print(
        f"\n100,000 rows: {early:.0f} MB at 10,000, {late:.0f} MB at the end ({late / early:.2f} ×), "
        f"{100_000 / took:.0f} rows/s; resumed in {scan:.1f} s; rerun 0 requests; "
        f"cache {sum(f.stat().st_size for f in world.cache.iterdir()) / 1e6:.0f} MB"
    )
    assert late <= 1.2 * early
