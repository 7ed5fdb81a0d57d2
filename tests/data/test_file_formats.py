"""Files as people have them: each loads as it is, or by the one option that the message prints."""

import json
import shlex
from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from typing import Any
from zipfile import ZipFile

import pytest

from automix_cli.data.labelled import read_data
from automix_cli.data.sources import Rows, read_rows
from automix_cli.errors import DataError, UsageError
from automix_cli.records import Question

ASKED, RIGHT = "What is 17 * 23?", "391"
BRIEF = {"role": "system", "content": "Be brief."}
USER = {"role": "user", "content": ASKED}
INSPECT_SAMPLE = {
    "id": "a",
    "epoch": 1,
    "input": ASKED,
    "target": RIGHT,
    "messages": [{"role": "user", "content": ASKED}, {"role": "assistant", "content": "390"}],
    "output": {"model": "mockllm/model", "choices": [{"message": {"role": "assistant", "content": "390"}}]},
    "scores": {"match": {"value": "I", "answer": "390"}},
    "metadata": {"topic": "sums"},
}
INSPECT_LOG = {
    "version": 2,
    "status": "success",
    "eval": {"task": "task", "model": "mockllm/model"},
    "plan": {"steps": []},
    "samples": [INSPECT_SAMPLE, {**INSPECT_SAMPLE, "epoch": 2}],
}


def promptfoo_result(provider: str, output: str | None, score: float, cost: float) -> dict[str, Any]:
    """As `promptfoo eval -o results.json` writes it, without the keys that repeat others."""
    return {
        "cost": cost,
        "failureReason": 2 if output is None else int(score < 1),
        "latencyMs": 46,
        "prompt": {"raw": f"Answer shortly: {ASKED}", "label": "Answer shortly: {{question}}", "config": {}},
        "promptIdx": 0,
        "provider": {"id": f"custom:{provider}", "label": provider},
        "response": {
            "output": output,
            "tokenUsage": {"total": 12, "prompt": 9, "completion": 3},
            "cost": cost,
        },
        "score": score,
        "success": score == 1,
        "testCase": {"vars": {"question": ASKED}, "assert": [{"type": "icontains", "value": RIGHT}]},
        "testIdx": 0,
        "vars": {"question": ASKED},
    }


def promptfoo(*results: dict[str, Any]) -> dict[str, Any]:
    return {
        "evalId": "eval-1",
        "results": {"version": 3, "prompts": [{"raw": "x"}], "results": list(results)},
    }


SQUAD = {
    "version": "1.1",
    "data": [
        {
            "title": "Sums",
            "paragraphs": [
                {
                    "context": "17 * 23 is 391.",
                    "qas": [
                        {
                            "id": "a",
                            "question": ASKED,
                            "answers": [
                                {"text": RIGHT, "answer_start": 11},
                                {"text": RIGHT, "answer_start": 11},
                            ],
                        }
                    ],
                }
            ],
        }
    ],
}


def lines(*rows: Any) -> bytes:
    return "".join(json.dumps(row) + "\n" for row in rows).encode()


def document(value: Any) -> bytes:
    return json.dumps(value, indent=1).encode()


def parquet(*rows: Any) -> bytes:
    import pyarrow
    from pyarrow.parquet import write_table

    sink = BytesIO()
    write_table(pyarrow.Table.from_pylist(list(rows)), sink)
    return sink.getvalue()


def archive(samples: list[dict[str, Any]]) -> bytes:
    sink = BytesIO()
    with ZipFile(sink, "w") as file:
        file.writestr("header.json", "{}")
        for sample in samples:
            file.writestr(f"samples/{sample['id']}_epoch_{sample['epoch']}.json", json.dumps(sample))
    return sink.getvalue()


