"""A2 over real sockets: a bill above its reserve takes the room away at once, and nothing more is sent.

Every question of a run is asked at the same time, and the cap has room for all reserves: only the number of
requests in flight holds the calls back. The first reply that comes says that it cost many times the cap.
"""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from loopback import Call, Loopback, Reply, default_reply

from automix_cli.api import CallOptions, Runtime, choose_profile
from automix_cli.cascade.cascade import Cascade
from automix_cli.errors import BudgetError
from automix_cli.profile.model import embedding_tier
from automix_cli.records import Question
from automix_cli.usage import Price

CAP = 0.5
INFLATED = {
    "reasoning beyond max_tokens": {
        "prompt_tokens": 30,
        "completion_tokens": 800_000,
        "total_tokens": 800_030,
        "completion_tokens_details": {"reasoning_tokens": 799_000},
    },
    "an inflated prompt": {"prompt_tokens": 900_000, "completion_tokens": 99, "total_tokens": 900_099},
    "five million tokens": {"prompt_tokens": 9, "completion_tokens": 5_000_000, "total_tokens": 5_000_009},
}


async def ask(cascade: Cascade, question: Question) -> Any:
    return await cascade.answer(question)


async def verify(cascade: Cascade, question: Question) -> Any:
    return await cascade.verify(question, "4", cascade.profile.tiers[0], 4)


async def collect(cascade: Cascade, question: Question) -> Any:
    return await cascade.collect(question)


JOBS = {"ask": ask, "verify": verify, "calibrate and bench": collect}


def profile_text(server: Loopback, model: str, backend: str, concurrency: int) -> str:
    tier = f'api_base: "{server.url}", backend: {backend}, price: {{input: 1, output: 1}}'
    return (
        f"version: 1\ntiers:\n- {{name: small, model: {model}, {tier}, params: {{max_tokens: 100}}}}\n"
        f"- {{name: large, model: openai/huge, {tier}, params: {{max_tokens: 101}}}}\n"
        "router: {kind: majority}\nverification: {max_votes: 4, batch: [4]}\n"
        f"limits: {{max_cost: {CAP}, concurrency: {concurrency}}}\n"
    )


def requests_sent(
    folder: Path,
    job: Callable[[Cascade, Question], Awaitable[Any]],
    usage: dict[str, Any],
    concurrency: int,
    *,
    model: str = "openai/tiny",
    backend: str = "direct",
    embeds: bool = False,
) -> int:
    """How many requests a run of twenty questions sends, each of which costs more than the cap."""

    def dear(call: Call) -> Reply:
        texts = ("",) if embeds else default_reply(call).texts
        return Reply(texts=texts, usage=usage, latency=0.02)

    with Loopback(dear) as server:
        path = folder / "p.yaml"
        path.write_text(profile_text(server, model, backend, concurrency))
        options = CallOptions(profile=str(path), no_cache=True)
        embedder = embedding_tier(model="openai/vectors", api_base=server.url, price=Price(input=1, output=0))
        runtime = Runtime(choose_profile(options), options, embedder=embedder if embeds else None)

        async def main(cascade: Cascade) -> list[Any]:
            questions = [Question(text=f"question {n}", id=n) for n in range(20)]
            calls = [cascade.embed(q, embedder) if embeds else job(cascade, q) for q in questions]
            return await asyncio.gather(*calls, return_exceptions=True)

        outcomes = runtime.run(main)
        assert not [o for o in outcomes if isinstance(o, BaseException) and not isinstance(o, BudgetError)]
        spent, bill = runtime.meter.spent_usd, usage["total_tokens"] / 1e6
        assert spent == pytest.approx(len(server.calls) * bill), "the true bills are counted"
        return len(server.calls)


@pytest.mark.parametrize("concurrency", [1, 8])
@pytest.mark.parametrize("job", JOBS)
@pytest.mark.parametrize("kind", INFLATED)
def test_A2_only_requests_in_flight_go_beyond_the_cap(
    kind: str, job: str, concurrency: int, tmp_path: Path
) -> None:
    assert 1 <= requests_sent(tmp_path, JOBS[job], INFLATED[kind], concurrency) <= concurrency


@pytest.mark.parametrize("backend", ["direct", "litellm"])
def test_A2_votes_of_one_call_that_are_sent_one_by_one_stop_too(backend: str, tmp_path: Path) -> None:
    sent = requests_sent(
        tmp_path, verify, INFLATED["an inflated prompt"], 1, model="perplexity/sonar-x", backend=backend
    )
    assert sent == 1


@pytest.mark.parametrize("concurrency", [1, 8])
def test_A2_embeddings_stop_too(concurrency: int, tmp_path: Path) -> None:
    usage = {"prompt_tokens": 900_000, "total_tokens": 900_000}
    assert 1 <= requests_sent(tmp_path, ask, usage, concurrency, embeds=True) <= concurrency
