"""Messages whose content comes in parts: text is joined, and all else is refused by name."""

from typing import Any

import pytest

from automix_cli.data.rows import question_from_dict
from automix_cli.errors import DataError


def row(content: Any) -> dict[str, Any]:
    return {"messages": [{"role": "user", "content": content}]}


@pytest.mark.parametrize(
    ("content", "text"),
    [
        ("2 + 2?", "2 + 2?"),
        ([{"type": "text", "text": "2 + 2?"}], "2 + 2?"),
        ([{"type": "text", "text": "Add:"}, {"type": "text", "text": "2 and 2"}], "Add:\n2 and 2"),
        ([{"type": "input_text", "text": "2 + 2?"}], "2 + 2?"),
    ],
)
def test_text_parts_are_joined(content: Any, text: str) -> None:
    assert question_from_dict(row(content)).text == text


@pytest.mark.parametrize(
    ("content", "named"),
    [
        ([{"type": "text", "text": "What is this?"}, {"type": "image_url", "image_url": {}}], '"image_url"'),
        ([{"type": "input_audio", "input_audio": {}}], '"input_audio"'),
        ([{"type": "text", "text": 7}], '"text"'),
        (["bare"], "text"),
        ([{}], "nothing"),
    ],
)
def test_other_parts_are_refused_by_their_type(content: Any, named: str) -> None:
    with pytest.raises(DataError, match=f"a part of type {named} cannot be sent"):
        question_from_dict(row(content))


@pytest.mark.parametrize("content", [[], None, 7])
def test_a_content_that_is_neither_text_nor_parts_is_refused(content: Any) -> None:
    with pytest.raises(DataError, match="each needs a text role and a text content"):
        question_from_dict(row(content))