AS_IT_IS: dict[str, tuple[str, Callable[[], bytes]]] = {
    "squad": ("s.json", lambda: document(SQUAD)),
    "squad, a row a line": (
        "s.jsonl",
        lambda: lines(
            {"id": "a", "question": ASKED, "answers": {"text": [RIGHT, RIGHT], "answer_start": [11, 11]}}
        ),
    ),
    "gsm8k": (
        "g.jsonl",
        lambda: lines({"question": ASKED, "answer": f"<<17*20=340>>340\nand 51\n#### {RIGHT}"}),
    ),
    "truthfulqa": ("t.csv", lambda: f"Type,Question,Best Answer\nAdversarial,{ASKED},{RIGHT}\n".encode()),
    "question and expected": ("q.csv", lambda: f"question,expected\n{ASKED},{RIGHT}\n".encode()),
    "fine-tuning": (
        "f.jsonl",
        lambda: lines({"messages": [BRIEF, USER, {"role": "assistant", "content": RIGHT}]}),
    ),
    "input and target": ("i.jsonl", lambda: lines({"input": ASKED, "target": RIGHT})),
    "input and ideal": ("i.jsonl", lambda: lines({"input": [BRIEF, USER], "ideal": [RIGHT]})),
    "promptfoo": (
        "r.json",
        lambda: json.dumps(promptfoo(promptfoo_result("small", "390", 0, 0.001))).encode(),
    ),
    "inspect": ("log.json", lambda: document(INSPECT_LOG)),
    "inspect, binary": ("log.eval", lambda: archive([INSPECT_SAMPLE, {**INSPECT_SAMPLE, "epoch": 2}])),
    "a list": ("l.json", lambda: document([{"Prompt": ASKED, "Label": RIGHT}])),
    "a list under a key": (
        "k.json",
        lambda: json.dumps({"n": 1, "rows": [{"query": ASKED, "gold": RIGHT}]}).encode(),
    ),
    "lines in a .json": (
        "l.json",
        lambda: lines(*[{"id": i, "input": ASKED, "output": RIGHT} for i in "ab"]),
    ),
    "tabs": ("t.tsv", lambda: f"question\tanswer\n{ASKED}\t{RIGHT}\n".encode()),
    "parquet": (
        "p.parquet",
        lambda: parquet({"question": ASKED, "answers": {"text": [RIGHT]}, "n": float("nan")}),
    ),
    "mark, semicolons, blanks": (
        "e.csv",
        lambda: f"\ufeffQuestion;Best_answer\n;\n{ASKED};{RIGHT}\n".encode(),
    ),
    "utf-16": ("u.csv", lambda: f"question\texpected\n{ASKED}\t{RIGHT}\n".encode("utf-16")),
    "a separator line": ("s.csv", lambda: f"sep=|\nquestion|expected\n{ASKED}|{RIGHT}\n".encode()),
    "pandas' index": ("p.csv", lambda: f",question,answer\n0,{ASKED},{RIGHT}\n".encode()),
}


def asked_of(question: Question) -> tuple[str, tuple[str, ...]]:
    return question.text.removeprefix("Answer shortly: "), question.expected


def rows_in(path: Path, columns: str | None = None) -> Rows:
    rows = read_rows(path, columns=columns, say=lambda text: None)
    assert rows is not None
    rows.check(strict=False)
    return rows


@pytest.mark.parametrize(("name", "content"), AS_IT_IS.values(), ids=AS_IT_IS)
def test_a_file_of_this_shape_loads_as_it_is_for_every_command(
    name: str, content: Callable[[], bytes], tmp_path: Path
) -> None:
    path = tmp_path / name
    path.write_bytes(content())
    labelled = read_data(path).labelled_questions(None)
    assert {asked_of(q) for q in labelled} == {(ASKED, (RIGHT,))}
    assert [row.question for row in rows_in(path).all()] == labelled


def test_openai_s_batch_files_load_with_their_messages(tmp_path: Path) -> None:
    chat = {"model": "m", "messages": [BRIEF, USER]}
    responses = {"model": "m", "instructions": "Be brief.", "input": ASKED}
    path = tmp_path / "batch.jsonl"
    path.write_bytes(lines({"custom_id": "r1", "body": chat}, {"custom_id": "r2", "body": responses}))
    for question, ident in zip(read_data(path).questions(), ("r1", "r2"), strict=True):
        assert (question.text, question.id, question.history[0].content) == (ASKED, ident, "Be brief.")


def test_the_output_of_a_batch_is_refused_with_the_file_to_give(tmp_path: Path) -> None:
    body = {"choices": [{"index": 0, "message": {"role": "assistant", "content": RIGHT}}]}
    answered = {"response": {"status_code": 200, "request_id": "r", "body": body}, "error": None}
    failed = {"response": None, "error": {"code": "batch_expired", "message": "too late"}}
    for own in (answered, failed):
        path = tmp_path / "out.jsonl"
        path.write_bytes(lines({"id": "batch_req_1", "custom_id": "r1", **own}))
        for read in (lambda own: read_data(own).questions(), rows_in):
            with pytest.raises(DataError, match="batch holds answers without their questions") as refused:
                read(path)
            assert "give the batch's input file" in refused.value.hint
            assert "--columns" not in refused.value.hint


def test_a_request_of_a_batch_may_say_what_is_right(tmp_path: Path) -> None:
    path = tmp_path / "requests.jsonl"
    row = {"custom_id": "r1", "body": {"model": "m", "messages": [USER]}, "expected": RIGHT}
    path.write_bytes(lines(row))
    assert [asked_of(q) for q in read_data(path).labelled_questions(None)] == [(ASKED, (RIGHT,))]


