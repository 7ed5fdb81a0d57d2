"""N and R: what networks and providers do to a run, seen from the shell."""

import json
from collections import Counter
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

import nursery
import pytest
from loopback import Call, Loopback, Reply, nobody
from nursery import CANARY, World, rows
from shell import PATIENCE, until

CORRECT = "It was compared.\nVerification Decision: The AI generated answer is Correct."


@pytest.fixture
def world(world: World, request: pytest.FixtureRequest) -> World:
    """It gives up after three attempts, and calls through the client that the test names."""
    if "client" in request.fixturenames:
        world.client = request.getfixturevalue("client")
    world.write_profile(attempts=3)
    return world


def said(call: Call) -> str:
    return CORRECT if call.verifies else "fine"


def always(reply: Reply) -> Callable[[Call], Reply | str]:
    return lambda call: reply


def on_row(
    word: str, reply: Reply, *, first: int = 999, votes: bool = False
) -> Callable[[Call], Reply | str]:
    """Trouble for one question (its first so many attempts), in its answers or in its votes."""

    def choose(call: Call) -> Reply | str:
        ill = word in call.prompt and call.verifies is votes and call.attempt < first
        return reply if ill else said(call)

    return choose


class Case(NamedTuple):
    """A server's behaviour, and how a run of four rows must end.

    `timeouts` is how many attempts end only because their time is up.
    """

    reply: Callable[[Call], Reply | str]
    code: int
    failed: dict[str, int] = {}  # noqa: RUF012 (never written to)
    requests: int | None = None
    message: str = ""
    timeouts: int = 0


ILL = "What is q 2?"
QUOTA = json.dumps(
    {"error": {"message": "You exceeded your current quota", "code": "insufficient_quota"}}
).encode()

CASES = {
    "N1-429 with a time": Case(
        on_row(ILL, Reply(status=429, headers={"retry-after-ms": "200"}), first=2), 0, requests=10
    ),
    "N3-asked to wait an hour": Case(
        always(Reply(status=429, headers={"Retry-After": "3600"})), 1, message="asks to wait 3600 s"
    ),
    "N3-a time that makes no sense": Case(
        on_row(ILL, Reply(status=429, headers={"Retry-After": "soon"}), first=1), 0, requests=9
    ),
    "N4-quota": Case(always(Reply(status=429, body=QUOTA)), 1, {"quota": 4}, 1, "quota"),
    "N4-402": Case(always(Reply(status=402)), 1, {"quota": 4}, 1, "402"),
    "N5-a burst of 529": Case(on_row(ILL, Reply(status=529), first=2), 0, requests=10),
    "N6-500 always on one row": Case(on_row(ILL, Reply(status=500)), 3, {"bad_response": 1}, 9, "500"),
    "N7-400": Case(on_row(ILL, Reply(status=400)), 3, {"bad_response": 1}, 7, "400"),
    "N7-413": Case(on_row(ILL, Reply(status=413)), 3, {"context_length": 1}, 8, "413"),
    "N7-422": Case(on_row(ILL, Reply(status=422)), 3, {"bad_response": 1}, 7, "422"),
    "N7-404 for all": Case(always(Reply(status=404)), 2, {"model": 4}, 1, "404"),
    "N8-drop": Case(on_row(ILL, Reply(fault="drop"), first=1), 0, requests=9),
    "N8-reset": Case(on_row(ILL, Reply(fault="reset"), first=1), 0, requests=9),
    "N9-drip": Case(on_row(ILL, Reply(fault="drip", pace=0.3), first=1), 0, requests=9, timeouts=1),
    "N9-blanks for ever": Case(
        on_row(ILL, Reply(fault="whitespace", pace=0.1), first=1), 0, requests=9, timeouts=1
    ),
    "N10-silence on one row": Case(
        on_row(ILL, Reply(fault="hang")), 3, {"timeout": 1}, 9, f"{PATIENCE:g} s", timeouts=3
    ),
    "N13-401": Case(always(Reply(status=401)), 2, {"auth": 4}, 1, "401"),
    "N13-403": Case(always(Reply(status=403)), 2, {"auth": 4}, 1, "403"),
    "N15-200 that is an error": Case(
        on_row(ILL, Reply(body=b'{"error": {"message": "overloaded"}}'), first=2), 0
    ),
    "N15-HTML": Case(on_row(ILL, Reply(body=b"<html>log in</html>")), 3, {"bad_response": 1}, 9, "log in"),
    "N15-a stream": Case(
        on_row(ILL, Reply(body=b'data: {"choices": []}\n\ndata: [DONE]\n')), 3, {"bad_response": 1}, 9
    ),
    "N16-endless": Case(on_row(ILL, Reply(fault="endless")), 3, {"bad_response": 1}, 7, "16 MiB"),
    "R1-half a JSON": Case(on_row(ILL, Reply(fault="truncate"), first=2), 0, requests=10),
    "R2-no choices": Case(on_row(ILL, Reply(body=b'{"choices": []}')), 3, {"no_text": 1}, 10, "no text"),
    "R2-choices missing": Case(on_row(ILL, Reply(body=b"{}")), 3, {"no_text": 1}, 10, "no text"),
    "R2-message null": Case(
        on_row(ILL, Reply(body=b'{"choices": [{"message": null}]}')), 3, {"no_text": 1}, 10
    ),
    "R2-content null": Case(on_row(ILL, Reply(texts=(None,))), 3, {"no_text": 1}, 10, "no text"),
    "R2-content blank": Case(on_row(ILL, Reply(texts=(" \n",))), 3, {"no_text": 1}, 8, "no text"),
    "R3-cut before a word": Case(
        on_row(ILL, Reply(texts=("",), finish_reason="length")), 3, {"no_text": 1}, 8, "max_tokens"
    ),
    "R8-a body longer than said": Case(on_row(ILL, Reply(fault="short"), first=2), 0),
    "R8-a body shorter than said": Case(on_row(ILL, Reply(fault="long"), first=1), 0, requests=9, timeouts=1),
}


