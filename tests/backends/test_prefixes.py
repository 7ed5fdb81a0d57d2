"""Marks for prefixes that a provider caches: where they are sent, and where never."""

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from calls import ask, client, complete, error_of, says, texts
from loopback import Call, Loopback, Reply
from msgspec.structs import replace

from automix_cli.backends.base import Request
from automix_cli.backends.budget import worst_cost
from automix_cli.backends.catalog import least_marked_prefix, list_price
from automix_cli.backends.prefixes import Prefixes, marked_messages, plain_messages, prefix_key
from automix_cli.prompts.messages import answer_messages, verification_messages
from automix_cli.records import Question
from automix_cli.usage import Price, Usage

SONNET = "anthropic/claude-sonnet-4-5"
DOCUMENT = "\n".join(f"Line {i} says that the harbour was counted anew in {1800 + i}." for i in range(90))


def check(
    question: str = "Who?", *, model: str = SONNET, context: str | None = DOCUMENT, n: int = 1
) -> Request:
    """The request for votes on an answer."""
    messages = verification_messages(Question(text=question, context=context), "Ana")
    return Request(model=model, messages=messages, params=(("max_tokens", 9),), n=n)


def marks(body: Any) -> list[str]:
    """The texts up to each mark in a body, wherever it stands."""
    if isinstance(body, dict):
        own = [str(body.get("text"))] if "cache_control" in body else []
        return own + [mark for value in body.values() for mark in marks(value)]
    return [mark for value in body for mark in marks(value)] if isinstance(body, list | tuple) else []


# ---------------------------------------------------------------- which models


@pytest.mark.contract
@pytest.mark.parametrize(
    ("model", "least"),
    [
        (SONNET, 1024),
        ("anthropic/claude-haiku-4-5", 4096),
        ("bedrock/anthropic.claude-sonnet-4-5-20250929-v1:0", 1024),
        ("vertex_ai/claude-sonnet-4-5", 1024),
        ("anthropic/claude-of-tomorrow", None),
        ("openrouter/anthropic/claude-sonnet-4.5", None),
        ("openai/gpt-5", None),
        ("gemini/gemini-2.5-flash", None),
        ("deepseek/deepseek-chat", None),
        ("ollama_chat/claude-like", None),
        ("demo/small", None),
    ],
)
def test_marks_are_for_models_that_cache_only_what_is_marked(model: str, least: int | None) -> None:
    assert least_marked_prefix(model) == least


# ---------------------------------------------------------------- which prefixes


def test_a_prefix_ends_with_its_context_and_is_one_for_all_questions_on_it() -> None:
    first = prefix_key(check("Who?"))
    assert first is not None
    assert first == prefix_key(check("When?", n=4))
    others = [
        check(context=f"{DOCUMENT}!"),
        check(model="anthropic/claude-opus-4-1"),
        replace(check(), api_base="x"),
    ]
    assert first not in [prefix_key(other) for other in others]


@pytest.mark.parametrize(
    "request_",
    [
        check(context=None),
        check(context="Short."),
        check(model="openai/gpt-5"),
        check(model="anthropic/claude-haiku-4-5"),
        replace(check(), embeds=True),
        Request(model=SONNET, messages=()),
        Request(model=SONNET, messages=answer_messages(Question(text=DOCUMENT), "")),
    ],
    ids=[
        "no context",
        "short",
        "other model",
        "too short for it",
        "embedding",
        "nothing",
        "no context, long",
    ],
)
def test_no_mark_where_none_pays(request_: Request) -> None:
    assert prefix_key(request_) is None
    prefixes = Prefixes()
    prefixes.note(replace(request_, n=4))
    assert prefixes.messages(request_) == plain_messages(request_.messages)


@pytest.mark.parametrize("context", [DOCUMENT, f"{DOCUMENT}\n\nQuestion:\n<<question 0>>"])
def test_a_marked_prompt_says_what_the_plain_one_says(context: str) -> None:
    request = check(context=context)
    marked, plain = marked_messages(request), plain_messages(request.messages)
    assert marked[:-1] == plain[:-1]
    head, rest = marked[-1]["content"]
    assert head["text"] + rest["text"] == plain[-1]["content"]
    assert head["text"].endswith(">>")
    assert rest["text"].startswith("\n\nQuestion:")
    assert marks(marked) == [head["text"]]


def test_a_prefix_is_marked_where_it_is_sent_again() -> None:
    prefixes = Prefixes()
    seen = []
    for request in (check("Who?"), check("When?"), check("Where?")):
        prefixes.note(request)
        seen.append(len(marks(prefixes.messages(request))))
    several = check("Who?", context=f"{DOCUMENT}!", n=2)
    prefixes.note(several)
    assert (seen, len(marks(prefixes.messages(several.part(1, 1))))) == ([0, 1, 1], 1)