def test_several_providers_of_promptfoo_are_tiers(tmp_path: Path) -> None:
    results = [
        promptfoo_result("small", "390", 0, 0.001),
        promptfoo_result("large", RIGHT, 1, 0.003),
        {**promptfoo_result("small", None, 0, 0), "testIdx": 1},
        {**promptfoo_result("large", RIGHT, 1, 0.003), "testIdx": 1},
    ]
    (tmp_path / "r.json").write_text(json.dumps(promptfoo(*results)))
    (tmp_path / "r.jsonl").write_bytes(lines(*results))
    for name in ("r.json", "r.jsonl"):
        data = read_data(tmp_path / name)
        assert data.holds_traces()
        first, second = (row for _, row in data.numbered_rows())
        step = {
            "answer": "390",
            "score": 0.0,
            "cost": 0.001,
            "input_tokens": 9,
            "output_tokens": 3,
            "latency": 0.046,
        }
        assert (first["id"], first["expected"], first["tiers"]["small"]) == ("0", [RIGHT], step)
        assert second["tiers"]["small"]["failed"] is True
        assert second["tiers"]["large"]["score"] == 1.0


@pytest.mark.parametrize(
    ("template", "variables", "expected", "notes"),
    [
        ("{{expected}}", {"expected": RIGHT}, [RIGHT], []),
        ("It is {{ n }}.", {"n": 486}, ["It is 486."], []),
        (
            "{{expected}}",
            {"other": "x"},
            None,
            ["{{expected}}"],
        ),
        (
            "{{n | upper}}",
            {"n": "x"},
            None,
            ["{{n | upper}}"],
        ),
    ],
)
def test_templates_of_assertions_are_filled_from_the_variables_or_are_no_label(
    template: str, variables: dict[str, Any], expected: list[str] | None, notes: list[str], tmp_path: Path
) -> None:
    result = {**promptfoo_result("small", "390", 0, 0.001), "vars": variables}
    result["testCase"] = {"assert": [{"type": "equals", "value": template}]}
    (tmp_path / "r.jsonl").write_bytes(lines(result))
    said: list[str] = []
    rows = [row for _, row in read_data(tmp_path / "r.jsonl", say=said.append).numbered_rows()]
    assert rows[0]["expected"] == expected
    note = "note: 1 row of 1 without a label: the row's variables do not fill the assertion"
    assert said == [f"{note} {own!r}" for own in notes]


@pytest.mark.parametrize(
    ("name", "text", "columns", "line"),
    [
        (
            "a.csv",
            "Type,Question,Best Answer\nsum,What is 396 + 90?,486\n",
            None,
            'read: question=Question, expected=Best Answer; first: "What is 396 + 90?" → "486"',
        ),
        (
            "a.jsonl",
            '{"problem": {"de": "2 + 2?\\n\\u001b[2J"}, "n": 4}\n',
            "question=problem.de,expected=n",
            'read: question=problem.de, expected=n; first: "2 + 2?\\n\\u001b[2J" → "4"',
        ),
        (
            "a.jsonl",
            '{"messages": [{"role": "user", "content": "%s"}]}\n' % ("x" * 90),
            None,
            f'read: question=messages, no expected; first: "{"x" * 59}…"',
        ),
    ],
)
def test_the_line_on_how_a_file_is_read_names_columns_and_the_first_pair(
    name: str, text: str, columns: str | None, line: str, tmp_path: Path
) -> None:
    (tmp_path / name).write_text(text)
    assert read_data(tmp_path / name, columns).reading_line() == line


def test_what_a_tool_recorded_of_a_model_is_an_answer_and_no_label(tmp_path: Path) -> None:
    unlabelled = {**INSPECT_LOG, "samples": [{**INSPECT_SAMPLE, "target": ""}]}
    path = tmp_path / "log.json"
    path.write_text(json.dumps(unlabelled))
    [(_, row)] = read_data(path).numbered_rows()
    assert row["answer"] == "390"
    with pytest.raises(DataError, match='have no "expected"'):
        read_data(path).labelled_questions(None)


def test_rows_of_promptfoo_without_a_right_answer_are_told_which_assertions_hold_one(tmp_path: Path) -> None:
    result = promptfoo_result("small", "390", 0, 0.001)
    result["testCase"] = {"assert": [{"type": "javascript", "value": "true"}]}
    path = tmp_path / "results.json"
    path.write_text(json.dumps(promptfoo(result)))
    with pytest.raises(DataError) as refusal:
        read_data(path).labelled_questions(None)
    first, second, *_ = refusal.value.hint.splitlines()
    assert first == "--columns expected=COLUMN   names the column that holds them"
    assert second.startswith("equals, contains and the like among promptfoo's assertions")


# ---------------------------------------------------------------- by an option


