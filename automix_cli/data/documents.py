"""JSON documents that hold rows: a list, SQuAD, results of promptfoo, logs of Inspect.

Each is recognised by its own keys. What such a tool recorded of one model is kept under `answer`, for
`verify`; promptfoo's results of several providers become traces, one tier a provider.
"""

from __future__ import annotations

import io
import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from automix_cli.errors import DataError
from automix_cli.records import Json
from automix_cli.texts import TIER_NAME, count_of

_INSPECT = "inspect_ai.sample"
PROMPTFOO = "promptfoo.result"


def rows_of_document(document: Json, name: str, say: Callable[[str], None] = lambda text: None) -> list[Json]:
    """The rows of a JSON document; `say` takes a note on what is not read.

    Raises:
        DataError: naming the file, that it holds none, or several lists that may be meant.
    """
    if isinstance(document, dict):
        rows = _rows_of_object(document, name)
    elif isinstance(document, list):
        rows = document
    else:
        raise DataError(f"{name}: expected a list of rows, or an object that holds one")
    if rows and all(map(is_promptfoo, rows)):
        return promptfoo_rows(rows, say)
    return rows


def _rows_of_object(document: Mapping[str, Json], name: str) -> list[Json]:
    """The rows that an object holds under one of its keys, or the object as the only row."""
    if _KEYS_OF_A_ROW & document.keys():
        return [dict(document)]
    results = document.get("results")
    if isinstance(results, dict) and isinstance(results.get("results"), list):
        return list(results["results"])
    if isinstance(document.get("eval"), dict) and isinstance(document.get("samples"), list):
        return inspect_rows(document["samples"])
    data = document.get("data")
    if isinstance(data, list) and data and all(isinstance(a, dict) and "paragraphs" in a for a in data):
        return list(_squad_rows(data))
    lists = {key: v for key, v in document.items() if isinstance(v, list) and v and isinstance(v[0], dict)}
    if len(lists) == 1:
        return list(next(iter(lists.values())))
    if len(lists) > 1:
        raise DataError(
            f"{name}: several keys hold lists: {', '.join(lists)}",
            hint=f"jq -c '.{next(iter(lists))}[]' {name} > rows.jsonl",
        )
    return [dict(document)]


_KEYS_OF_A_ROW = frozenset(
    {"question", "messages", "prompt", "instruction", "input", "query", "body", "tiers", "schema"}
)


# ---------------------------------------------------------------- SQuAD


def _squad_rows(articles: Sequence[Json]) -> Iterator[Json]:
    """The questions of SQuAD's articles; one without an answer in the text expects nothing."""
    for article in articles:
        for paragraph in article["paragraphs"]:
            for qa in paragraph.get("qas", ()):
                texts = [answer.get("text") for answer in qa.get("answers") or ()]
                row = {key: qa[key] for key in ("id", "question") if key in qa}
                row |= {"context": paragraph.get("context"), "expected": list(dict.fromkeys(texts))}
                yield {**row, "metadata": {"title": article.get("title")}}


# ---------------------------------------------------------------- Inspect


def rows_of_archive(content: bytes, name: str) -> list[Json]:
    """The rows of an Inspect log in its binary form, a zip archive with one file a sample.

    Raises:
        DataError: it is none, or packed in a way that this Python cannot unpack.
    """
    import zipfile  # imported here because few files need it, and every command reads rows

    try:
        archive = zipfile.ZipFile(io.BytesIO(content))
        samples = [i for i in archive.infolist() if re.fullmatch(r"samples/.+\.json", i.filename)]
        return inspect_rows([json.loads(archive.read(i), parse_constant=lambda c: None) for i in samples])
    except NotImplementedError:
        hint = f"inspect log convert {name} --to json --output-dir ."
        raise DataError(
            f"{name}: is packed with Zstandard, which Python reads from 3.14 on", hint=hint
        ) from None
    except (zipfile.BadZipFile, ValueError, RecursionError) as exc:
        raise DataError(f"{name}: is no log of Inspect: {exc}") from exc


def inspect_rows(samples: Sequence[Json]) -> list[Json]:
    """The samples of an Inspect log as rows; of repeated ones (epochs) the first."""
    return [_inspect_row(s) for s in samples if isinstance(s, dict) and s.get("epoch", 1) == 1]


def _inspect_row(sample: Mapping[str, Json]) -> Json:
    """A sample as a row: `answer` is what the model said."""
    row: dict[str, Json] = {"schema": _INSPECT, "id": sample.get("id")}
    row["messages" if isinstance(sample.get("input"), list) else "question"] = sample.get("input")
    row |= {"expected": sample.get("target") or None, "choices": sample.get("choices") or None}
    choices = (sample.get("output") or {}).get("choices") or [{}]
    row |= {"answer": _content((choices[0].get("message") or {}).get("content"))}
    return {**row, "metadata": sample.get("metadata") or None}


def _content(content: Json) -> Json:
    """The text of a message of Inspect, whose content may come in parts."""
    if not isinstance(content, list):
        return content
    return "\n".join(str(part["text"]) for part in content if isinstance(part, dict) and part.get("text"))


# ---------------------------------------------------------------- promptfoo


def is_promptfoo(row: Json) -> bool:
    """Whether a row is one result of promptfoo."""
    return isinstance(row, dict) and {"testIdx", "promptIdx", "testCase"} <= row.keys()


