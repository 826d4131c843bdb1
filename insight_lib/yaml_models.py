"""YAML into frozen models: every fault of a file at once, with its line and what to write."""

from __future__ import annotations

import difflib
import json
from collections.abc import Iterable
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from insight_lib.strict_yaml import Document, Fault, KeyPath, dotted, shown

M = TypeVar("M", bound=BaseModel)


def unknown(where: str, got: str, known: Iterable[str]) -> Fault:
    """A name that is not known, with the nearest that is."""
    known = sorted(known)
    close = difflib.get_close_matches(got, known, n=1, cutoff=0.5)
    fix = f"did you mean {close[0]}?" if close else f"use one of: {', '.join(known[:12]) or '-'}"
    return Fault(where, 0, "name", shown(got), "a known name", fix)


def validate(
    model: type[M],
    document: Document,
    data: Any,
    *,
    faults: list[Fault],
    prefix: KeyPath = (),
) -> M | None:
    """The model of what a document holds, or None and why not, added to `faults`.

    Args:
        data: The part of the document at `prefix`.
    """
    try:
        # JSON mode is strict about what YAML holds and still reads dates and enums from text.
        return model.model_validate_json(json.dumps(data))
    except ValidationError as error:
        faults += [_to_fault(model, document, item, prefix) for item in error.errors()]
        return None


def _to_fault(model: type[BaseModel], document: Document, item: Any, prefix: KeyPath) -> Fault:
    path = tuple(part for part in item["loc"] if part not in ("[key]",))
    got = shown(item["input"])
    match item["type"]:
        case "missing":
            got, expected, fix = "nothing", "a value", f"add '{path[-1]}:'"
        case "extra_forbidden":
            known = _fields(model, path[:-1])
            got, expected = shown(path[-1]), "a known key"
            fix = unknown("", str(path[-1]), known).fix
        case _:
            expected = item["msg"].removeprefix("Value error, ").removeprefix("Input should be ")
            fix = "correct the value"
    where = (*prefix, *path)
    return Fault(document.file, document.line(where), dotted(where), got, expected, fix)


def _fields(model: Any, path: KeyPath) -> list[str]:
    """Names that are allowed at `path` inside `model`."""
    schema = model.model_json_schema()
    definitions = schema.get("$defs", {})

    def resolve(node: Any) -> Any:
        while "$ref" in node:
            node = definitions[node["$ref"].rsplit("/", 1)[-1]]
        for option in (*node.get("anyOf", ()), *node.get("allOf", ())):
            if "$ref" in option or "properties" in option:
                return resolve(option)
        return node

    node = resolve(schema)
    for part in path:
        node = (
            node.get("items", {})
            if isinstance(part, int)
            else node.get("properties", {}).get(part) or node.get("additionalProperties") or {}
        )
        node = resolve(node) if isinstance(node, dict) else {}
    return list(node.get("properties", {}))
