"""YAML as people expect it: `NO` is text, a repeated key is a fault, nothing is executed.

Plain scalars follow JSON: `true`, `false`, `null`, decimal integers and numbers; all
else stays text (`NO`, `01234`, `12:30:45`, `1_000`, `0x1F`, `.nan`). Tags, anchors and
aliases are refused. Every value keeps its line, so a fault can name it.
"""

from __future__ import annotations

import math
import re
import unicodedata
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

_INTEGER = re.compile(r"-?(0|[1-9][0-9]*)")
_NUMBER = re.compile(r"-?(0|[1-9][0-9]*)(\.[0-9]+)?([eE][-+]?[0-9]+)?")
_SECRET_KEY = re.compile(r"(password|passwd|secret|token|api_?key|credential)s?$", re.IGNORECASE)
_EMAIL = re.compile(r"[\w.+-]+@[\w-]+\.[\w.]+")
_LARGEST_FILE_BYTES = 1_000_000
_LONGEST_TEXT = 20_000
_LARGEST_INTEGER = 2**53
_DEEPEST = 50

KeyPath = tuple[str | int, ...]


@dataclass(frozen=True, order=True)
class Fault:
    """One thing wrong in a file, with what to write instead."""

    file: str
    line: int
    field: str
    got: str
    expected: str
    fix: str

    def __str__(self) -> str:
        return (
            f"{self.file}:{self.line}: {self.field}: got {self.got}, "
            f"expected {self.expected}; fix: {self.fix}"
        )


@dataclass(frozen=True)
class Document:
    """A parsed file: plain data (mappings, lists, scalars), lines by path, and its faults."""

    file: str
    data: Any
    lines: dict[KeyPath, int] = field(default_factory=dict)
    faults: tuple[Fault, ...] = ()

    def line(self, path: KeyPath) -> int:
        """The line of the value at `path`, or of its nearest parent that has one."""
        while path and path not in self.lines:
            path = path[:-1]
        return self.lines.get(path, 1)


def shown(value: object) -> str:
    """A value as an error may show it: short, without control characters or e-mail addresses."""
    if isinstance(value, dict | list):
        return "a mapping" if isinstance(value, dict) else "a list"
    text = _EMAIL.sub("<e-mail>", str(value))
    text = "".join(c if c.isprintable() else f"\\u{ord(c):04x}" for c in text)
    return repr(text if len(text) <= 60 else text[:57] + "…") if isinstance(value, str) else text


def dotted(path: KeyPath) -> str:
    """`("features", "windows", 0)` as `features.windows[0]`."""
    text = ""
    for part in path:
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else str(part)
    return text or "(file)"


