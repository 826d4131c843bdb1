"""Render an executed notebook as two self-contained pages: stakeholder and analyst."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import nbformat
from jinja2 import Environment
from markupsafe import Markup
from nbconvert.exporters.templateexporter import TemplateExporter

from insight_lib.report.content import flatten, format_date, read_page, word_columns
from insight_lib.report.sanitise import drop_unseen

_TEMPLATES = Path(__file__).parent / "templates"


@dataclass(frozen=True, kw_only=True)
class Pages:
    """The two editions of a report, each one complete HTML file."""

    stakeholder: str
    analyst: str


class ReportExporter(TemplateExporter):
    """nbconvert with our template: escaping always on, no outside request."""

    template_name = "insight"
    template_extension = ".html.j2"
    extra_template_basedirs = [str(_TEMPLATES)]
    output_mimetype = "text/html"

    def _create_environment(self) -> Environment:
        environment: Environment = super()._create_environment()
        environment.autoescape = True
        environment.trim_blocks = environment.lstrip_blocks = True
        environment.filters |= {
            "date": format_date,
            "flatten": flatten,
            "word_columns": word_columns,
        }
        environment.globals["style"] = read_style()
        return environment

    def render(
        self,
        notebook: nbformat.NotebookNode,
        *,
        run: Mapping[str, Any],
        findings: Sequence[Mapping[str, Any]],
        with_code: bool,
    ) -> str:
        """One edition of the page."""
        page = read_page(notebook, run=run, findings=findings, with_code=with_code)
        place = {"page": page, "run": run, "with_code": with_code, "country": _country(run)}
        body, _ = self.from_notebook_node(notebook, resources=place)
        return str(body)


@lru_cache(maxsize=1)
def read_style() -> Markup:
    """The style sheet of all pages, without the white space that only its editor needs."""
    text = (_TEMPLATES / "insight" / "report.css").read_text(encoding="utf-8")
    text = re.sub(r"/\*.*?\*/", "", text, flags=re.DOTALL)
    text = re.sub(r"\s+", " ", re.sub(r"\s*([{};,])\s*", r"\1", text)).strip()
    return Markup(text)  # noqa: S704  (our own file)


@lru_cache(maxsize=1)
def _exporter() -> ReportExporter:
    return ReportExporter()


def render_template(name: str, **values: Any) -> str:
    """Fill one of our templates, without characters that bend how text is read."""
    template = _exporter().environment.get_template(name)
    return drop_unseen(template.render(**values))


def render_pages(
    notebook: nbformat.NotebookNode,
    *,
    run: Mapping[str, Any],
    findings: Sequence[Mapping[str, Any]],
) -> Pages:
    """Render both editions of a report.

    Args:
        notebook: The executed notebook.
        run: Its run record, as `run.json` holds it.
        findings: Its findings as JSON, in notebook order.
    """
    stakeholder, analyst = (
        drop_unseen(_exporter().render(notebook, run=run, findings=findings, with_code=with_code))
        for with_code in (False, True)
    )
    return Pages(stakeholder=stakeholder, analyst=analyst)


def _country(run: Mapping[str, Any]) -> str:
    from babel import Locale

    code = str((run.get("market") or {}).get("country") or "")
    return Locale("en").territories.get(code, code)
