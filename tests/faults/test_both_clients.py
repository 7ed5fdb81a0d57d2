"""The same rows through either client: the simulated tiers over the wire, with what servers do oddly."""

import json
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from loopback import Call, Loopback, Reply, Storm
from nursery import World, rows

from automix_cli.backends.base import Request
from automix_cli.backends.demo.generate import generate_questions
from automix_cli.backends.demo.tiers import DemoBackend
from automix_cli.records import Completion, Message

MODELS = {"tiny": "demo/small", "huge": "demo/large"}


def at_once(work: Coroutine[Any, Any, tuple[Completion, ...]]) -> tuple[Completion, ...]:
    """The result of a coroutine that waits for nothing; the server's own loop is running here."""
    try:
        work.send(None)
    except StopIteration as end:
        return end.value  # type: ignore[no-any-return]
    raise AssertionError("the simulated tiers wait for nothing")


def demo_reply(call: Call, first: int = 0) -> Reply:
    """What the simulated tier says to a prompt, and now and then a way of saying it that servers have."""
    request = Request(
        model=MODELS[call.model],
        messages=tuple(Message(m["role"], m["content"]) for m in call.messages),
        params=tuple((k, v) for k, v in call.params.items() if k in ("max_tokens", "temperature")),
        n=call.n,
        first=first,
    )
    done = at_once(DemoBackend().complete(request))
    texts: tuple[str | None, ...] = tuple(c.text for c in done)
    prompt, output = (sum(getattr(c.usage, side) for c in done) for side in ("input_tokens", "output_tokens"))
    usage: dict[str, Any] = {
        "prompt_tokens": prompt, "completion_tokens": output, "total_tokens": prompt + output,
    }  # fmt: skip
    odd = sum(map(ord, call.prompt)) % 16
    if odd == 0:
        return Reply(texts=texts, usage={})
    if odd == 1:
        return Reply(texts=tuple(f"<think>so\n</think>{text}" for text in texts), usage=usage)
    if odd == 2:
        return Reply(texts=(None, *texts[1:]), usage=usage)
    if odd == 3 and call.model == "tiny":
        return Reply(texts=texts, usage=usage, finish_reason="content_filter")
    if odd == 4:
        return Reply(texts=texts, usage=usage, finish_reason="length")
    if odd == 5:
        usage["prompt_tokens_details"] = {"cached_tokens": prompt // 2}
    if odd == 6:
        usage["completion_tokens_details"] = {"reasoning_tokens": 7}
        usage["total_tokens"] += 7
    return Reply(texts=texts, usage=usage)


def one_at_a_time(call: Call) -> Reply:
    """The same from a server that gives one choice a request, another one each time."""
    if call.n > 1:
        error = {"message": f"Field 'n': Value must be between 1 <= value <= 1, but got {call.n}"}
        return Reply(status=400, body=json.dumps({"error": {"code": 400, **error}}).encode())
    # Which of several replies that say nothing counts is left to the order of arrival: they cost alike.
    says_nothing = sum(map(ord, call.prompt)) % 16 in (2, 3)
    return demo_reply(call, first=0 if says_nothing else call.attempt)


def without(value: Any, keys: frozenset[str]) -> Any:
    """A row without these keys, at any depth."""
    if isinstance(value, dict):
        return {key: without(part, keys) for key, part in value.items() if key not in keys}
    return [without(part, keys) for part in value] if isinstance(value, list) else value


def cause(row: dict[str, Any]) -> str:
    """Why a row has no answer."""
    return f"{row['error']['type']}: {row['error']['message']}" if row["error"] else ""


def rows_of(client: str, server: Loopback, folder: Path, questions: Path, *args: str) -> list[dict[str, Any]]:
    world = World(server, folder, name=client, client=client)
    ran = world.ask(questions, *args, timeout=3600)
    assert ran.code in (0, 3), ran.err
    return rows(world.out)


class Way(NamedTuple):
    """How the server replies, which of its replies go wrong, and what two runs may differ in."""

    reply: Callable[[Call], Reply] = demo_reply
    faults: Callable[[], Storm] | None = None
    varies: frozenset[str] = frozenset({"latency_s"})


WAYS = {
    "votes by n": Way(),
    # Requests that go out side by side arrive in any order, and the server's replies with them.
    "votes one by one": Way(one_at_a_time, varies=frozenset({"latency_s", "first_vote"})),
    "storm": Way(faults=lambda: Storm(seed=4, rate=0.3)),
}


@pytest.mark.parametrize("count", [24, pytest.param(900, marks=pytest.mark.storm)])
@pytest.mark.parametrize("name", WAYS)
def test_rows_are_the_same_through_either_client(count: int, name: str, tmp_path: Path) -> None:
    way, questions = WAYS[name], tmp_path / "questions.jsonl"
    picked = generate_questions()[:count]
    questions.write_text(
        "".join(json.dumps({"id": q["id"], "question": q["question"]}) + "\n" for q in picked)
    )
    with Loopback(way.reply) as server:
        found, requests = {}, {}
        for client in ("direct", "litellm"):
            server.forget()
            # Faults go by the bytes of a body, and each client's are its own: no row may depend on them.
            server.faults = way.faults() if way.faults else None
            found[client] = rows_of(client, server, tmp_path, questions)
            requests[client] = len(server.delivered)
    assert len(found["direct"]) == count
    if way.faults is None:
        for direct, litellm in zip(found["direct"], found["litellm"], strict=True):
            assert without(direct, way.varies) == without(litellm, way.varies)
        assert requests["direct"] == requests["litellm"]
    else:
        outcomes = [[(row["id"], row["answer"], row["tier"], cause(row)) for row in found[c]] for c in found]
        assert outcomes[0] == outcomes[1]
    flags = {flag for row in found["direct"] for step in row["route"] for flag in step.get("flags", ())}
    assert {"usage_suspect", "truncated"} <= flags, "the oddities are there to be agreed upon"
    print(f"\n{count} rows, {name}: {requests['direct']} completions delivered, 0 rows differ")
