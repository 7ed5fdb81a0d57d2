"""Embeddings: bought like answers, read by query-side routers, paid for in the row's bill."""

from __future__ import annotations

import asyncio
import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from known import table_of
from loopback import Call, Loopback, Reply, default_vector, nobody
from msgspec.structs import replace
from profile_files import with_mute_votes
from shell import jsonl
from typer.testing import CliRunner

from automix_cli.backends.base import Request, ScriptedBackend
from automix_cli.backends.budget import MESSAGE_OVERHEAD
from automix_cli.backends.cache import Cached, fingerprint
from automix_cli.backends.catalog import list_price
from automix_cli.backends.demo.tiers import DemoBackend
from automix_cli.backends.embedding import MOST_BYTES, demo_vector, flaw, pack_vector, unpack_vector
from automix_cli.backends.litellm import LiteLLMBackend
from automix_cli.backends.retry import Retrier
from automix_cli.backends.store import Store
from automix_cli.backends.store_folder import cache_folder
from automix_cli.cascade.cascade import Cascade
from automix_cli.cascade.estimate import plan_calls
from automix_cli.cascade.failed_attempts import note_maybe_billed
from automix_cli.cascade.requests import embedding_request
from automix_cli.cli import app
from automix_cli.data.traces import Embeddings
from automix_cli.errors import (
    BackendError,
    BadRequest,
    BadResponse,
    CacheMiss,
    DataError,
    ProfileError,
    TimedOut,
    Unauthorised,
    UsageError,
)
from automix_cli.evaluation.families import CostGrid
from automix_cli.evaluation.plan_family import PlanFamily
from automix_cli.evaluation.replay import replay
from automix_cli.fitting.classes import Classes
from automix_cli.fitting.fit import fit
from automix_cli.fitting.fit_query_router import fit_router
from automix_cli.fitting.query_router_kinds import QUERY_ROUTER_KINDS, QueryRouterKind
from automix_cli.fitting.router_block import Settings
from automix_cli.pomdp.rules import AlwaysPolicy
from automix_cli.profile.model import Profile, Tier
from automix_cli.profile.read import read_profile
from automix_cli.profile.router import (
    embedder_of,
    query_router,
    router_policy,
)
from automix_cli.prompts.messages import decision
from automix_cli.records import Answer, Completion, Message, Question
from automix_cli.usage import Price, Usage

CANARY = "canary-0123456789-abcdef"
WORDS = ("river", "stone", "cloud", "window", "garden", "letter", "candle", "bridge", "market", "winter")
DEMO_QUESTIONS = Path(__file__).parents[2] / "profiles" / "demo-questions.jsonl"
PRICE = 2.0  # USD per million tokens


def tier(server: Loopback | None, **settings: Any) -> Tier:
    base = None if server is None else server.url
    given = {"model": "openai/embed", "api_base": base, "price": Price(input=PRICE, output=0.0)}
    return Tier(name="embedding", **(given | settings))


def asked(text: str, server: Loopback | None, **settings: Any) -> Request:
    return embedding_request(text, tier(server, **settings), 20.0)


def n_votes(*requests: Request, store: Store | None = None, backend: Any = None, **retries: Any) -> list[Any]:
    """The outcome of each request, all at once, through the cache and the retries."""
    wire = backend or LiteLLMBackend(Retrier(**({"backoff": 0.001, "attempts": 3} | retries)))
    cached = Cached(wire, store)

    async def main() -> list[Any]:
        found = await asyncio.gather(*(cached.complete(r) for r in requests), return_exceptions=True)
        await cached.aclose()
        return list(found)

    return asyncio.run(main())


def says(status: int) -> Reply:
    return Reply(status=status, body=json.dumps({"error": {"message": f"status {status}"}}).encode())


# ---------------------------------------------------------------- as text


