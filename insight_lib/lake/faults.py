"""What is wrong with a source, in words that a terminal, a log and a page may show."""

from __future__ import annotations

import re

_LONGEST_SHOWN = 60
_NAMES_SHOWN = 8


class SourceFault(Exception):
    """A source that cannot be read as declared; names file, field and next step."""


def shown(text: object) -> str:
    """A text of a file as one printable, short piece: control characters made visible."""
    line = "".join(c if c.isprintable() else repr(c)[1:-1] for c in str(text))
    return line if len(line) <= _LONGEST_SHOWN else line[: _LONGEST_SHOWN - 1] + "…"


def names_shown(header: list[str]) -> str:
    """Column names for a message; what does not look like a name is masked.

    A file without a header line has a person's data where the names should be.
    """
    looks_like_names = [n for n in header if re.fullmatch(r"[^\W\d][\w .()/#%-]{0,40}", n.strip())]
    if len(looks_like_names) < len(header) * 0.8:
        return (
            f"{len(header)} fields of which {len(header) - len(looks_like_names)} do not look "
            "like column names (not shown); is there a header line?"
        )
    listed = ", ".join(shown(name) for name in looks_like_names[:_NAMES_SHOWN])
    rest = len(header) - min(len(looks_like_names), _NAMES_SHOWN)
    return listed + (f" and {rest} more" if rest else "")
