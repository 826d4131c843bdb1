"""Bring a project that an earlier version wrote up to what this one reads, line by line."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

# Since 0.3 an amount says in which currency; before, it was the market's.
_BARE_AMOUNT = re.compile(r"\b(review_stakes_amount|cost_amount): (\d+(?:\.\d+)?)(?=[,}\s]|$)")
_CURRENCY = re.compile(r"^currency:\s*([A-Z]{3})\b", re.MULTILINE)


def upgrade(root: Path) -> Iterator[str]:
    """Rewrite the market files of a project where an earlier version meant what is now said.

    Comments and layout stay; a file that needs nothing is not touched.

    Yields:
        Each changed line as `file:line: what it says now`.
    """
    yield from _only_what_differs(root / "parameters" / "defaults.yaml", root)
    for path in sorted((root / "parameters" / "markets").glob("*.yaml")):
        text = path.read_text(encoding="utf-8")
        currency = _CURRENCY.search(text)
        if currency is None:
            continue
        now = _BARE_AMOUNT.sub(rf"\1: {{amount: \2, currency: {currency[1]}}}", text)
        if now == text:
            continue
        path.write_text(now, encoding="utf-8")
        for number, (old, new) in enumerate(
            zip(text.splitlines(), now.splitlines(), strict=True), start=1
        ):
            if old != new:
                yield f"{path.relative_to(root)}:{number}: {new.strip()}"


def _only_what_differs(path: Path, root: Path) -> Iterator[str]:
    """Defaults are declared in the library now: the file keeps what a team has changed."""
    import yaml

    from insight_lib.parameter_model import Parameters

    given = yaml.safe_load(path.read_text(encoding="utf-8")) if path.is_file() else None
    if not isinstance(given, dict) or not all(
        isinstance(entry, dict) and {"value", "unit", "meaning"} == entry.keys()
        for section in given.values()
        for entry in section.values()
    ):
        return
    declared = Parameters().model_dump(mode="json")
    changed = {
        section: {
            name: entry["value"]
            for name, entry in entries.items()
            if name in declared.get(section, {}) and entry["value"] != declared[section][name]
        }
        for section, entries in given.items()
    }
    kept = {section: names for section, names in changed.items() if names}
    if kept:
        path.write_text(yaml.safe_dump(kept, sort_keys=False, allow_unicode=True), encoding="utf-8")
    else:
        path.unlink()
    n = sum(map(len, kept.values()))
    yield f"{path.relative_to(root)}: {n} values that differ from the declared ones are kept"
