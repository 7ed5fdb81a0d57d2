"""Reading a profile: every mistake has its line and its sentence, and no discovered file is obeyed."""

import os
import random
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from profile_files import FULL, TWO, planted, problems_of, read

from automix_cli.errors import ProfileError
from automix_cli.fitting.router_block import ROUTER_KINDS
from automix_cli.profile import yamltree
from automix_cli.profile.bundled import bundled_names, bundled_path
from automix_cli.profile.model import Limits, Task, Tier, VerificationSettings
from automix_cli.profile.read import read_profile
from automix_cli.usage import Price

# ── What a good file gives ────────────────────────────────────────────────────────────────────


def test_every_key_of_the_file_arrives_in_the_profile(folder: Path) -> None:
    p = read(FULL)
    assert p.name == "my-project"
    assert p.tiers == (
        Tier(
            name="small",
            model="openai/gpt-5-nano",
            price=Price(input=0.05, output=0.40, cached_input=0.005),
            params=(("temperature", 0.0), ("max_tokens", 512), ("stop", ("END", "\n\n"))),
            api_key_env="OPENAI_API_KEY",
            rpm=500,
        ),
        Tier(name="large", model="hosted_vllm/big", api_base="https://gpu.example/v1"),
    )
    assert p.task == Task(instruction="Be brief.", scorer="numeric", abstain_value=0.2, pass_score=1.0)
    assert p.limits == Limits(concurrency=8, timeout=30.0, attempts=2, max_cost=1.5)
    v = p.verification
    assert (v.signal, v.logprob_of, v.max_votes, v.batch) == ("logprob", "answer", 12, (2, 6))
    assert (v.temperature, v.max_tokens, v.last_tier) == (0.5, 300, True)
    assert (v.examples[0].answer, v.examples[0].correct, v.examples[0].choices) == ("5", False, ("a", "b"))
    assert p.router == {"kind": "threshold", "votes": 4, "cut": 0.5, "prior": {"01": 3.5, "00": 0}}
    assert dict(p.sources)["tiers[0].price.output"] == "p.yaml:6"


def test_a_file_that_names_two_tiers_leaves_all_else_at_its_default(folder: Path) -> None:
    p = read(TWO)
    assert (p.name, p.task, p.verification, p.limits) == ("p", Task(), VerificationSettings(), Limits())
    assert p.router is None


def test_the_effective_profile_written_as_yaml_reads_back_the_same(folder: Path) -> None:
    p = read(FULL)
    again = read("\n".join(yamltree.lines_of(p.to_dict())), name="again.yaml")
    assert again.to_dict() == p.to_dict()
    assert again.sha == p.sha


def test_lines_may_end_in_crlf_and_the_last_needs_no_newline(folder: Path) -> None:
    assert problems_of(TWO.replace("\n", "\r\n").encode().rstrip()) == []


# ── What a bad file is told ───────────────────────────────────────────────────────────────────


def with_tier(*lines: str) -> str:
    return "tiers:\n  - name: small\n" + "".join(f"    {line}\n" for line in ("model: demo/small", *lines))


def after_two(*lines: str) -> str:
    return TWO + "".join(f"{line}\n" for line in lines)