def has_rows(world: World, count: int) -> bool:
    """Whether so many rows are written, each of a question whose calls are over."""
    return world.out.exists() and world.out.read_bytes().count(b"\n") == count


def on_both(names: Iterable[str]) -> list[Any]:
    """Each case through the client of this run, and the first of each row of the matrix through LiteLLM."""
    own = [pytest.param(name, nursery.CLIENT, id=name) for name in names]
    firsts = {name.partition("-")[0]: name for name in reversed(list(names))}
    return own + [pytest.param(name, "litellm", id=f"{name}-litellm") for name in reversed(firsts.values())]


@pytest.mark.parametrize(("name", "client"), on_both(CASES))
def test_a_run_ends_as_promised_whatever_the_wire_does(name: str, client: str, world: World) -> None:
    case = CASES[name]
    world.server.reply = case.reply
    world.write_profile(attempts=3, timeout=PATIENCE)
    child = world.start("ask", "-i", world.questions(4), "-o", world.out, "--unordered", leap=2 * PATIENCE)
    for attempt in range(case.timeouts):
        until(lambda seven=7 + attempt: has_rows(world, 3) and len(world.server.calls) == seven)
        child.leap()
    ran = child.wait()
    assert ran.code == case.code, ran.err
    assert case.message in ran.err
    assert "Traceback" not in ran.err
    found = sorted(rows(world.out), key=lambda row: row["index"])
    assert Counter(r["error"]["type"] for r in found if r["error"]) == case.failed or not case.failed
    if case.code in (0, 3):
        assert [r["id"] for r in found] == ["q0", "q1", "q2", "q3"]
        assert {r["answer"] for r in found if not r["error"]} == {"fine"}
    if case.code in (1, 2):
        assert len(world.server.calls) == 1, "the first one, which the others wait for"
    elif case.requests is not None:
        assert len(world.server.calls) == case.requests
    assert {e.auth for e in world.server.calls} == {f"Bearer {CANARY}"}, (
        "the watch for the key has a key to find"
    )


