"""The profile file as a JSON schema, for editors: made of the declaration that reads it."""

from __future__ import annotations

from typing import Any

from automix_cli.fitting.router_block import ROUTER_KINDS
from automix_cli.profile import schema as s
from automix_cli.profile.layout import PROFILE

_ROUTER = {"type": "object", "properties": {"kind": {"enum": list(ROUTER_KINDS)}}, "required": ["kind"]}


def profile_schema() -> dict[str, Any]:
    """The schema of a profile; it says which keys there are, and `automix profile check` says the rest."""
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "automix profile",
        **schema_of(PROFILE, required=()),
    }


def schema_of(kind: s.Kind, required: tuple[str, ...] | None = None) -> dict[str, Any]:
    """The schema of what a field may hold; `required` replaces the required keys of a record.

    Example:
        >>> schema_of(s.Nullable(s.Whole(1, 9)))
        {'anyOf': [{'type': 'integer', 'minimum': 1, 'maximum': 9}, {'type': 'null'}]}
    """
    match kind:
        case s.Record():
            return _record(kind, kind.required if required is None else required)
        case s.ListOf():
            return {"type": "array", "items": schema_of(kind.kind), "maxItems": kind.longest}
        case s.OneOrList():
            inner = schema_of(kind.kind)
            return {"anyOf": [inner, {"type": "array", "items": inner, "maxItems": kind.longest}]}
        case s.Nullable():
            return {"anyOf": [schema_of(kind.kind), {"type": "null"}]}
        case s.Checked():
            return schema_of(kind.kind)
        case s.Subtree():
            return _ROUTER
        case _:
            return _plain(kind)


def _record(kind: s.Record, required: tuple[str, ...]) -> dict[str, Any]:
    """The schema of a mapping with known keys."""
    fields = {key: schema_of(inner) for key, inner in kind.fields.items()}
    row = {"type": "object", "properties": fields, "additionalProperties": False}
    return {**row, "required": list(required)} if required else row


def _plain(kind: s.Kind) -> dict[str, Any]:
    """The schema of a single value."""
    match kind:
        case s.Text():
            return {"type": "string", "maxLength": kind.longest, "minLength": 1}
        case s.Pattern():
            return {"type": "string", "description": kind.expected}
        case s.Whole():
            return {"type": "integer", "minimum": kind.low, "maximum": kind.high}
        case s.Number():
            least = "exclusiveMinimum" if kind.above else "minimum"
            return {"type": "number", least: kind.low, "maximum": kind.high}
        case s.Only():
            return {"const": kind.number}
        case s.Flag():
            return {"type": "boolean"}
        case s.OneOf():
            return {"enum": list(kind.words)}
        case s.AnyMapping():
            return {"type": "object"}
        case _:
            return {}