MISTAKES = {
    "the documented example": (
        "tiers:\n  - {name: a, model: demo/a}\n  - name: b\n    model: 3\n",
        "4: tiers[1].model: expected text, got 3",
    ),
    "no tiers key": ("version: 1\n", "1: needs `tiers`"),
    "no tiers": ("tiers: []\n", "1: tiers: expected 1 to 6 tiers, got none"),
    "tiers not a list": ("tiers: {a: 1}\n", "1: tiers: expected a list of at most 6, got a mapping"),
    "seven tiers": (
        "tiers:\n" + "".join(f"  - {{name: t{i}, model: demo/m{i}}}\n" for i in range(7)),
        "1: tiers: expected a list of at most 6, got 7",
    ),
    "unknown key": (after_two("teirs: 1"), "6: teirs: unknown key; did you mean tiers?"),
    "unknown key, nothing near": (
        after_two("zzz: 1"),
        "6: zzz: unknown key; known are version, name, extends, tiers, task, verification, router, "
        "embedding, limits",
    ),
    "unknown setting": (
        after_two("verification:", "  max_vote: 8"),
        "7: verification.max_vote: unknown key; did you mean max_votes?",
    ),
    "version": (after_two("version: 2"), "6: version: expected 1, the only version there is, got 2"),
    "version true": (
        after_two("version: true"),
        "6: version: expected 1, the only version there is, got true",
    ),
    "name": (
        after_two('name: "a b"'),
        '6: name: expected a name of letters, digits and . _ - (100 at most), got "a b"',
    ),
    "name empty": (
        after_two('name: ""'),
        '6: name: expected a name of letters, digits and . _ - (100 at most), got ""',
    ),
    "tier without model": ("tiers:\n  - name: a\n", "2: tiers[0]: needs `model`"),
    "tier without name": ("tiers:\n  - model: demo/a\n", "2: tiers[0]: needs `name`"),
    "tier is text": ("tiers: [openai/gpt-5]\n", '1: tiers[0]: expected a mapping, got "openai/gpt-5"'),
    "same name": (
        "tiers:\n  - {name: a, model: demo/a}\n  - {name: a, model: demo/b}\n",
        "3: tiers[1]: is named a like tiers[0]",
    ),
    "same model": (
        "tiers:\n  - {name: a, model: demo/a}\n  - {name: b, model: demo/a}\n",
        "3: tiers[1]: is the same model with the same parameters as tiers[0]",
    ),
    "dear before cheap by the profile": (
        "tiers:\n  - {name: a, model: demo/a, price: {input: 2, output: 8}}\n"
        "  - {name: b, model: demo/b, price: {input: 1, output: 8}}\n",
        "3: tiers[1]: costs less than tiers[0]: put the cheapest tier first",
    ),
    "dear before cheap by the table": (
        "tiers:\n  - {name: a, model: openai/gpt-4.1}\n  - {name: b, model: openai/gpt-4.1-mini}\n",
        "3: tiers[1]: costs less than tiers[0]: put the cheapest tier first",
    ),
    "unknown provider": (
        "tiers:\n  - {name: a, model: opnai/gpt-5}\n",
        "2: tiers[0].model: unknown provider opnai; did you mean openai?",
    ),
    "unknown bare model": (
        "tiers:\n  - {name: a, model: gpt-9000}\n",
        "2: tiers[0].model: unknown model gpt-9000: write provider/model, such as openai/gpt-9000",
    ),
    "model is an address": (
        'tiers:\n  - {name: a, model: "huggingface/https://evil.example"}\n',
        "2: tiers[0].model: expected a model such as openai/gpt-6-luna, "
        'got "huggingface/https://evil.example"',
    ),
    "model with a space": (
        'tiers:\n  - {name: a, model: "openai/gpt 5"}\n',
        '2: tiers[0].model: expected a model such as openai/gpt-6-luna, got "openai/gpt 5"',
    ),
    "model is blank": ('tiers:\n  - {name: a, model: " "}\n', '2: tiers[0].model: expected text, got " "'),
    "model is nothing": ("tiers:\n  - {name: a, model: }\n", "2: tiers[0].model: expected text, got nothing"),
    "price is a number": (with_tier("price: 3"), "4: tiers[0].price: expected a mapping, got 3"),
    "price without output": (with_tier("price: {input: 3}"), "4: tiers[0].price: needs `output`"),
    "price negative": (
        with_tier("price: {input: -1, output: 1}"),
        "4: tiers[0].price.input: expected a number from 0 to 1e+06, got -1",
    ),
    "price with a currency": (
        with_tier("price: {input: 5$, output: 1}"),
        '4: tiers[0].price.input: expected a number from 0 to 1e+06, got "5$"',
    ),
    "a key": (
        with_tier("api_key: sk-secret"),
        "4: tiers[0].api_key: "
        "a key does not belong in a file: export it and name the variable in api_key_env",
    ),
    "a client that there is not": (
        with_tier("backend: directly"),
        '4: tiers[0].backend: expected one of auto, direct, litellm, got "directly"; did you mean direct?',
    ),
    "the direct client for a provider with a protocol of its own": (
        "tiers:\n  - {name: small, model: anthropic/claude-haiku-4-5, backend: direct}\n",
        "2: tiers[0].backend: anthropic does not speak the OpenAI protocol: write litellm or auto",
    ),
    "the direct client with a parameter of Ollama's own protocol": (
        "tiers:\n  - {name: small, model: ollama_chat/m, backend: direct, params: {num_ctx: 8192}}\n",
        "2: tiers[0].backend: "
        "num_ctx is no parameter of the OpenAI protocol of ollama_chat: write litellm or auto",
    ),
    "a parameter of Ollama for another provider": (
        "tiers:\n  - {name: small, model: openai/m, params: {keep_alive: 10m}}\n",
        "2: tiers[0].params.keep_alive: is a parameter of Ollama alone",
    ),
    "a time that is none": (
        "tiers:\n  - {name: small, model: ollama_chat/m, params: {keep_alive: long}}\n",
        '2: tiers[0].params.keep_alive: expected seconds, or a time such as 10m, got "long"',
    ),
    "options of Ollama in the body": (
        "tiers:\n  - {name: small, model: ollama_chat/m, params: {extra_body: {options: {num_ctx: 1}}}}\n",
        "2: tiers[0].params.extra_body: options would replace all options of Ollama, max_tokens and "
        "temperature too: write num_ctx, keep_alive and the others into params",
    ),
    "another bound in the body": (
        "tiers:\n  - {name: small, model: openai/m, params: {extra_body: {max_tokens: 9999}}}\n",
        "2: tiers[0].params.extra_body: max_tokens cannot be set here",
    ),
    "bounds under other names in the body": (
        "tiers:\n  - {name: small, model: openai/m, params: {extra_body: {best_of: 20, num_predict: 9, "
        "extra_body: {n: 50}}}}\n",
        "2: tiers[0].params.extra_body: best_of, extra_body, num_predict cannot be set here",
    ),
    "capital options in the body": (
        "tiers:\n  - {name: small, model: openai/m, params: {extra_body: {Options: {num_ctx: 1}}}}\n",
        "2: tiers[0].params.extra_body: options would replace all options of Ollama, max_tokens and "
        "temperature too: write num_ctx, keep_alive and the others into params",
    ),
    "headers": (
        with_tier("headers: {x-api-key: secret}"),
        "4: tiers[0].headers: extra headers are not sent; name the key's variable in api_key_env",
    ),
    "api_base is a word": (
        with_tier("api_base: localhost"),
        "4: tiers[0].api_base: "
        'expected an http:// or https:// address without user, query or fragment, got "localhost"',
    ),
    "api_base holds a user": (
        with_tier("api_base: http://127.0.0.1@evil.example/v1"),
        "4: tiers[0].api_base: expected an http:// or https:// address without user, query or fragment, "
        'got "http://127.0.0.1@evil.example/v1"',
    ),
    "rpm zero": (with_tier("rpm: 0"), "4: tiers[0].rpm: expected a whole number from 1 to 10000000, got 0"),
    "unknown parameter": (
        with_tier("params: {temprature: 1}"),
        "4: tiers[0].params.temprature: unknown key; did you mean temperature?",
    ),
    "parameter of the machinery": (
        with_tier("params: {n: 4}"),
        "4: tiers[0].params.n: cannot be set here: see verification, limits and api_base",
    ),
    "parameter with an address": (
        with_tier("params: {api_base: http://x}"),
        "4: tiers[0].params.api_base: cannot be set here: see verification, limits and api_base",
    ),
    "temperature": (
        with_tier("params: {temperature: 2.5}"),
        "4: tiers[0].params.temperature: expected a number from 0 to 2, got 2.5",
    ),
    "max_tokens": (
        with_tier("params: {max_tokens: 1000000000}"),
        "4: tiers[0].params.max_tokens: expected a whole number from 1 to 1000000, got 1000000000",
    ),
    "max_tokens a float": (
        with_tier("params: {max_tokens: 10.0}"),
        "4: tiers[0].params.max_tokens: expected a whole number from 1 to 1000000, got 10.0",
    ),
    "max_tokens true": (
        with_tier("params: {max_tokens: true}"),
        "4: tiers[0].params.max_tokens: expected a whole number from 1 to 1000000, got true",
    ),
    "top_p zero": (
        with_tier("params: {top_p: 0}"),
        "4: tiers[0].params.top_p: expected a number above 0, at most 1, got 0",
    ),
    "task is text": (after_two("task: solve"), '6: task: expected a mapping, got "solve"'),
    "task is nothing": (after_two("task:"), "6: task: expected a mapping, got nothing"),
    "scorer": (
        after_two("task: {scorer: extract}"),
        "6: task.scorer: expected one of exact, numeric, choice, f1, contains, json, "
        'got "extract"; did you mean exact?',
    ),
    "instruction": (after_two("task: {instruction: 5}"), "6: task.instruction: expected text, got 5"),
    "abstain_value": (
        after_two("task: {abstain_value: 2}"),
        "6: task.abstain_value: expected a number from 0 to 1, got 2",
    ),
    "pass_score": (
        after_two("task: {pass_score: 0}"),
        "6: task.pass_score: expected a number above 0, at most 1, got 0",
    ),
    "signal": (
        after_two("verification: {signal: vote}"),
        "6: verification.signal: expected one of votes, logprob, consistency, "
        'got "vote"; did you mean votes?',
    ),
    "votes below zero": (
        after_two("verification: {max_votes: -1}"),
        "6: verification.max_votes: expected a whole number from 0 to 64, got -1",
    ),
    "a million votes": (
        after_two("verification: {max_votes: 1000000}"),
        "6: verification.max_votes: expected a whole number from 0 to 64, got 1000000",
    ),
    "two and a half votes": (
        after_two("verification: {max_votes: 2.5}"),
        "6: verification.max_votes: expected a whole number from 0 to 64, got 2.5",
    ),
    "batch falls": (
        after_two("verification: {batch: [4, 2]}"),
        "6: verification.batch: expected rising numbers of votes such as [1, 2, 4], got [4, 2]",
    ),
    "batch repeats": (
        after_two("verification: {batch: [2, 2]}"),
        "6: verification.batch: expected rising numbers of votes such as [1, 2, 4], got [2, 2]",
    ),
    "batch empty": (
        after_two("verification: {batch: []}"),
        "6: verification.batch: expected rising numbers of votes such as [1, 2, 4], got []",
    ),
    "batch of zero": (
        after_two("verification: {batch: [0, 1]}"),
        "6: verification.batch[0]: expected a whole number from 1 to 64, got 0",
    ),
    "batch too large": (
        after_two("verification: {batch: [65]}"),
        "6: verification.batch[0]: expected a whole number from 1 to 64, got 65",
    ),
    "example without reasons": (
        after_two("verification:", "  examples:", "    - {question: q, answer: a, correct: true}"),
        "8: verification.examples[0]: needs `reasons`",
    ),
    "example judged in words": (
        after_two("verification: {examples: [{question: q, answer: a, reasons: r, correct: maybe}]}"),
        '6: verification.examples[0].correct: expected true or false, got "maybe"',
    ),
    "concurrency": (
        after_two("limits: {concurrency: 0}"),
        "6: limits.concurrency: expected a whole number from 1 to 1024, got 0",
    ),
    "timeout": (
        after_two("limits: {timeout: 0}"),
        "6: limits.timeout: expected a number above 0, at most 3600, got 0",
    ),
    "attempts": (
        after_two("limits: {attempts: 21}"),
        "6: limits.attempts: expected a whole number from 1 to 20, got 21",
    ),
    "budget of nothing": (
        after_two("limits: {max_cost: 0}"),
        "6: limits.max_cost: expected a number above 0, at most 1e+06, got 0",
    ),
    "budget in dollars": (
        after_two('limits: {max_cost: "5$"}'),
        '6: limits.max_cost: expected a number above 0, at most 1e+06, got "5$"',
    ),
    "cache folder": (
        after_two("cache_dir: /tmp"),
        "6: cache_dir: unknown key; known are version, name, extends, tiers, task, "
        "verification, router, embedding, limits",
    ),
    "router without kind": (
        after_two("router: {cost_weight: 1}"),
        f"6: router.kind: expected one of {', '.join(ROUTER_KINDS)}, got nothing",
    ),
    "router of no kind": (
        after_two("router: {kind: pompd}"),
        f'6: router.kind: expected one of {", ".join(ROUTER_KINDS)}, got "pompd"; did you mean pomdp?',
    ),
    "router is a list": (after_two("router: [1]"), "6: router: expected a mapping, got a list"),
    "router with a negative count": (
        after_two("router:", "  kind: pomdp", "  prior:", '    "01": -3'),
        "9: router.prior.01: expected a count, got -3",
    ),
    "router with a negative weight": (
        after_two("router: {kind: pomdp, cost_weight: -1}"),
        "6: router.cost_weight: expected a number from 0 to 1e+12, got -1",
    ),
    "router for a tier that is not there": (
        after_two("router: {kind: always, tier: medium}"),
        "6: router.tier: expected one of small, large",
    ),
    "extends nothing": (
        after_two("extends:"),
        "6: extends: expected a bundled profile or a file, got nothing",
    ),
    "extends a typo": (
        after_two("extends: opnai"),
        "6: extends: opnai is neither a file nor bundled; did you mean openai?",
    ),
    "extends itself": (after_two("extends: p.yaml"), "6: extends: p.yaml extends itself"),
    "extends a folder": (after_two("extends: ."), "6: extends: . is neither a file nor bundled"),
}