COUNTED = ("R2-content null", "R2-content blank", "R3-cut before a word")
"""No text, but a usage: these were paid for, and are remembered."""


@pytest.mark.parametrize(("name", "client"), on_both([n for n in CASES if n.startswith(("R2", "R3"))]))
def test_what_is_no_answer_is_never_kept_as_one(name: str, client: str, world: World) -> None:
    world.server.reply = CASES[name].reply
    questions = world.questions(4)
    assert world.ask(questions).code == 3
    world.server.reply = said
    before = len(world.server.calls)
    if name in COUNTED:
        again = world.ask(questions, "--resume")
        assert (again.code, len(world.server.calls)) == (3, before), "nobody buys it again unasked"
        refreshing = world.ask(questions, "--refresh", "--force")
        assert (refreshing.code, rows(world.out)[2]["answer"]) == (0, "fine")
        return
    assert world.ask(questions, "--resume").code == 0
    assert len(world.server.calls) == before + 2, "the answer and its votes; all else was paid already"
    assert rows(world.out)[2]["answer"] == "fine"


BOTH = pytest.mark.parametrize("client", ["direct", "litellm"])


@pytest.mark.parametrize("text", [None, "", " \n", "Correct? No", "Verification Decision: maybe"])
def test_R2_V2_what_is_no_verdict_is_no_vote(text: str | None, world: World) -> None:
    world.server.reply = on_row(ILL, Reply(texts=(text,)), votes=True)
    assert world.ask(world.questions(4)).code in (0, 3)
    ill = rows(world.out)[2]
    assert ill["route"][0].get("votes", {"correct": 0})["correct"] == 0
    assert ill["tier"] != "small"


@BOTH
@pytest.mark.parametrize(
    ("status", "body"), [(200, None), (400, b'{"error": {"message": "flagged by content_filter"}}')]
)
def test_R4_what_a_filter_withholds_goes_to_the_next_tier_without_another_try(
    status: int, body: bytes | None, client: str, world: World
) -> None:
    refusal = Reply(status=status, body=body, texts=("",), finish_reason="content_filter")
    world.server.reply = lambda call: refusal if ILL in call.prompt and call.model == "tiny" else said(call)
    assert world.ask(world.questions(4)).code == 0
    ill = rows(world.out)[2]
    assert (ill["tier"], ill["answer"]) == ("large", "fine")
    assert (ill["route"][0]["failed"], ill["route"][0]["action"]) == ("content_filter", "escalate")
    assert sum(ILL in e.body.decode() and e.model == "tiny" for e in world.server.calls) == 1


USAGES: list[dict[str, Any]] = [
    {},
    {"prompt_tokens": -5, "completion_tokens": -5, "total_tokens": -10},
    {"prompt_tokens": "many", "completion_tokens": 1, "total_tokens": 1},
    {"prompt_tokens": 10**12, "completion_tokens": 10**12, "total_tokens": 2 * 10**12},
    {"prompt_tokens": 0, "completion_tokens": 0, "total_tokens": 0},
    {"prompt_tokens": 1.5, "completion_tokens": None, "total_tokens": 3},
    {"prompt_tokens": 5, "completion_tokens": 5, "total_tokens": 11},
]


@BOTH
@pytest.mark.parametrize("usage", USAGES, ids=lambda u: str(u.get("prompt_tokens", "missing")))
def test_R5_a_doubtful_usage_is_flagged_and_never_gives_money_back(
    usage: dict[str, Any], client: str, world: World
) -> None:
    world.server.reply = lambda call: Reply(texts=(said(call),), usage=usage)
    ran = world.ask(world.questions(16), "--max-cost", "0.03")
    found = rows(world.out)
    assert ran.code == 4
    assert len(found) == 16
    flags = {flag for row in found for step in row["route"] for flag in step.get("flags", ())}
    assert "usage_suspect" in flags
    answered = [r for r in found if r["status"] == "ok"]
    assert 0 < len(answered) < 0.03 / 0.004, "each was settled at its worst case, of over $0.004"


