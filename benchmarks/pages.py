"""Bytes of a report page against nbconvert's lab template, figures aside."""

from __future__ import annotations

import re
from pathlib import Path


def without_figures(page: str) -> int:
    page = re.sub(r"<svg.*?</svg>", "", page, flags=re.DOTALL)
    return len(re.sub(r"data:image/[^\"']+", "", page).encode())


def report(root: Path) -> str:
    ours = [without_figures(p.read_text()) for p in root.glob("reports/*/*/*/index.html")]
    lab = [without_figures(p.read_text()) for p in (root / "plain").glob("*.html")]
    mean_ours, mean_lab = sum(ours) / len(ours) / 1024, sum(lab) / len(lab) / 1024
    return (
        "| Page, figures aside | KiB | Ratio |\n|---|---|---|\n"
        f"| nbconvert lab template | {mean_lab:.0f} | 1 |\n"
        f"| stakeholder page | {mean_ours:.0f} | {mean_ours / mean_lab:.2f} |\n"
    )
