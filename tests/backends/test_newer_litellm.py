"""A LiteLLM that does not exist yet: what it does differently ends in an answer or in an error row.

A small stand-in package is planted before the real one. It refuses, raises and warns in ways that no
release does so far; `automix ask` runs over it in a child, as people run it.
"""

import contextlib
import functools
import re
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from fork_server import PRELOAD, ForkServer
from shell import COMMAND, ROOT, Ran, automix, environment, jsonl

STAND_IN = {
    "__init__.py": """
import asyncio, atexit, logging, os, sys, threading, warnings
from types import SimpleNamespace as Space
from . import exceptions
from .exceptions import *

CASE = os.environ["STAND_IN"]
if CASE == "warns when imported":
    warnings.warn("this release is the last", FutureWarning)
    warnings.warn("whoever imports this is to blame", DeprecationWarning, stacklevel=2)

def talk(when):
    print("print", when)
    print("print to stderr", when, file=sys.stderr)
    sys.stdout.buffer.write(b"bytes\\n")
    logging.getLogger("a.library.beneath").error("record %s", when)
    logging.getLogger("asyncio").error("record of asyncio %s, key %s", when, os.environ["OPENAI_API_KEY"])

if CASE == "prints and logs":
    logging.getLogger("litellm").addHandler(logging.StreamHandler())
    logging.basicConfig(level=logging.DEBUG)
    talk("when imported")
    atexit.register(talk, "at the exit")

class ModelResponse:
    pass

def get_supported_openai_params(model, custom_llm_provider=None):
    return ["temperature", "top_p", "max_tokens", "n"]

def token_counter(model, text):
    return len(text.split())

def register_model(table):
    pass

def answer(n, text="Paris"):
    message = Space(content=text)
    usage = Space(prompt_tokens=9, completion_tokens=2 * n, total_tokens=9 + 2 * n)
    return Space(choices=[Space(message=message, finish_reason="stop")] * n, usage=usage)

REFUSALS = {
    "refuses in new words": "Sampling controls are fixed for this model",
    "refuses by another name": "field `Temperature` was retired",
}

REPLIES = {
    "replies with nothing": None,
    "replies with a mapping": {"choices": []},
    "replies without a message": Space(choices=[Space(message=None, finish_reason="stop")], usage=None),
}

async def acompletion(**arguments):
    if CASE == "warns when called":
        for level in range(1, 9):
            warnings.warn("schema is odd", UserWarning, stacklevel=level)
        logging.getLogger("litellm.new_module").warning("look at this")
    if CASE == "prints and logs":
        talk("when called")
        threading.Thread(target=talk, args=("in a thread",)).start()
    if CASE in REFUSALS and "temperature" in arguments:
        raise exceptions.BadRequestError(REFUSALS[CASE], 400)
    if CASE == "refuses in a new class" and "temperature" in arguments:
        raise exceptions.ParameterRetiredError("temperature is no parameter of this model")
    if CASE in exceptions.RAISED:
        raise exceptions.RAISED[CASE]
    if CASE == "cancels its own call":
        raise asyncio.CancelledError
    if CASE in REPLIES:
        return REPLIES[CASE]
    return answer(arguments.get("n", 1))
""",
    "exceptions.py": """
class OpenAIError(Exception):
    pass

class APIError(OpenAIError):
    def __init__(self, message, status_code=None):
        super().__init__(message)
        if status_code:
            self.status_code = status_code

class BadRequestError(APIError): pass
class AuthenticationError(APIError): pass
class RateLimitError(APIError): pass
class ParameterRetiredError(OpenAIError): pass
class StoredCredentialError(AuthenticationError): pass
class RegionError(Exception): pass
class Unprintable(BadRequestError):
    def __str__(self):
        return self.no_such_field

class Hostile(RegionError):
    @property
    def status_code(self):
        raise RuntimeError("ask again later")

def with_status(status):
    error = RegionError("not served from here")
    error.status_code = status
    return error

RAISED = {
    "a new class of a known base": StoredCredentialError("the stored credential is gone"),
    "a new class with a status": with_status(404),
    "a new class with a word": with_status("403"),
    "a new class, and nothing else": RegionError("not served from here"),
    "a new class that cannot be printed": Unprintable("odd", 400),
    "a group of errors": ExceptionGroup("several", [RegionError("not served from here")]),
    "a new class whose status cannot be read": Hostile("odd"),
}
""",
    "llms/__init__.py": "",
    "llms/custom_httpx/__init__.py": "",
    "llms/custom_httpx/http_handler.py": """
import os
import httpx

class AsyncHTTPHandler:
    def __init__(self, timeout=None):
        self.client = httpx.AsyncClient(verify=False)  # reading certificates takes a while

    async def close(self):
        if os.environ["STAND_IN"] == "cannot be closed":
            raise RuntimeError("closed already")
        await self.client.aclose()
""",
}

PROFILE = """
version: 1
name: planted
tiers:
  - name: small
    model: hosted_vllm/small
    backend: litellm
    api_base: http://127.0.0.1:9/v1
    params: {temperature: 0.5}
  - name: large
    model: hosted_vllm/large
    backend: litellm
    api_base: http://127.0.0.1:9/v1
    params: {temperature: 0.5}
limits: {attempts: 1}
router: {kind: majority}
"""


OURS = re.compile(
    r"profile planted is uncalibrated|price: \{input: 0\.1, output: 0\.4\} under a tier"
    r"|\$[0-9.]+ per 1,000 questions at list price|[0-9]+ rows: "
    r"|  [0-9]+ × |hosted_vllm/(small|large) refuses temperature"
    r"|automix: stopped: |  the rows written so far are complete$"
    r"|  correct hosted_vllm/small or its api_base: |  name the key's variable: api_key_env$"
)