def test_a_vector_survives_as_text_to_the_last_bit_of_a_32_bit_float() -> None:
    vector = np.random.default_rng(0).normal(size=1536).astype(np.float32)
    text = pack_vector(vector.tolist())
    assert (np.array(unpack_vector(text), dtype=np.float32) == vector).all()
    assert len(text) == 8192
    for wrong in ("AACAPwA=", "no base64", "é"):
        with pytest.raises(DataError, match="cannot be read"):
            unpack_vector(wrong)


@pytest.mark.parametrize(
    "vector",
    [
        None,
        [],
        [0.0, 0],
        [1.0, float("nan")],
        [1.0, float("inf")],
        [True],
        ["1"],
        [None],
        "AACAPw==",
        {},
        [1e39],
    ],
)
def test_what_is_no_vector_is_refused(vector: object) -> None:
    assert flaw(vector)


def test_a_very_long_question_is_embedded_by_its_beginning_and_half_a_character_is_left_out() -> None:
    (message,) = asked("é" * 20_000 + "\ud800", None).messages
    assert message.content == "é" * (MOST_BYTES // 2)
    (odd,) = asked("a" + "é" * 20_000, None).messages
    assert len(odd.content.encode()) == MOST_BYTES - 1


def test_the_demo_embedding_is_the_same_everywhere_and_puts_like_questions_together() -> None:
    assert pack_vector(demo_vector("What is 2 + 2?"))[:32] == pack_vector(demo_vector("what  is 2 + 2?"))[:32]
    near, far = demo_vector("Convert 3 miles to feet."), demo_vector("Which weekday was 3 May 1999?")
    start = np.array(demo_vector("Convert 5 miles to feet."))
    assert start @ near > start @ far + 0.2
    (done,) = n_votes(
        Request(model="demo/embed", messages=(Message("user", "2"),), embeds=True), backend=DemoBackend()
    )
    assert unpack_vector(done[0].text) == pytest.approx(demo_vector("2"))
    (refused,) = n_votes(
        Request(model="demo/small", messages=(Message("user", "2"),), embeds=True), backend=DemoBackend()
    )
    assert isinstance(refused, BadRequest)


# ---------------------------------------------------------------- on the wire


def test_one_text_goes_out_as_one_request_and_comes_back_as_a_vector_with_its_usage(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("EMBED_KEY", CANARY)
    with Loopback(lambda call: Reply(vector=(0.5, -0.25)), keep_bodies=True) as server:
        (done,) = n_votes(asked("What is it?", server, api_key_env="EMBED_KEY", params=(("dimensions", 2),)))
        (entry,) = server.ledger
    assert entry.path == "/v1/embeddings"
    assert json.loads(entry.body) == {"model": "embed", "input": ["What is it?"], "dimensions": 2}
    assert entry.auth == f"Bearer {CANARY}"
    assert unpack_vector(done[0].text) == (0.5, -0.25)
    assert done[0].usage == Usage(input_tokens=3, calls=1)
    assert 0 < done[0].latency_s < 20
    assert not done[0].flags


@pytest.mark.parametrize("model", ["hosted_vllm/m", "mistral/m", "lm_studio/m", "ollama/m", "ollama_chat/m"])
def test_an_embedding_comes_back_from_every_kind_of_provider(model: str) -> None:
    with Loopback() as server:
        base = server.root if model.startswith("ollama") else server.url
        (done,) = n_votes(asked("two words", server, model=model, api_base=base))
        assert unpack_vector(done[0].text) == pytest.approx(default_vector("two words"), rel=1e-6)
        assert [e.path for e in server.ledger] == ["/v1/embeddings"]


def test_without_usage_tokens_are_estimated_and_flagged() -> None:
    with Loopback(lambda call: Reply(usage={})) as server:
        (done,) = n_votes(asked("What is it then, after all?", server))
    assert done[0].flags == ("usage_suspect",)
    assert done[0].usage.input_tokens > 4


def test_a_failure_is_retried_and_a_refused_key_is_not() -> None:
    with Loopback(lambda call: says(503) if call.attempt < 2 else Reply()) as server:
        (done,) = n_votes(asked("again", server))
        assert isinstance(done, tuple)
        assert len(server.ledger) == 3
    with Loopback(lambda call: says(401)) as server:
        (refused,) = n_votes(asked("never", server))
        assert isinstance(refused, Unauthorised)
        assert refused.fatal
        assert len(server.ledger) == 1


@pytest.mark.parametrize(
    "body",
    [
        b'{"object": "list", "data": []}',
        b'{"object": "list", "data": [{"embedding": []}]}',
        b'{"object": "list", "data": [{"embedding": [NaN, 1.0]}]}',
        b'{"object": "list", "data": [{"embedding": [0.0, 0.0]}]}',
        b'{"object": "list", "data": [{"embedding": null}]}',
        b'{"object": "list"}',
        b"<html>please log in</html>",
    ],
)
def test_what_is_no_embedding_is_refused_after_retries_and_never_cached(body: bytes, tmp_path: Path) -> None:
    with Loopback(lambda call: Reply(body=body)) as server:
        (refused,) = n_votes(asked("it", server), store=Store(tmp_path / "cache"), attempts=2)
        assert isinstance(refused, BadResponse)
        assert len(server.ledger) == 2
        server.reply = lambda call: Reply()
        (done,) = n_votes(asked("it", server), store=Store(tmp_path / "cache"))
        assert not done[0].cached


def test_a_vector_of_another_length_than_asked_for_or_than_before_is_refused() -> None:
    with Loopback(lambda call: Reply(vector=(1.0,) * (3 if "short" in call.prompt else 4))) as server:
        (refused,) = n_votes(asked("it", server, params=(("dimensions", 8),)), attempts=1)
        assert "4 numbers instead of 8" in str(refused)

        async def one_after_the_other() -> list[Any]:
            backend = LiteLLMBackend(Retrier(attempts=1))
            found: list[Any] = []
            for text in ("first", "short", "third"):
                found += await asyncio.gather(backend.complete(asked(text, server)), return_exceptions=True)
            await backend.aclose()
            return found

        first, short, third = asyncio.run(one_after_the_other())
    assert isinstance(first, tuple)
    assert isinstance(third, tuple)
    assert "3 numbers instead of 4" in str(short)


# ---------------------------------------------------------------- in the cache


def test_a_second_run_sends_nothing_and_equal_texts_are_paid_once(tmp_path: Path) -> None:
    with Loopback() as server:
        requests = [asked(text, server) for text in ("one", "two", "one", "one")]
        first = n_votes(*requests, store=Store(tmp_path / "cache"))
        assert len(server.ledger) == 2
        again = n_votes(*requests, store=Store(tmp_path / "cache"))
        assert len(server.ledger) == 2
    assert [c[0].text for c in first] == [c[0].text for c in again]
    assert sum(not c[0].cached for c in first) == 2
    assert all(c[0].cached and c[0].usage.input_tokens for c in again)


def test_an_answer_and_an_embedding_of_one_text_are_two_things() -> None:
    embedding = asked("one", None)
    assert fingerprint(embedding) != fingerprint(replace(embedding, embeds=False))
    assert fingerprint(embedding) != fingerprint(replace(embedding, params=(("dimensions", 8),)))


# ---------------------------------------------------------------- profiles and prices


def profile_of(tmp_path: Path, block: str, *, trusted: bool = True) -> Profile:
    path = tmp_path / "automix.yaml"
    path.write_text(
        "version: 1\ntiers:\n  - {name: small, model: demo/small, price: {input: 1, output: 1}}\n"
        f"  - {{name: large, model: demo/large, price: {{input: 9, output: 9}}}}\n{block}"
        "verification: {max_votes: 0}\n"
    )
    return read_profile(path, trusted=trusted, origin="named" if trusted else "discovered")


def test_the_table_knows_what_embedding_models_cost_and_a_profile_may_say_otherwise(tmp_path: Path) -> None:
    assert list_price("openai/text-embedding-3-small") == Price(input=0.02, output=0.0)
    assert list_price("openai/my-own") is None
    told = profile_of(
        tmp_path, "embedding: {model: openai/my-own, price: {input: 0.5}, params: {dimensions: 8}}\n"
    )
    assert told.embedder("openai/my-own").price == Price(input=0.5, output=0.0)
    assert told.embedder("openai/other") == Tier(name="embedding", model="openai/other")
    assert told.to_dict()["embedding"] == {
        "model": "openai/my-own",
        "price": {"input": 0.5},
        "params": {"dimensions": 8},
    }
    assert told.sha != profile_of(tmp_path, "").sha


@pytest.mark.parametrize(
    ("block", "problem"),
    [
        ("embedding: {price: {input: 1}}\n", "5: embedding: needs `model`"),
        ("embedding: {model: openai/e, price: {output: 1}}\n", "embedding.price: needs `input`"),
        (
            "embedding: {model: openai/e, params: {temperature: 0}}\n",
            "embedding.params.temperature: unknown key",
        ),
        ("embedding: {model: openai/e, api_key: sk-1}\n", "a key does not belong in a file"),
        (
            "embedding: {model: openai/e, api_base: 'http://far.example/v1', api_key_env: K}\n",
            "embedding.api_base: would send the key in the clear",
        ),
    ],
)
def test_a_mistake_in_the_embedding_block_is_told_with_its_place(
    block: str, problem: str, tmp_path: Path
) -> None:
    with pytest.raises(ProfileError, match=r"automix\.yaml:5: ") as caught:
        profile_of(tmp_path, block)
    assert problem in str(caught.value)


@pytest.mark.parametrize("said", ["api_base: 'https://far.example/v1'", "api_key_env: AWS_SECRET"])
def test_a_found_profile_sends_no_question_and_no_key_elsewhere(said: str, tmp_path: Path) -> None:
    with pytest.raises(ProfileError, match=r"embedding\.api"):
        profile_of(tmp_path, f"embedding: {{model: openai/e, {said}}}\n", trusted=False)


# ---------------------------------------------------------------- who pays


def rows(count: int, seed: int = 0) -> list[dict[str, Any]]:
    """Poetry is easy and maths is hard for the small tier, and the first word says which is which."""
    rng = np.random.default_rng(seed)
    found = []
    for i in range(count):
        hard = bool(rng.integers(2))
        text = f"{'maths' if hard else 'poetry'} {' '.join(rng.choice(WORDS, 3))} {i}"
        small, large = rng.random() < (0.1 if hard else 0.9), rng.random() < 0.95
        tiers = {"small": {"score": int(small), "cost": 0.001}, "large": {"score": int(large), "cost": 0.01}}
        found.append({"id": i, "question": text, "tiers": tiers})
    return found


def test_whoever_reads_embeddings_pays_for_them_and_nobody_else() -> None:
    table = table_of(rows(40))
    vectors = np.array([default_vector(str(text)) for text in table.texts])
    table = replace(table, embeddings=Embeddings("e", vectors, np.full(40, 0.5), np.full(40, 2.0)))
    plain, charged = (replay(AlwaysPolicy(2, 0), t) for t in (table, table.with_embedding_fee()))
    np.testing.assert_allclose(charged.cost, plain.cost + 0.5)
    learn = np.arange(40) < 30
    blind, seeing = Classes(sources=("none", "knn"), room=20_000).of(table, learn)
    assert blind.table.fee is None
    assert seeing.table.fee is not None
    assert seeing.router is not None
    assert seeing.router.embed_model == "e"
    assert (seeing.table.subset(~learn).fee == [[0.5, 2.0]] * 10).all()


# ---------------------------------------------------------------- ask, with a router that reads embeddings


@pytest.fixture(scope="module")
def routed(tmp_path_factory: pytest.TempPathFactory) -> Profile:
    """A profile whose router was fitted on the embeddings of 200 rows."""
    table = table_of(rows(200))
    vectors = np.array([default_vector(str(text)) for text in table.texts])
    table = replace(table, embeddings=Embeddings("openai/embed", vectors, np.zeros(200), np.zeros(200)))
    (seen,) = Classes(sources=("multilabel",), room=20_000).of(table, np.ones(200, dtype=bool))
    assert seen.router is not None
    settings = Settings(max_votes=0)
    fitted = PlanFamily(settings=settings, grid=CostGrid(fixed=(30.0,))).fit(seen.table)
    played = fitted.play(seen.table, np.arange(200), np.array([0]))
    np.testing.assert_allclose(played.cost[0], replay(fitted.policy(0), seen.table).cost)
    router = {"kind": "pomdp+query", "cost_weight": 30.0, **fit(seen.table, settings).to_dict()}
    block = f"embedding: {{model: openai/embed, price: {{input: {PRICE}}}}}\n"
    profile = profile_of(tmp_path_factory.mktemp("routed"), block)
    return replace(profile, router=json.loads(json.dumps({**router, "query": seen.router.to_dict()})))


def answered(profile: Profile, text: str, reply: Any) -> tuple[Answer, ScriptedBackend]:
    """The row of a question; `reply` is what comes for its embedding."""
    backend = ScriptedBackend(lambda request: reply if request.embeds else "an answer")
    cascade = Cascade(profile, backend, router_policy(profile))
    return asyncio.run(cascade.answer(Question(text=text))), backend


def vector_of(text: str, **fields: Any) -> Completion:
    usage = Usage(input_tokens=1_000, calls=1)
    return Completion(text=pack_vector(default_vector(text)), usage=usage, **fields)


@pytest.mark.parametrize(("topic", "start"), [("maths", "large"), ("poetry", "small")])
def test_ask_embeds_the_question_first_and_starts_where_its_router_says(
    topic: str, start: str, routed: Profile
) -> None:
    text = f"{topic} river stone cloud"
    row, backend = answered(routed, text, vector_of(text))
    assert backend.calls[0].embeds
    assert row.route[0].tier == start
    assert embedder_of(routed) == routed.embedding


def test_the_bill_of_a_row_has_the_embedding_in_it_and_its_shape_is_the_same(routed: Profile) -> None:
    text = "maths river"
    row, _ = answered(routed, text, vector_of(text))
    told = row.to_dict()
    assert told["usage"]["input_tokens"] == 1_000
    assert told["usage"]["calls"] == 1
    assert told["cost_usd"] == told["spent_usd"] == PRICE / 1_000
    assert [step["tier"] for step in told["route"]] == ["large"]
    blind, _ = answered(replace(routed, router=None), text, None)
    assert told.keys() == blind.to_dict().keys()
    again, _ = answered(routed, text, vector_of(text, cached=True))
    assert (again.cost_usd, again.spent_usd) == (PRICE / 1_000, 0.0)


def test_a_plan_without_the_embedding_begins_with_the_cheapest_tier(routed: Profile) -> None:
    tiers = [replace(t, price=Price(input=p, output=p)) for t, p in zip(routed.tiers, (1, 50), strict=True)]
    plan = plan_calls(replace(routed, tiers=tuple(tiers)), [Question(text="maths river")])
    assert plan["low"]["usd"] < plan["expected"]["usd"] < plan["worst"]["usd"]


def test_a_question_whose_embedding_fails_goes_on_as_any_other_and_says_so(routed: Profile) -> None:
    row, _ = answered(routed, "maths river", TimedOut("too slow"))
    assert row.status == "ok"
    assert row.to_dict()["route"][0]["flags"] == ["embedding_failed"]
    assert routed.router is not None
    pooled = replace(
        routed, router={k: v for k, v in routed.router.items() if k != "query"} | {"kind": "pomdp"}
    )
    assert query_router(pooled) is None
    believed = {}
    for name, profile in (("router left out", pooled), ("unread", routed)):
        profile = with_mute_votes(profile, "small")
        backend = ScriptedBackend(lambda r: TimedOut("too slow") if r.embeds else decision(True))
        cascade = Cascade(profile, backend, router_policy(profile))
        check = asyncio.run(cascade.verify(Question(text="maths"), "an answer", routed.tiers[0], 2))
        believed[name] = check.confidence
        assert check.flags == (("embedding_failed",) if name == "unread" else ())
    assert believed["unread"] == believed["router left out"]


def test_a_failed_embedding_that_may_be_billed_is_on_the_bill_of_its_row(routed: Profile) -> None:
    def reply(request: Request) -> str | Exception:
        if not request.embeds:
            return "an answer"
        note_maybe_billed(request, TimedOut("late"))
        return TimedOut("too slow", maybe_billed=True)

    cascade = Cascade(routed, ScriptedBackend(reply), router_policy(routed))
    row = asyncio.run(cascade.answer(Question(text="maths river")))
    assert row.failed_usd == pytest.approx((len("maths river") + MESSAGE_OVERHEAD) * PRICE / 1e6)
    assert row.spent_usd == row.failed_usd


@pytest.mark.parametrize("stop", [Unauthorised("no"), CacheMiss("not here")])
def test_an_embedding_that_nobody_will_get_makes_an_error_of_the_row(
    stop: BackendError, routed: Profile
) -> None:
    row, backend = answered(routed, "maths river", stop)
    assert row.error is not None
    assert (row.error.type, row.error.fatal) == (stop.kind, stop.fatal)
    assert len(backend.calls) == 1


def test_embeddings_of_another_length_than_fitted_on_are_refused_by_name(routed: Profile) -> None:
    with pytest.raises(DataError, match="expected embeddings of openai/embed of 24 finite numbers") as caught:
        answered(routed, "maths", Completion(text=pack_vector([1.0, 2.0])))
    assert "fits the router anew" in caught.value.hint


@pytest.mark.parametrize("model", ["nobody/x", "openai/https://far.example/", "embed"])
def test_a_router_that_names_no_model_is_refused(model: str, routed: Profile) -> None:
    router: Any = json.loads(json.dumps(routed.router))
    router["query"]["features"]["model"] = model
    with pytest.raises(DataError, match="no known model"):
        Cascade(replace(routed, router=router), ScriptedBackend([]))


@pytest.mark.parametrize("kind", QUERY_ROUTER_KINDS)
def test_a_router_keeps_within_its_room_or_says_how_to_make_embeddings_shorter(kind: QueryRouterKind) -> None:
    rng = np.random.default_rng(0)
    vectors, scores = rng.normal(size=(60, 1536)), rng.integers(0, 2, size=(60, 2)).astype(float)
    texts = [f"question {i}" for i in range(60)]
    router = fit_router(
        kind, texts, scores, [1, 9], embeddings=vectors, embed_model="m", budget=16_000
    ).router
    assert len(json.dumps(router.to_dict())) < 16_000
    with pytest.raises(UsageError, match="takes more than 8,000 characters") as caught:
        fit_router(kind, texts, scores, [1, 9], embeddings=vectors, embed_model="m", budget=8_000)
    assert "dimensions" in caught.value.hint


def test_verify_starts_from_the_prior_of_the_class_and_bills_the_embedding(routed: Profile) -> None:
    routed, found = with_mute_votes(routed, "small"), {}
    for topic in ("maths", "poetry"):
        reply = vector_of(topic)
        backend = ScriptedBackend(lambda r, reply=reply: reply if r.embeds else decision(True))
        cascade = Cascade(routed, backend, router_policy(routed))
        check = cascade.verify(Question(text=f"{topic} river"), "an answer", routed.tiers[0], 2)
        found[topic] = asyncio.run(check)
    assert (found["maths"].confidence or 0) < 0.4 < 0.6 < (found["poetry"].confidence or 0)
    assert found["maths"].cost_usd == PRICE / 1_000


# ---------------------------------------------------------------- from a shell


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with traces, in which commands run, and a key that must not be written anywhere."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("EMBED_KEY", CANARY)
    (tmp_path / "traces.jsonl").write_text(jsonl(*rows(120)))
    return tmp_path


def with_server(here: Path, url: str, **settings: Any) -> None:
    """A profile whose tiers are simulated and whose embeddings come from an address."""
    block = {"model": "openai/embed", "api_base": url, "api_key_env": "EMBED_KEY", "price": {"input": PRICE}}
    profile_of(here, f"embedding: {json.dumps(block | settings)}\n")


def run(*args: str) -> tuple[int, str, str]:
    done = CliRunner().invoke(app, [*args], catch_exceptions=False)
    return done.exit_code, done.stdout, done.stderr


BENCH = ("bench", "traces.jsonl", "-p", "./automix.yaml", "--embed-model", "openai/embed")
KNN = ("--policies", "knn,random-mix")
CHOOSING = ("--policies", "multilabel:argmax,random-mix", "--budget", "6")


def test_bench_buys_each_embedding_once_and_its_routers_see_what_they_pay_for(here: Path) -> None:
    with Loopback() as server:
        with_server(here, server.url)
        code, out, err = run(*BENCH, *CHOOSING, "--json")
        assert code == 0, err
        assert len(server.ledger) == 120
        told = json.loads(out)
        assert run(*BENCH, *CHOOSING, "-q", "--offline")[0] == 0
        assert len(server.ledger) == 120
    routed = told["policies"]["multilabel:argmax"]
    assert "cost_weight" in routed["chosen"][0]["setting"]
    assert routed["edge"]["value"] > 5
    assert routed["router_latency"]["reason"] == "no latency is recorded"
    assert any("read embeddings of openai/embed" in note for note in told["notes"])
    kept = [*cache_folder(os.environ).iterdir(), *(p for p in here.iterdir() if p.is_file())]
    written = b"".join(path.read_bytes() for path in kept)
    assert pack_vector(default_vector(rows(1)[0]["question"])).encode() in written
    assert CANARY not in out + err
    assert CANARY.encode() not in written


def test_what_a_failing_run_has_bought_is_not_bought_again(here: Path) -> None:
    def tired(call: Call) -> Reply:
        return says(401) if call.number >= 50 else Reply()

    with Loopback(tired) as server:
        with_server(here, server.url)
        code, _, err = run(*BENCH, *KNN, "-j", "1")
        assert code == 1  # not 2: something was paid
        assert "401" in err
        assert 50 < len(server.ledger) < 55  # the last ones were in flight when the first was refused
        server.reply = lambda call: Reply()
        assert run(*BENCH, *KNN, "-q")[0] == 0
        assert len(server.delivered) == 120


def test_offline_with_a_miss_says_so_and_sends_nothing(here: Path) -> None:
    with Loopback() as server:
        with_server(here, server.url)
        code, _, err = run(*BENCH, *KNN, "--offline")
        assert (code, server.ledger) == (1, [])
    assert "openai/embed is not in the cache" in err


def test_questions_are_asked_and_embedded_within_one_budget_and_once(here: Path) -> None:
    asked = (DEMO_QUESTIONS.read_text(encoding="utf-8").splitlines())[:40]
    (here / "questions.jsonl").write_text("\n".join(asked), encoding="utf-8")
    args = ("bench", "questions.jsonl", "-p", "demo", "--embed-model", "demo/embed", *KNN, "-q")
    code, _, err = run(*args, "--max-cost", "0.0001")
    assert code == 4, err
    code, out, err = run(*args, "--max-cost", "1", "--json")
    assert code == 0, err
    assert json.loads(out)["rows"] == 40
    again, same, _ = run(*args, "--offline", "--json")
    assert again == 0
    told, before = json.loads(same), json.loads(out)
    assert told["policies"]["knn"]["quality"] == before["policies"]["knn"]["quality"]
    assert told["policies"]["knn"]["cost"] == before["policies"]["knn"]["cost"]


def test_a_dry_run_counts_embeddings_and_their_worst_cost_and_sends_nothing(here: Path) -> None:
    (here / "more.jsonl").write_text(jsonl(*rows(3), {**rows(1)[0], "id": "again"}))
    with Loopback() as server:
        with_server(here, server.url)
        code, out, err = run("bench", "more.jsonl", *BENCH[2:], "--dry-run", "--json")
        assert (code, server.ledger) == (0, []), err
    plan = json.loads(out)
    assert plan["embeddings"] == plan["worst"]["calls"] == 3
    assert 0 < plan["low"]["usd"] < plan["worst"]["usd"] < 1e-3


def test_a_budget_covers_embeddings_and_an_unknown_price_is_refused(here: Path) -> None:
    with Loopback() as server:
        with_server(here, server.url)
        code, _, err = run(*BENCH, *KNN, "--max-cost", "0.001", "-j", "1")
        assert code == 4, err
        assert 0 < len(server.ledger) < 120
        server.forget()
        with_server(here, server.url, price=None)
        code, _, err = run(*BENCH, *KNN, "--max-cost", "1")
        assert (code, server.ledger) == (2, [])
    assert "the price of openai/embed is unknown" in err
    assert "embedding: {model: openai/embed, price: {input: …}}" in err


@pytest.mark.parametrize(
    ("args", "problem"),
    [
        (
            ("bench", "traces.jsonl", "--embed-model", "demo/embed", "--policies", "threshold"),
            "looks at questions",
        ),
        (("calibrate", "traces.jsonl", "--embed-model", "demo/embed"), "looks at questions"),
        (("bench", "traces.jsonl", "--embed-model", "embed"), "unknown model"),
        ((*BENCH, *KNN, "--no-cache"), "EMBED_KEY is not set"),
    ],
)
def test_what_cannot_work_is_refused_before_anything_is_sent(
    args: tuple[str, ...], problem: str, here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("EMBED_KEY")
    with nobody() as url:
        with_server(here, url)
        code, _, err = run(*args)
    assert code == 2
    assert problem in err


def test_calibrate_stores_a_router_that_ask_feeds_with_embeddings(here: Path) -> None:
    (here / "traces.jsonl").write_text(jsonl(*rows(200)))
    with Loopback() as server:
        with_server(here, server.url)
        args = ("calibrate", "traces.jsonl", "-p", "./automix.yaml", "--cost-weight", "30", "--folds", "3")
        code, out, err = run(*args, "--query-router", "multilabel", "--embed-model", "openai/embed")
        assert code == 0, err
        assert "multilabel on embeddings of openai/embed" in out
        assert len(server.ledger) == 200
        ask = ("ask", "What is 17 * 23?", "-p", "./automix.yaml", "--ignore-stdin")
        code, out, err = run(*ask, "--json")
        assert code == 0, err
        assert len(server.ledger) == 201
        row = json.loads(out)
        step = row["route"][0]
        assert row["usage"]["calls"] == step["calls"] + 1
        assert row["cost_usd"] == pytest.approx(step["cost_usd"] + 5 * PRICE / 1e6)
        code, out, err = run(*ask, "--dry-run", "--json")
        assert json.loads(out)["low"]["calls"] == 2
        server.reply = lambda call: says(401)
        code, _, err = run("ask", "What is 18 * 23?", *ask[2:])
        assert code == 2
        assert "401" in err