@pytest.mark.parametrize(("text", "expected"), MISTAKES.values(), ids=MISTAKES.keys())
def test_a_mistake_is_told_with_its_line_and_key_path(folder: Path, text: str, expected: str) -> None:
    assert problems_of(text) == [f"p.yaml:{expected}"]


KEYS = [
    "sk-abcdefgh12345678",
    "gsk_abcDEF1234567890abcdef",
    "AIzaSyA1234567890abcdefghijkl",
    "A KEY",
    "1KEY",
    "x" * 101,
]


@pytest.mark.parametrize("key", KEYS)
def test_what_looks_like_a_key_is_refused_and_never_repeated(folder: Path, key: str) -> None:
    said = problems_of(with_tier(f"api_key_env: {key}"))
    assert said == [
        "p.yaml:4: tiers[0].api_key_env: expected the name of an environment variable, such as OPENAI_API_KEY"
    ]


def test_all_mistakes_are_told_at_once_each_on_its_line(folder: Path) -> None:
    text = "tires: 1\n" + with_tier("rpm: no", "price: 1") + "limits: {attempts: 0}\ntask: {scorer: f2}\n"
    lines = [re.match(r"p\.yaml:(\d+): ([^:]+):", line) for line in problems_of(text)]
    assert sorted((int(m[1]), m[2]) for m in lines if m) == [
        (1, "tires"),
        (5, "tiers[0].rpm"),
        (6, "tiers[0].price"),
        (7, "limits.attempts"),
        (8, "task.scorer"),
    ]