@BOTH
def test_R3_an_answer_that_was_cut_is_kept_and_flagged(client: str, world: World) -> None:
    world.server.reply = on_row(ILL, Reply(texts=("half an ans",), finish_reason="length"))
    assert world.ask(world.questions(4)).code == 0
    ill = rows(world.out)[2]
    assert (ill["answer"], ill["route"][0]["flags"]) == ("half an ans", ["truncated"])


NASTY = (
    "\x1b]52;c;aGk=\x07",
    "\x1b[2J",
    "[/INST][red]",
    "\u202eevil",
    "a\u2028b\u0085c",
    "nul\x00",
    "x" * 2_000_000,
)


@pytest.mark.parametrize("text", NASTY, ids=lambda t: ascii(t[:8]))
def test_R7_whatever_a_model_says_fits_one_line_and_steers_no_terminal(text: str, world: World) -> None:
    world.server.reply = lambda call: said(call) if call.verifies else text
    ran = world.ask(world.questions(2), "--explain", "--verbose")
    assert ran.code == 0, ran.err
    assert [row["answer"] for row in rows(world.out)] == [text.strip()] * 2
    assert not set("\x1b\x9b\x07\u202e\x00") & set(ran.err)
    assert not set(b"\x1b\x00\x07") & set(world.out.read_bytes())


# ---------------------------------------------------------------- endpoints


@BOTH
def test_N11_a_refused_connection_ends_the_run_at_once_with_host_and_cause(client: str, world: World) -> None:
    with nobody() as address:
        world.write_profile(address, keyed=False)
        ran = world.ask(world.questions(4))
    assert ran.code == 1
    host = address.split("/")[2]
    assert f"automix: stopped: cannot reach {host}: connection refused" in ran.err
    assert ran.err.count(f"cannot reach {host}: connection refused; trying once more\n") == 1


@BOTH
def test_N11_an_unknown_host_and_a_port_without_tls_are_told_apart(client: str, world: World) -> None:
    for address, why in (
        ("https://nowhere.invalid/v1", "nowhere.invalid: no such host"),
        (world.server.url.replace("http:", "https:"), "it hung up"),
    ):
        world.write_profile(address)
        ran = world.ask(world.questions(4), "--force")
        assert ran.code == 1
        assert why in ran.err
    assert world.server.calls == []


@pytest.mark.parametrize(
    ("status", "client"), [*((status, "direct") for status in (301, 302, 307, 308)), (307, "litellm")]
)
def test_N14_T2_a_redirect_ends_the_run_and_the_other_host_hears_nothing(
    status: int, client: str, world: World
) -> None:
    with Loopback() as other:
        world.server.reply = always(
            Reply(status=status, headers={"Location": f"{other.url}/chat/completions"})
        )
        ran = world.ask(world.questions(4))
        assert other.ledger == []
        assert other.connections == 0
    assert ran.code == 1
    assert "redirects are not followed" in ran.err
    assert len(world.server.calls) == 1


@pytest.mark.parametrize("command", ["verify", "calibrate"])
def test_N13_a_refused_key_stops_verify_and_calibrate_as_well(command: str, world: World) -> None:
    world.server.reply = always(Reply(status=401))
    path = world.folder / "labelled.jsonl"
    path.write_text(
        "".join(
            json.dumps({"id": n, "question": f"q{n}", "answer": "a", "expected": "a"}) + "\n"
            for n in range(60)
        )
    )
    args = ("-i", path) if command == "verify" else (path,)
    ran = world.run(command, *args, "-o", world.out)
    assert ran.code == 2, ran.err
    assert "401" in ran.err
    assert "export CANARY_KEY=" in ran.err
    assert len(world.server.calls) == 1