class Outcome(NamedTuple):
    """What a case is to end in: an exit code, the kind of error in the row, a note on stderr."""

    code: int = 0
    kind: str | None = None
    note: str | None = None


REFUSED = Outcome(note="refuses temperature: it samples in its own way")
CASES = {
    "nothing new": Outcome(),
    "warns when imported": Outcome(),
    "warns when called": Outcome(),
    "prints and logs": Outcome(),
    "cannot be closed": Outcome(),
    "refuses in new words": REFUSED,
    "refuses by another name": REFUSED,
    "refuses in a new class": REFUSED,
    "a new class of a known base": Outcome(2, "auth"),  # nothing was paid: as a missing key
    "a new class with a status": Outcome(2, "model"),
    "a new class with a word": Outcome(2, "auth"),
    "a new class, and nothing else": Outcome(3, "bad_response"),
    "a new class that cannot be printed": Outcome(3, "bad_response"),
    "a group of errors": Outcome(3, "bad_response"),
    "a new class whose status cannot be read": Outcome(3, "bad_response"),
    "cancels its own call": Outcome(3, "bad_response"),
    "replies with nothing": Outcome(3, "bad_response"),
    "replies with a mapping": Outcome(3, "bad_response"),
    "replies without a message": Outcome(3, "bad_response"),
}


@pytest.fixture(scope="module")
def planted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the stand-in package and a profile."""
    folder = tmp_path_factory.mktemp("newer")
    for name, text in STAND_IN.items():
        path = folder / "litellm" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    (folder / "planted.yaml").write_text(PROFILE)
    return folder


KEY = "sk-0123456789abcdefghij"
Run = Callable[..., Ran]


@pytest.fixture(scope="module")
def run(planted: Path) -> Iterator[Run]:
    """Runs a case in a copy of a Python that finds the stand-in first and has imported no LiteLLM."""
    with contextlib.ExitStack() as stack:

        @functools.cache
        def server(warn: str) -> ForkServer:
            address, command = planted / warn, planted / f"automix-{warn}"
            own = (*PRELOAD, "httpx", "anyio._backends._asyncio")  # which the stand-in imports
            return stack.enter_context(ForkServer(address, command, own, path=str(planted), warnings=warn))

        def run(case: str, *before: str, warn: str = "error", stdin: str | None = None) -> Ran:
            env = {"STAND_IN": case, "OPENAI_API_KEY": KEY}
            profile = ("--profile", str(planted / "planted.yaml"))
            command = (str(server(warn).command),)
            return automix(*before, "ask", *profile, "--no-cache", stdin=stdin, env=env, command=command)

        yield run


@pytest.mark.parametrize(("case", "outcome"), CASES.items(), ids=CASES)
@pytest.mark.parametrize("warn", ["error", "always"])
def test_a_newer_litellm_gives_an_answer_or_a_typed_error_row(
    run: Run, case: str, outcome: Outcome, warn: str
) -> None:
    questions = [{"id": "a", "question": "Who?"}, {"id": "b", "question": "Where?"}]
    ran = run(case, stdin=jsonl(*questions), warn=warn)
    assert ran.code == outcome.code, ran.err
    assert ran.rows
    for row in ran.rows:
        error: dict[str, Any] | None = row.get("error")
        assert (error["type"] if error else None) == outcome.kind, row
        assert bool(row.get("answer")) == (outcome.kind is None)
    assert not [line for line in ran.err.splitlines() if not OURS.match(line)]
    assert (outcome.note or "") in ran.err


def test_what_libraries_say_is_shown_to_who_debugs_without_keys(run: Run) -> None:
    ran = run("prints and logs", "--debug", stdin=jsonl({"question": "Who?"}))
    assert [row["answer"] for row in ran.rows] == ["Paris"]
    for word in ("print", "print to stderr", "ERROR:a.library.beneath:record"):
        for when in ("when imported", "when called", "in a thread", "at the exit"):
            assert f"{word} {when}\n" in ran.err
    assert "key [key]" in ran.err
    assert KEY not in ran.err


PROGRAM = """
import asyncio, logging, sys, warnings
from automix_cli.api import Runtime, CallOptions, choose_profile

logging.basicConfig(stream=sys.stdout, format="%(name)s: %(message)s")
streams, handlers = (sys.stdout, sys.stderr), logging.getLogger("LiteLLM").handlers
options = CallOptions(profile=sys.argv[1], no_cache=True)
from automix_cli.records import Question
answer = Runtime(choose_profile(options), options).run(lambda cascade: cascade.answer(Question(text="Who?")))
print("answer", answer.answer)
logging.getLogger("LiteLLM").warning("heard")
logging.getLogger("the.program").warning("heard")
assert streams == (sys.stdout, sys.stderr)
try:
    warnings.warn("mine", UserWarning)
except UserWarning:
    print("the warning is still an error")
"""


def test_a_program_that_uses_the_package_keeps_its_streams_loggers_and_warnings(planted: Path) -> None:
    env = {"PYTHONPATH": f"{planted}:{ROOT}", "STAND_IN": "warns when called"}
    command = [COMMAND[0], "-W", "error", "-c", PROGRAM, str(planted / "planted.yaml")]
    ran = subprocess.run(command, capture_output=True, env=environment(**env), text=True, check=False)
    assert "litellm.new_module: look at this\n" in ran.stdout
    assert ran.stdout.splitlines()[-4:] == [
        "answer Paris",
        "LiteLLM: heard",
        "the.program: heard",
        "the warning is still an error",
    ], ran.stderr