# ── YAML that is not what it seems ────────────────────────────────────────────────────────────

TWO_READINGS = {
    "rpm: 0755": "0755 reads differently",
    "rpm: 0x1F": "0x1F reads differently",
    "rpm: 0o17": "0o17 reads differently",
    "rpm: 1e3": "1e3 reads differently",
    "rpm: 1.0e3": "1.0e3 reads differently",
    "rpm: 1_000": "1_000 reads differently",
    "rpm: 12:30": "12:30 reads differently",
    "rpm: 12:30:45": "12:30:45 reads differently",
    "rpm: -.5": "-.5 reads differently",
    "rpm: .nan": ".nan is not a finite number",
    "rpm: -.inf": "-.inf is not a finite number",
    "rpm: 1.0e+999": "1.0e+999 is too long or too large a number",
    "name: no": "no is false to some YAML readers and text to others: write true or false, or put it in",
    "name: On": "On is true to some YAML readers and text to others: write true or false, or put it in",
    "name: 2026-11-01": "2026-11-01 reads differently",
    "name: =": "= reads differently",
}


@pytest.mark.parametrize(("line", "told"), TWO_READINGS.items(), ids=TWO_READINGS.keys())
def test_a_scalar_that_yaml_versions_read_differently_is_refused_where_it_stands(
    folder: Path, line: str, told: str
) -> None:
    key = line.partition(":")[0]
    text = f"version: 1\n{line}\n{TWO}" if key == "name" else with_tier(line)
    where = "2: name" if key == "name" else "4: tiers[0].rpm"
    (said,) = problems_of(text)
    assert said.startswith(f"p.yaml:{where}: {told}")


@pytest.mark.parametrize("word", ["no", "0755", "1e3", "12:30", "null", "2026-11-01", "<<"])
def test_in_quotes_any_scalar_is_text(folder: Path, word: str) -> None:
    assert read(f'{TWO}task: {{instruction: "{word}"}}\n').task.instruction == word