MAPPED = {
    "nested": ({"problem": ASKED, "solution": {"text": RIGHT}}, "question=problem,expected=solution.text"),
    "in a list": ({"q_text": ASKED, "golds": [{"answer": RIGHT}]}, "question=q_text,expected=golds.answer"),
    "blanks": ({"user message": ASKED, "correct one": RIGHT}, "question=user message,expected=correct one"),
    "one of two": ({"question": ASKED, "correct option": RIGHT}, "expected=correct option"),
    "a comma": ({"question": ASKED, "correct, short": RIGHT}, '"expected=correct, short"'),
}


@pytest.mark.parametrize(("row", "option"), MAPPED.values(), ids=MAPPED)
def test_a_file_with_other_names_loads_by_the_option_that_the_message_prints(
    row: dict[str, Any], option: str, tmp_path: Path
) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_bytes(lines(row))
    with pytest.raises(DataError) as refusal:
        read_data(path).labelled_questions(None)
    assert refusal.value.hint.startswith(f"--columns {shlex.quote(option)}")
    [question] = read_data(path, option).labelled_questions(None)
    assert asked_of(question) == (ASKED, (RIGHT,))
    [row_read] = rows_in(path, option).all()
    assert row_read.question == question


def test_the_message_names_the_columns_before_anything_is_sent(tmp_path: Path) -> None:
    path = tmp_path / "rows.csv"
    path.write_text("a,b\n1,2\n3,4\n")
    with pytest.raises(
        DataError, match="question: expected text, got nothing; the columns are a, b"
    ) as refusal:
        rows_in(path)
    assert refusal.value.hint == "--columns question=COLUMN,expected=COLUMN"


@pytest.mark.parametrize(
    ("columns", "said"),
    [
        ("question=prblem", "no column 'prblem'; did you mean problem"),
        ("small.score=problem", "and no tiers"),
    ],
)
def test_a_mapping_of_columns_that_are_not_there_is_refused(columns: str, said: str, tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_bytes(lines({"problem": ASKED}))
    with pytest.raises((UsageError, DataError), match=said):
        rows_in(path, columns)


def test_a_mapping_leads_into_lists(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_bytes(lines({"p": ASKED, "r": [{"t": "390"}, {"t": RIGHT}], "o": ["390", RIGHT]}))
    [question] = read_data(path, "question=p,expected=r.1.t,choices=o").questions()
    assert (question.expected, question.choices) == ((RIGHT,), ("390", RIGHT))


# ---------------------------------------------------------------- tables


def test_cells_stay_text_and_empty_ones_are_none(tmp_path: Path) -> None:
    path = tmp_path / "rows.csv"
    path.write_text('id,question,context,expected\n007,"Line one,\nline ""two""",,0391\n')
    [question] = read_data(path).questions()
    assert (question.id, question.context, question.expected) == ("007", None, ("0391",))
    assert question.text == 'Line one,\nline "two"'


def test_windows_1252_is_read_and_said(tmp_path: Path) -> None:
    path, notes = tmp_path / "rows.csv", list[str]()
    path.write_bytes("question,expected\r\nWo liegt Köln?,am Rhein\r\n".encode("cp1252"))
    [question] = read_data(path, say=notes.append).questions()
    assert question.text == "Wo liegt Köln?"
    [note] = notes
    assert "is not UTF-8; read as Windows-1252: line 2 has" in note
    assert "Köln" in note


def test_of_other_columns_with_one_name_the_first_counts(tmp_path: Path) -> None:
    path, notes = tmp_path / "rows.csv", list[str]()
    path.write_text("question,expected,Status,Status\nWho?,Ada,PASS,FAIL\n")
    [(_, row)] = read_data(path, say=notes.append).numbered_rows()
    assert row["Status"] == "PASS"
    assert "of columns with one name the first counts: Status" in notes[0]


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("r.csv", b"question,expected,question\na,b,c\n", "column 'question' stands twice"),
        ("r.csv", b"", "there are no rows"),
        ("r.csv", b'question,expected\n"a,b\n', "r.csv:2: unexpected end of data"),
        ("r.csv", b"question,expected\n\x81\x8d,b\n", "neither UTF-8 nor Windows-1252"),
        ("r.csv", b"question,expected\na,b\nc\n", "r.csv:3: has 1 cell, and the header 2"),
        ("r.json", b'[{"question": "a"},]', "r.json:1: not JSON"),
        ("r.json", b'{"a": [{"x": 1}], "b": [{"y": 1}]}', "several keys hold lists: a, b"),
        ("r.json", b"[1, 2]", "r.json:1: expected a JSON object"),
        ("r.parquet", b"PAR1oops", "is no Parquet file that can be read"),
        ("r.eval", b"oops", "is no log of Inspect"),
        ("r.xlsx", b"PK", "is a workbook, which is not read"),
    ],
)
def test_a_file_that_cannot_be_read_says_where_and_why(
    name: str, content: bytes, said: str, tmp_path: Path
) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(DataError) as refusal:
        read_data(path).questions()
    assert said in refusal.value.message