class _Builder:
    def __init__(self, file: str) -> None:
        self.file = file
        self.faults: list[Fault] = []
        self.lines: dict[KeyPath, int] = {}

    def fault(self, line: int, path: KeyPath, got: str, expected: str, fix: str) -> None:
        self.faults.append(Fault(self.file, line, dotted(path), got, expected, fix))

    def build(self, events: list[yaml.Event]) -> Any:
        self._events = iter(events)
        self._next()  # stream start
        event = self._next()
        if isinstance(event, yaml.StreamEndEvent):
            return None
        value = self._value(self._next(), ())
        self._next()  # document end
        if not isinstance(after := self._next(), yaml.StreamEndEvent):
            self.fault(
                after.start_mark.line + 1, (), "a second document", "one", "remove the '---' line"
            )
        return value

    def _next(self) -> Any:
        return next(self._events)

    def _value(self, event: Any, path: KeyPath) -> Any:
        line = event.start_mark.line + 1
        self.lines[path] = line
        if isinstance(event, yaml.AliasEvent):
            self.fault(line, path, f"alias *{event.anchor}", "a value", "write the value out")
            return None
        if event.anchor:
            self.fault(line, path, f"anchor &{event.anchor}", "a value", "remove the anchor")
        if event.tag and event.tag != "!":
            self.fault(line, path, f"tag {event.tag}", "a plain value", "remove the tag")
        if isinstance(event, yaml.MappingStartEvent):
            return self._mapping(path)
        if isinstance(event, yaml.SequenceStartEvent):
            items: list[Any] = []
            while not isinstance(item := self._next(), yaml.SequenceEndEvent):
                items.append(self._value(item, (*path, len(items))))
            return items
        return self._scalar(event, path, line)

    def _mapping(self, path: KeyPath) -> dict[str, Any]:
        result: dict[str, Any] = {}
        while not isinstance(key_event := self._next(), yaml.MappingEndEvent):
            line = key_event.start_mark.line + 1
            if not isinstance(key_event, yaml.ScalarEvent):
                self.fault(line, path, "a nested key", "a word as key", "use a word as key")
                self._value(key_event, (*path, "?"))
                self._value(self._next(), (*path, "?"))
                continue
            key = key_event.value
            value = self._value(self._next(), (*path, key))
            if key in result:
                self.fault(line, (*path, key), "the key twice", "it once", "remove one of the two")
            elif (
                _SECRET_KEY.search(key)
                and isinstance(value, str)
                and not value.startswith("secret://")
            ):
                self.fault(
                    line,
                    (*path, key),
                    "a secret in clear",
                    "a reference",
                    "write secret://name and keep the value in the environment",
                )
            result.setdefault(key, value)
        return result

    def _scalar(self, event: yaml.ScalarEvent, path: KeyPath, line: int) -> Any:
        text = event.value
        if len(text) > _LONGEST_TEXT:
            self.fault(
                line,
                path,
                f"{len(text):,} characters",
                f"at most {_LONGEST_TEXT:,}",
                "shorten the text",
            )
            return None
        bad = [c for c in text if unicodedata.category(c) in ("Cc", "Cf", "Cs") and c != "\n"]
        if bad and text != "\t":  # a delimiter of files, written "\\t"
            self.fault(
                line,
                path,
                f"an invisible character U+{ord(bad[0]):04X}",
                "printable text",
                "delete the invisible character",
            )
            return None
        if event.style:  # quoted or block: text as it stands
            return text
        match text:
            case "" | "null" | "~":
                return None
            case "true":
                return True
            case "false":
                return False
        if _INTEGER.fullmatch(text):
            if len(text) > 17 or abs(int(text)) > _LARGEST_INTEGER:
                self.fault(line, path, shown(text), "a number up to 2^53", "quote it if it is text")
                return None
            return int(text)
        if _NUMBER.fullmatch(text):
            number = float(text)
            if not math.isfinite(number):
                self.fault(line, path, shown(text), "a finite number", "write a smaller number")
                return None
            return number
        return text


def load(path: Path, name: str) -> Document:
    """Parse one YAML file; never raises for its content, all faults are in the result.

    Args:
        path: The file.
        name: How faults name it, e.g. `parameters/markets/us-grocery.yaml`.
    """

    def broken(line: int, got: str, expected: str, fix: str) -> Document:
        return Document(name, None, faults=(Fault(name, line, "(file)", got, expected, fix),))

    raw = path.read_bytes()
    if len(raw) > _LARGEST_FILE_BYTES:
        return broken(1, f"{len(raw):,} bytes", f"at most {_LARGEST_FILE_BYTES:,}", "split it")
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = raw[: error.start].count(b"\n") + 1
        return broken(line, "bytes that are not UTF-8", "UTF-8 text", "save the file as UTF-8")
    builder = _Builder(name)
    try:
        events, depth = [], 0
        for event in yaml.parse(text, Loader=yaml.CSafeLoader):
            depth += isinstance(event, yaml.CollectionStartEvent)
            depth -= isinstance(event, yaml.CollectionEndEvent)
            if depth > _DEEPEST:
                line = event.start_mark.line + 1 if event.start_mark else 1
                return broken(line, f"more than {_DEEPEST} levels", "a flat file", "nest less")
            events.append(event)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        problem = getattr(error, "problem", None) or "a character YAML does not allow"
        line = mark.line + 1 if mark else 1
        return broken(line, problem, "YAML", "correct the syntax at this line")
    data = builder.build(events)
    return Document(name, data, builder.lines, tuple(builder.faults))