BOMBS = {
    "merge keys": (b"a: &a {x: 1}\nb: &b\n  <<: [*a, *a]\n", "1: a: anchors and aliases (& and *) are not"),
    "an alias alone": (b"a: *b\n", "1: a: anchors and aliases"),
    "an anchor at the root": (b"&a [*a]\n", "1: anchors and aliases"),
    "an anchored key": (b"&a b: 1\n", "1: a key is plain text"),
    "a merge key without anchor": (b"tiers: {<<: {a: 1}}\n", "1: tiers: merge keys (<<) are not allowed"),
    "a python tag": (b"a: !!python/object/apply:os.system [id]\n", "1: a: tags (!) are not allowed"),
    "a harmless tag": (b"a: !!str 5\n", "1: a: tags (!) are not allowed"),
    "a custom tag": (b"a:\n  - !env HOME\n", "2: a[0]: tags (!) are not allowed"),
    "a directive": (b"%YAML 1.1\n---\na: 1\n", "1: has a % directive"),
    "two documents": (b"a: 1\n---\nb: 1\n", "2: starts a second document"),
    "nesting in brackets": (b"[" * 3000, "1: " + "[0]" * 20 + ": is nested more than 20 deep"),
    "nesting in braces": (b"{a: " * 3000, "1: " + ".".join("a" * 20) + ": is nested more than 20 deep"),
    "nesting in dashes": (b"- " * 3000, "1: " + "[0]" * 20 + ": is nested more than 20 deep"),
    "a complex key": (b"? [a]\n: b\n", "1: a key is plain text"),
    "one byte too many": (b"#" * 65537, "1: a profile holds at most 64 KiB"),
    "a duplicate key": (b"tiers: 1\nname: a\ntiers: 2\n", "3: tiers: stands here twice, first on line 1"),
    "a boolean key": (b"on: 1\n", "1: the key on needs quotes"),
    "a number as key": (b"1: 1\n", "1: the key 1 needs quotes"),
    "an empty file": (b"", "1: expected a mapping with `tiers`, got nothing"),
    "only comments": (b"# nothing\n\n", "1: expected a mapping with `tiers`, got nothing"),
    "a list": (b"- a\n", "1: expected a mapping with `tiers`, got a list"),
    "a word": (b"hello\n", '1: expected a mapping with `tiers`, got "hello"'),
    "a tab": (b"tiers:\n\t- a\n", "2: is not valid YAML: a tab cannot indent: use spaces"),
    "an open bracket": (
        b"tiers: [\n",
        "2: is not valid YAML: the text ends too early: a bracket is not closed",
    ),
    "a bracket and a key": (b"a: [1, 2\nb: 3\n", "2: is not valid YAML: the [ of line 1 is not closed"),
    "brackets that differ": (
        b"a: {b: 1]\n",
        "1: is not valid YAML: the { of line 1 is not closed, or a comma",
    ),
    "two commas": (b"a: [1,,2]\n", "1: is not valid YAML: a comma has nothing before it"),
    "a character kept for YAML": (
        b"a: @b\n",
        "1: is not valid YAML: a text cannot start with @, ` or %: put",
    ),
    "two colons": (
        b"a: b: c\n",
        "1: is not valid YAML: a text that holds a colon and a blank needs quotes",
    ),
    "a tab between words": (b"a: 1\nb:\t2\n", "2: is not valid YAML: a tab cannot stand here: use a space"),
    "a tab behind a value": (b"a: 1\t\nb: 2\n", "1: is not valid YAML: a tab cannot stand here: use a space"),
    "a question in brackets": (b"a: [so?]\n", "1: is not valid YAML: put a text that holds a ? in quotes"),
    "a comment at once": (b"a: |# b\n  c\n", "1: is not valid YAML: after | or > stands nothing else"),
    "only a closing bracket": (b"tiers: ]\n", "1: is not valid YAML: the ] closes nothing: its [ is missing"),
    "only a closing brace": (b"a: 1\nb: }\n", "2: is not valid YAML: the } closes nothing: its { is missing"),
    "a bracket too many": (b"a: [1, 2]]\n", "1: is not valid YAML: the ] closes nothing: its [ is missing"),
    "a bracket inside": (b"a: [{b: ]\n", "1: is not valid YAML: the { of line 1 is not closed by this ]"),
    "a deeper line": (b"a: 1\n  b: 2\n", "2: is not valid YAML: this line continues the value above it"),
    "a deeper key": (b'a: "1"\n  b: 2\n', "2: is not valid YAML: this line is indented deeper than the one"),
    "a deeper item": (b"a:\n  - {b: 1}\n   - {b: 2}\n", "3: is not valid YAML: this line is indented deeper"),
    "an item further left": (b"a:\n  - b\n - c\n", "3: is not valid YAML: the indentation fits none"),
    "a key further left": (b"  a: 1\nb: 2\n", "2: is not valid YAML: this line stands further left than the"),
    "a key among items": (b"a:\n  - b\n  c: d\n", "3: is not valid YAML: a key stands where a list goes on"),
    "an item among keys": (b"a: b\n- c\n", "2: is not valid YAML: a list item stands where a mapping goes"),
    "a block text that is none": (b"a: >\nb\n", "2: is not valid YAML: the text after | or > is indented"),
    "a key on two lines": (b'"a\n b": c\n', "1: is not valid YAML: a key stands on one line"),
    "a key without its colon": (b"a:b\nc: d\n", "1: is not valid YAML: expected `key: value`"),
    "a long key": (b"a" * 1025 + b": 1\n", "1: is not valid YAML: a key has at most 1,024 characters"),
    "no key": (b": a\n", "1: is not valid YAML: no key stands before the colon"),
    "a line between": (b"a:\n    b: 1\n  c: 2\n", "3: is not valid YAML: the indentation fits none"),
    "an item behind a key": (b"a: - 1\n", "1: is not valid YAML: no list item can start here"),
    "no colon": (b"a: 1\nb\nc: 2\n", "2: is not valid YAML: expected `key: value`"),
    "a text behind quotes": (b'a: "b" c\n', "1: is not valid YAML: something stands behind a complete value"),
    "no escape": (b'a: "\\q"\n', "1: is not valid YAML: no such escape in YAML: write \\\\ for a backslash"),
    "half an escape": (b'a: "\\xZZ"\n', "1: is not valid YAML: no such escape in YAML"),
    "an odd block text": (b"a: |x\n  b\n", "1: is not valid YAML: after | or > stands nothing else"),
    "half an anchor": (b"a: &\n", "1: is not valid YAML: anchors and aliases (& and *) are not allowed"),
    "half a tag": (b"a: !<\n", "1: is not valid YAML: tags (!) are not allowed"),
    "an unknown tag": (b"a: !b!c 1\n", "1: is not valid YAML: tags (!) are not allowed"),
    "another YAML": (b"%YAML 3.0\n---\na: 1\n", "1: is not valid YAML: has a % directive"),
    "an end": (b"a: 1\n...\nb: 2\n", "3: is not valid YAML: something stands behind the end of the document"),
    "nesting by indentation": (
        b"".join(b" " * i + b"a:\n" for i in range(300)),
        "21: " + ".".join("a" * 20) + ": is nested more than 20 deep",
    ),
    "an open quote": (b'name: "a\n', '2: is not valid YAML: the quote " of line 1 is not closed'),
    "UTF-8 with a mark": (b"\xef\xbb\xbfversion: 1\n", "1: starts with a byte order mark"),
    "UTF-16": ("version: 1\n".encode("utf-16"), "1: starts with a byte order mark"),
    "Latin-1": (b"a: 1\nb: caf\xe9\n", "2: is not UTF-8 text"),
    "NUL": (b"a: 1\nb: \x00\n", "2: holds the character U+0000"),
    "ESC": (b"a: \x1b]52;c;x\n", "1: holds the character U+001B"),
    "a line separator": ("a: 1\n# x\u2028b: 2\n".encode(), "2: holds the character U+2028"),
    "half a pair": (b'name: "\\ud800"\n', "1: "),
}