def promptfoo_rows(
    results: Sequence[Mapping[str, Json]], say: Callable[[str], None] = lambda text: None
) -> list[Json]:
    """The results of promptfoo as rows: of one provider questions, of several traces.

    `say` takes a note on rows whose assertions are templates that the row's variables do not fill.
    """
    questions: dict[tuple[Json, str], dict[str, Mapping[str, Json]]] = {}
    for result in results:
        key = (result["testIdx"], _prompt_of(result))
        questions.setdefault(key, {}).setdefault(_provider(result), result)
    per_test: dict[Json, int] = {}
    rows: list[Json] = []
    templates: list[str] = []
    n_providers = len({_provider(result) for result in results})
    for (test, prompt), own in questions.items():
        nth = per_test[test] = per_test.get(test, 0) + 1
        row = _promptfoo_question(next(iter(own.values())), prompt, templates)
        row["id"] = f"{test}" if nth == 1 else f"{test}.{nth}"
        if n_providers > 1:
            row["tiers"] = {name: _promptfoo_step(result) for name, result in own.items()}
        else:
            row["answer"] = _promptfoo_step(next(iter(own.values()))).get("answer")
        rows.append(row)
    if templates:
        say(
            f"note: {count_of(len(templates), 'row')} of {len(rows):,} without a label: the row's variables "
            f"do not fill the assertion {templates[0]!r:.60}"
        )
    return rows


def _prompt_of(result: Mapping[str, Json]) -> str:
    """The prompt as it was sent."""
    prompt = result.get("prompt")
    raw = prompt.get("raw") if isinstance(prompt, dict) else prompt
    return raw if isinstance(raw, str) else json.dumps(raw)


def _provider(result: Mapping[str, Json]) -> str:
    """The name of a provider as that of a tier."""
    provider = result.get("provider")
    own = provider if isinstance(provider, dict) else {"id": provider}
    name = re.sub(r"[^A-Za-z0-9._:/@+-]", "-", str(own.get("label") or own.get("id") or "provider"))[:100]
    return name if TIER_NAME.fullmatch(name) else f"p{name}"[:100]


def _promptfoo_question(result: Mapping[str, Json], prompt: str, templates: list[str]) -> dict[str, Json]:
    """What a result asks, and what its assertions expect; `templates` gets a template that names no text."""
    row: dict[str, Json] = {"schema": PROMPTFOO, "id": ""}
    try:
        messages = json.loads(prompt) if prompt.lstrip().startswith("[") else None
    except ValueError:
        messages = None
    row |= {"question": prompt} if not isinstance(messages, list) else {"messages": messages}
    test = result.get("testCase") or {}
    names = result.get("vars") or test.get("vars") or None
    texts = _texts_of_assertions(test.get("assert") or ())
    labels = [own for text in texts if (own := _fill(text, names)) is not None]
    if texts and not labels:
        templates.append(str(texts[0]))
    return {**row, "expected": labels or None, "metadata": names}


_PLACE = re.compile(r"\{\{\s*([A-Za-z_]\w*)\s*\}\}")


def _fill(text: Json, variables: Json) -> Json:
    """An expected text with the test's variables for `{{name}}`; None where that does not fill it.

    Example:
        >>> _fill("{{ town }}!", {"town": "Rome"}), _fill("{{ town | upper }}", {"town": "Rome"})
        ('Rome!', None)
    """
    if not isinstance(text, str):
        return text
    values = variables if isinstance(variables, dict) else {}
    names = set(_PLACE.findall(text))
    plain = all(isinstance(values.get(n), str | int | float) for n in names)
    if not plain or re.search(r"\{\{|\{%", _PLACE.sub("", text)):
        return None
    return _PLACE.sub(lambda match: str(values[match[1]]), text)


_TEXT_ASSERTIONS = ("equals", "iequals", "contains", "icontains", "contains-any", "icontains-any", "similar")


def _texts_of_assertions(assertions: Sequence[Json]) -> list[Json]:
    """The texts that assertions compare with; those that run code or ask a model name none."""
    texts: list[Json] = []
    for own in (
        a for a in assertions if isinstance(a, dict) and a.get("type") in (*_TEXT_ASSERTIONS, "factuality")
    ):
        value = own.get("value")
        values = value if isinstance(value, list) else [value]
        texts += [v for v in values if isinstance(v, str | int | float) and not isinstance(v, bool)]
    return texts


def _promptfoo_step(result: Mapping[str, Json]) -> dict[str, Json]:
    """What a provider did: its answer, the score of its assertions, cost, tokens and latency."""
    response: Mapping[str, Any] = result.get("response") or {}
    output, usage = response.get("output", result.get("output")), response.get("tokenUsage") or {}
    step: dict[str, Json] = {
        "cost": result.get("cost", response.get("cost")),
        "input_tokens": usage.get("prompt"),
        "output_tokens": usage.get("completion"),
        "latency": None if result.get("latencyMs") is None else result["latencyMs"] / 1000,
    }
    if output is None or result.get("failureReason") == 2:  # 2: the call failed, not an assertion
        return {**{key: v for key, v in step.items() if v is not None}, "failed": True}
    step["answer"] = output if isinstance(output, str) else json.dumps(output, ensure_ascii=False)
    score = result.get("score")
    if (result.get("testCase") or {}).get("assert") and isinstance(score, int | float) and 0 <= score <= 1:
        step["score"] = float(score)
    return {key: v for key, v in step.items() if v is not None}