@pytest.mark.parametrize("fails", [False, True])
def test_calls_with_one_marked_prefix_wait_for_the_first_of_them(fails: bool) -> None:
    prefixes, order = Prefixes(), []

    async def call(request: Request) -> None:
        async with prefixes.turn(request):
            order.append(f"{request.first} begins")
            await asyncio.sleep(0)
            order.append(f"{request.first} ends")
            if fails and not request.first:
                raise OSError

    async def main() -> None:
        whole = check(n=3)
        prefixes.note(whole)
        await asyncio.gather(*(call(whole.part(i, 1)) for i in range(3)), return_exceptions=True)
        await call(replace(check(model="openai/gpt-5"), first=3))

    asyncio.run(main())
    assert order[:2] == ["0 begins", "0 ends"]
    assert order[2:4] == ["1 begins", "2 begins"]
    assert order[6:] == ["3 begins", "3 ends"]


# ---------------------------------------------------------------- over the wire


def bodies(
    reply: Callable[[Call], Reply | str], route: str, requests: list[Request]
) -> tuple[list[list[str]], list[Any]]:
    """The marks in each body that arrived, and the outcomes."""
    seen: list[list[str]] = []

    def keep(call: Call) -> Reply | str:
        seen.append(marks({"messages": call.messages, **call.params}))
        return reply(call)

    with Loopback(keep) as server:
        base = ask(server, route)
        sent = [replace(base, messages=r.messages, params=r.params, n=r.n) for r in requests]
        outcomes = complete(*sent, backend=client(route))
    return seen, outcomes


def test_votes_on_one_document_are_sent_with_marks() -> None:
    seen, outcomes = bodies(lambda call: "Correct", f"litellm {SONNET}", [check(n=3), check("When?")])
    assert [len(m) for m in seen] == [1, 1, 1, 1]
    assert len({m[0] for m in seen}) == 1
    assert seen[0][0].endswith(">>")
    assert [len(texts(outcome)) for outcome in outcomes] == [3, 1]


@pytest.mark.parametrize("route", ["direct openai/gpt-5", "litellm openai/gpt-5", "litellm ollama_chat/m"])
def test_other_models_never_get_a_mark(route: str) -> None:
    seen, outcomes = bodies(lambda call: "Correct", route, [check(n=2), check("When?")])
    assert not any(seen)
    assert all(texts(outcome) for outcome in outcomes)


def test_a_server_that_refuses_marks_gets_none_from_then_on() -> None:
    def reply(call: Call) -> Reply | str:
        if "cache_control" in str(call.messages):
            return says(400, "messages.0.content.0.cache_control: Extra inputs are not permitted")
        return "Correct"

    seen, outcomes = bodies(reply, f"litellm {SONNET}", [check(n=2), check("When?", n=2)])
    assert [bool(m) for m in seen] == [True, False, False, False, False]
    assert [len(texts(outcome)) for outcome in outcomes] == [2, 2]


def test_a_refusal_of_something_else_is_no_refusal_of_marks() -> None:
    seen, outcomes = bodies(lambda call: says(400, "nonsense"), f"litellm {SONNET}", [check(n=2)])
    assert error_of(outcomes[0]).message
    assert all(seen)


# ---------------------------------------------------------------- what it costs


@pytest.mark.contract
def test_writing_into_a_provider_s_cache_is_charged_at_its_own_rate() -> None:
    price = list_price(SONNET)
    assert price == Price(input=3.0, output=15.0, cached_input=0.3, cache_write=3.75)
    usage = Usage(input_tokens=1000, cached_input_tokens=200, cache_write_tokens=300, output_tokens=10)
    assert price.of(usage) == pytest.approx((500 * 3 + 200 * 0.3 + 300 * 3.75 + 10 * 15) / 1e6)
    assert Price(input=3.0, output=15.0).of(usage) == pytest.approx((1000 * 3 + 10 * 15) / 1e6)


def test_the_worst_cost_counts_a_prompt_that_is_all_written() -> None:
    dear, plain, cheap = (
        worst_cost(check(), Price(input=1.0, output=0.0, cache_write=rate)) for rate in (1.25, None, 0.5)
    )
    assert dear == pytest.approx(1.25 * plain)
    assert cheap == plain


@pytest.mark.parametrize("route", ["direct openai/gpt-5", "litellm openai/gpt-5"])
def test_tokens_written_are_read_from_the_details_of_the_prompt(route: str) -> None:
    details = {"cached_tokens": 2, "cache_write_tokens": 5}
    usage = {
        "prompt_tokens": 27,
        "completion_tokens": 4,
        "total_tokens": 31,
        "prompt_tokens_details": details,
    }
    with Loopback(lambda call: Reply(texts=("a",), usage=usage)) as server:
        [done] = complete(
            ask(server, route, text="What is 2 + 2, and what is 2 + 3, if both are whole numbers?")
        )
    assert (done[0].usage.cached_input_tokens, done[0].usage.cache_write_tokens) == (2, 5)
    assert "usage_suspect" not in done[0].flags


def test_usage_with_tokens_written_adds_up_and_its_row_names_them() -> None:
    usage = Usage(input_tokens=9, cache_write_tokens=4)
    assert (usage + usage).to_dict()["cache_write_tokens"] == 8
    assert "cache_write_tokens" not in Usage(input_tokens=9).to_dict()