@pytest.fixture(params=["libyaml", "python"])
def parser(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """PyYAML with its C parser, and as it is installed where there is no compiler."""
    import yaml

    if request.param == "python":
        monkeypatch.setattr(yaml, "CSafeLoader", yaml.SafeLoader, raising=False)


@pytest.mark.contract
@pytest.mark.usefixtures("parser")
@pytest.mark.parametrize(("data", "told"), BOMBS.values(), ids=BOMBS.keys())
def test_a_file_that_is_not_one_small_plain_document_is_refused_where_it_goes_wrong(
    folder: Path, data: bytes, told: str
) -> None:
    said = problems_of(data)
    assert any(line.startswith(f"p.yaml:{told}") for line in said), said


PIECES = (
    *("a", "b: c", "a: 1", "- x", "- ", "\t", " ", "  ", "\n", "\n", "\r\n", ":", ": "),
    *("{", "}", "[", "]", ",", ", ", "'", '"', "#", " # c", "|", ">", "|-", "---", "..."),
    *("&x", "*x", "!t", "%", "@", "`", "?", "? ", "\\n", "a:b", "http://x", '"q"', "'q'"),
    *("tiers:", "  - {a: b}", "key:", "\n  ", "\n   "),
)


@pytest.mark.contract
def test_both_parsers_read_the_same_or_refuse_in_the_same_words(monkeypatch: pytest.MonkeyPatch) -> None:
    import yaml

    dice = random.Random(3)
    texts = ["".join(dice.choices(PIECES, k=dice.randrange(1, 9))).encode() for _ in range(3000)]
    fast = [yamltree.parse(text) for text in texts]
    monkeypatch.setattr(yaml, "CSafeLoader", yaml.SafeLoader)
    for text, (tree, problems) in zip(texts, fast, strict=True):
        other_tree, other_problems = yamltree.parse(text)
        assert bool(problems) == bool(other_problems), text
        if not problems:
            assert tree.plain() == other_tree.plain(), text
            if isinstance(tree.value, dict) and len(tree.value) > 1:
                yamltree.put_block(text.decode(), "router", ["router: null"])
        elif "tag" not in problems[-1].message and "anchor" not in problems[-1].message:
            assert problems == other_problems, text


@pytest.mark.parametrize(
    ("kind", "told"),
    [
        ("YAMLError", "1: is not valid YAML: it cannot be read (PyYAML: other words)"),
        ("MarkedYAMLError", "2: is not valid YAML: a tab cannot indent: use spaces"),
        ("ScannerError", "2: is not valid YAML: a tab cannot indent: use spaces"),
    ],
)
def test_a_refusal_does_not_repeat_the_words_of_the_parser(
    folder: Path, monkeypatch: pytest.MonkeyPatch, kind: str, told: str
) -> None:
    import yaml

    def parse(text: str, Loader: object) -> Iterator[object]:
        yield yaml.StreamStartEvent()
        mark = yaml.Mark("", 3, 1, 0, None, 0)
        error = getattr(yaml, kind, None) or type(kind, (yaml.MarkedYAMLError,), {})
        raise error("other words") if kind == "YAMLError" else error(None, mark, "other words", mark)

    monkeypatch.setattr(yaml, "parse", parse)
    assert problems_of("a:\n\tb: 1\n") == [f"p.yaml:{told}"]


def test_the_largest_file_allowed_is_read(folder: Path) -> None:
    text = TWO.encode()
    assert problems_of(text + b"#" * (yamltree.MAX_BYTES - len(text))) == []


def test_what_a_file_says_cannot_steer_the_terminal(folder: Path) -> None:
    (said,) = problems_of(f'{TWO}"\\e]0;evil\\a": 1\n')
    assert said.startswith("p.yaml:6: \\x1b]0;evil\\x07: unknown key")


def test_a_flood_of_problems_is_cut(folder: Path) -> None:
    said = problems_of("".join(f"k{i}: 1\n" for i in range(4000)) + f"{'x' * 1000}: 1\n")
    assert (len(said), said[-1]) == (51, "… and 3952 more")
    (said,) = problems_of(f"{TWO}{'x' * 1000}: 1\n")
    assert len(said) == 501


def test_no_damage_to_a_file_gives_anything_but_a_profile_or_its_problems(folder: Path) -> None:
    """Lines lost, doubled and swapped, values exchanged, bytes flipped; found and named."""
    dice = random.Random(11)
    values = [
        "no",
        "{}",
        "[]",
        "null",
        "3",
        "-1",
        "x",
        "[[1]]",
        "{a: {b: c}}",
        "1e3",
        '"\\0"',
        "&a x",
        "true",
    ]
    Path("base.yaml").write_text("limits: no\ntask: [1]\n")
    refused = 0
    for _ in range(600):
        lines = ("extends: base.yaml\n" * dice.randrange(2) + FULL).splitlines(keepends=True)
        for _ in range(dice.randrange(1, 4)):
            i = dice.randrange(len(lines))
            cut, doubled, swapped = dice.random() < 0.3, dice.random() < 0.2, dice.random() < 0.7
            if swapped:
                lines[i] = re.sub(r"(?<=: )[^,}{\n]+", lambda m: dice.choice([*values, m[0]]), lines[i])
            lines[i : i + 1] = [] if cut and len(lines) > 1 else [lines[i]] * (1 + doubled)
        data = bytearray("".join(lines).encode())
        if dice.random() < 0.3 and data:
            data[dice.randrange(len(data))] = dice.randrange(256)
        refused += bool(problems_of(bytes(data), trusted=dice.random() < 0.5))
    assert 400 < refused < 600


def test_a_folder_or_a_missing_file_is_no_profile(folder: Path) -> None:
    for path, reason in ((folder, "Is a directory"), (folder / "x.yaml", "No such file or directory")):
        with pytest.raises(ProfileError, match=f"cannot be read: {reason}"):
            read_profile(path, trusted=True, origin="named")


# ── extends ───────────────────────────────────────────────────────────────────────────────────


def test_settings_are_merged_key_by_key_and_tiers_are_replaced_whole(folder: Path) -> None:
    Path("base.yaml").write_text(
        TWO + "name: base\ntask: {scorer: f1, pass_score: 0.7}\nlimits: {attempts: 3}\n"
    )
    p = read(
        "extends: base.yaml\ntask: {scorer: exact}\nlimits: {timeout: 5}\n"
        "tiers: [{name: only, model: demo/only}]\n"
    )
    assert (p.name, [t.name for t in p.tiers]) == ("p", ["only"])
    assert p.task == Task(scorer="exact", pass_score=0.7)
    assert p.limits == Limits(attempts=3, timeout=5)


def test_a_value_knows_the_file_it_came_from(folder: Path) -> None:
    Path("base.yaml").write_text(TWO + "task: {pass_score: 0.7}\n")
    places = dict(read("extends: base.yaml\ntask:\n  scorer: f1\n").sources)
    assert places["task.scorer"] == "p.yaml:3"
    assert places["task.pass_score"] == "base.yaml:6"
    assert places["tiers[1].model"] == "base.yaml:5"


def test_a_mistake_in_an_extended_file_is_told_in_that_file(folder: Path) -> None:
    Path("base.yaml").write_text(TWO + "limits: {attempts: 99}\n")
    (said,) = problems_of("extends: base.yaml\n")
    assert said.startswith("base.yaml:6: limits.attempts: expected")


def test_files_that_extend_each_other_are_refused_and_not_followed_forever(folder: Path) -> None:
    Path("base.yaml").write_text("extends: p.yaml\n" + TWO)
    assert problems_of("extends: base.yaml\n") == ["base.yaml:1: extends: p.yaml extends itself"]


def test_new_tiers_do_not_inherit_the_router_of_the_old(folder: Path) -> None:
    Path("base.yaml").write_text(TWO + "router: {kind: always, tier: small}\n")
    assert read("extends: base.yaml\nlimits: {attempts: 2}\n").router == {"kind": "always", "tier": "small"}
    assert read("extends: base.yaml\ntiers: [{name: x, model: demo/x}]\n").router is None
    assert read("extends: base.yaml\nrouter: null\n").router is None


def test_a_router_replaces_the_inherited_one_whole(folder: Path) -> None:
    Path("base.yaml").write_text(TWO + "router: {kind: pomdp, cost_weight: 3}\n")
    assert read("extends: base.yaml\nrouter: {kind: threshold}\n").router == {"kind": "threshold"}


def test_a_named_file_may_extend_one_in_another_folder(folder: Path) -> None:
    Path("sub").mkdir()
    Path("base.yaml").write_text(TWO)
    assert len(read("extends: ../base.yaml\n", name="sub/p.yaml").tiers) == 2


# ── A file that was only found ────────────────────────────────────────────────────────────────

ELSEWHERE = [
    "https://evil.example/v1",
    "http://127.0.0.1.evil.example",
    "http://localhost.evil.example:80",
    "http://10.0.0.1",
    "http://0.0.0.0:80",
    "http://2130706433",
    "http://127.1",
    "http://[::2]",
]
FOREIGN = {
    **{
        base: (
            f'tiers: [{{name: a, model: openai/x, api_base: "{base}"}}]',
            "api_base: may name this machine only",
        )
        for base in ELSEWHERE
    },
    "another provider's key": (
        "tiers: [{name: a, model: openai/x, api_key_env: ANTHROPIC_API_KEY}]",
        "api_key_env: may only be the provider's own variable",
    ),
    "any secret at all": (
        "tiers: [{name: a, model: openai/x, api_key_env: AWS_SECRET_ACCESS_KEY}]",
        "api_key_env: may only be the provider's own variable",
    ),
    "a key for a local server": (
        "tiers: [{name: a, model: ollama/x, api_key_env: OPENAI_API_KEY}]",
        "api_key_env: may only be the provider's own variable",
    ),
    "the provider's key to a port of this machine": (
        'tiers: [{name: a, model: openai/x, api_key_env: OPENAI_API_KEY, api_base: "http://127.0.0.1:9"}]',
        "api_key_env: may not stand beside an api_base",
    ),
    "a cloud's secret to a port of this machine": (
        'tiers: [{name: a, model: openai/x, api_key_env: AWS_SECRET_KEY, api_base: "http://127.0.0.1:9"}]',
        "api_key_env: may not stand beside an api_base",
    ),
    "another provider's key to a port of this machine": (
        'tiers: [{name: a, model: ollama/x, api_key_env: ANTHROPIC_API_KEY, api_base: "http://[::1]:9"}]',
        "api_key_env: may not stand beside an api_base",
    ),
    "a free body": (
        "tiers: [{name: a, model: openai/x, params: {extra_body: {models: [dear]}}}]",
        "extra_body: is not allowed",
    ),
    "more concurrency": (TWO + "limits: {concurrency: 17}", "concurrency: may not be raised above 16"),
    "more patience": (TWO + "limits: {timeout: 61}", "timeout: may not be raised above 60"),
    "more attempts": (TWO + "limits: {attempts: 7}", "attempts: may not be raised above 6"),
    "a file elsewhere": (
        "extends: ../p.yaml\n" + TWO,
        "extends: may name a bundled profile or a file in the same folder only",
    ),
    "an absolute file": (
        "extends: /etc/passwd\n" + TWO,
        "extends: may name a bundled profile or a file in the same folder only",
    ),
    "a file at home": (
        "extends: ~/.ssh/id_rsa\n" + TWO,
        "extends: may name a bundled profile or a file in the same folder only",
    ),
}


@pytest.mark.parametrize(("text", "told"), FOREIGN.values(), ids=FOREIGN.keys())
def test_a_found_file_may_not_redirect_keys_or_prompts_nor_raise_limits(
    folder: Path, text: str, told: str
) -> None:
    Path("automix.yaml").write_text(text)
    with pytest.raises(ProfileError) as refused:
        read_profile(Path("automix.yaml"), trusted=False, origin="discovered")
    first = refused.value.message.splitlines()[0]
    assert first.startswith(("automix.yaml:1:", "automix.yaml:6:"))
    assert first.endswith(f"{told}, in a profile that was found rather than named")
    assert refused.value.hint == "if you trust this file, name it: --profile ./automix.yaml"


@pytest.mark.parametrize(
    "text",
    [
        'tiers: [{name: a, model: openai/x, api_base: "http://localhost:8000/v1"}]',
        'tiers: [{name: a, model: openai/x, api_base: "http://127.8.9.1"}]',
        'tiers: [{name: a, model: openai/x, api_base: "http://[::1]:8000"}]',
        "tiers: [{name: a, model: openai/x, api_key_env: OPENAI_API_KEY}]",
        "tiers: [{name: a, model: gemini/x, api_key_env: GOOGLE_API_KEY}]",
        TWO + "limits: {concurrency: 16, timeout: 1, attempts: 1, max_cost: 5}",
        TWO + "limits: {max_cost: null}",
        TWO + "task: {instruction: Anything.}\nrouter: {kind: always, tier: large}",
        "extends: openai",
        "extends: openai-compatible",
    ],
)
def test_a_found_file_may_name_tiers_prompts_prices_routers_and_lower_limits(folder: Path, text: str) -> None:
    assert problems_of(text, trusted=False) == []


def test_the_same_file_may_say_it_all_when_it_is_named(folder: Path) -> None:
    text = 'tiers: [{name: a, model: openai/x, api_base: "https://gw.example", api_key_env: GW_KEY}]'
    assert problems_of(text + "\nlimits: {concurrency: 500}\n") == []


PATHS = [
    "../p.yaml",
    "../../etc/passwd",
    "/etc/passwd",
    "~/.ssh/id_rsa",
    "~root/.bashrc",
    "./base.yaml",
    "sub/base.yaml",
    "sub/../base.yaml",
    "..",
    ".",
    "/dev/zero",
    "file:///etc/passwd",
    "base.yaml/",
    "a\\0b",
    "link.yaml",
    "pipe.yaml",
]


@pytest.mark.parametrize("name", PATHS)
def test_a_found_file_reaches_nothing_outside_its_folder(folder: Path, name: str) -> None:
    secret = planted(folder, "secret.yaml", text="secret: " + "s3cr3t" * 3)
    home = folder / "a" / "b"
    planted(home, "base.yaml")
    planted(home, "sub", "base.yaml")
    (home / "link.yaml").symlink_to(secret)
    os.mkfifo(home / "pipe.yaml")
    planted(home, "automix.yaml", text=f'extends: "{name}"\n')
    with pytest.raises(ProfileError) as refused:
        read_profile(home / "automix.yaml", trusted=False, origin="discovered")
    assert "s3cr3t" not in refused.value.message


def test_a_key_is_not_sent_in_the_clear_to_another_machine(folder: Path) -> None:
    text = "tiers:\n  - name: a\n    model: hosted_vllm/x\n    api_base: http://gpu.example/v1\n"
    assert problems_of(text + "    api_key_env: GPU_KEY\n") == [
        "p.yaml:4: tiers[0].api_base: would send the key in the clear: use https://"
    ]
    assert problems_of(text) == []
    assert problems_of(text.replace("http:", "https:") + "    api_key_env: GPU_KEY\n") == []
    assert problems_of(text.replace("gpu.example", "localhost:1") + "    api_key_env: GPU_KEY\n") == []


def test_what_a_found_file_extends_is_under_the_same_rule(folder: Path) -> None:
    Path("base.yaml").write_text('tiers: [{name: a, model: openai/x, api_base: "https://evil.example"}]\n')
    (said,) = problems_of("extends: base.yaml\n", trusted=False)
    assert said.startswith("base.yaml:1: tiers[0].api_base: may name this machine only")


def test_a_found_file_lowers_limits_from_what_it_extends(folder: Path) -> None:
    Path("base.yaml").write_text(TWO + "limits: {max_cost: 5, attempts: 2}\n")
    for limits, told in (
        ("max_cost: null", "limits.max_cost: may not be raised above 5"),
        ("max_cost: 6", "limits.max_cost: may not be raised above 5"),
        ("attempts: 3", "limits.attempts: may not be raised above 2"),
    ):
        (said,) = problems_of(f"extends: base.yaml\nlimits: {{{limits}}}\n", trusted=False)
        assert said.startswith(f"p.yaml:2: {told}")
    assert problems_of("extends: base.yaml\nlimits: {max_cost: 4}\n", trusted=False) == []


def test_a_found_file_that_others_could_have_written_is_not_used(folder: Path) -> None:
    path = Path("automix.yaml")
    path.write_text(TWO)
    path.chmod(0o666)
    assert problems_by_finding(path) == "can be written by everybody"
    path.chmod(0o644)
    path.rename("real.yaml")
    path.symlink_to("real.yaml")
    assert problems_by_finding(path) == "is a symbolic link"
    path.unlink()
    os.mkfifo(path)
    assert problems_by_finding(path) == "is not a regular file"


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file away")
def test_a_found_file_of_another_user_is_not_used(folder: Path) -> None:
    path = Path("automix.yaml")
    path.write_text(TWO)
    os.chown(path, 65534, 65534)
    assert problems_by_finding(path) == "belongs to another user"
    assert len(read_profile(path, trusted=True, origin="named").tiers) == 2


def problems_by_finding(path: Path) -> str:
    with pytest.raises(ProfileError) as refused:
        read_profile(path, trusted=False, origin="discovered")
    assert refused.value.hint == f"if you trust this file, name it: --profile ./{path}"
    return refused.value.message.removeprefix(f"{path}: ").removesuffix(", so it is not used unasked")


# ── The reader and its two parsers ────────────────────────────────────────────────────────────


def test_both_parsers_of_yaml_give_the_same_tree(monkeypatch: pytest.MonkeyPatch) -> None:
    import yaml

    files = [bundled_path(name).read_bytes() for name in bundled_names()] + [FULL.encode()]
    native = [yamltree.parse(data) for data in files]
    monkeypatch.setattr(yaml, "CSafeLoader", yaml.SafeLoader, raising=False)
    assert [yamltree.parse(data) for data in files] == native


def test_what_is_plain_to_us_is_the_same_to_pyyaml() -> None:
    import yaml

    for word in (
        "8",
        "-1",
        "+2",
        "0",
        "0.5",
        "5.",
        ".5",
        "1.0e+3",
        "true",
        "FALSE",
        "null",
        "~",
        "a b",
        "gpt-5.4",
        "y",
    ):
        assert yamltree.plain_value(word) == yaml.safe_load(word), word
        assert type(yamltree.plain_value(word)) is type(yaml.safe_load(word)), word
