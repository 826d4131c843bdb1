"""What hostile names look like, and a reader of pages that finds what could act or load."""

from __future__ import annotations

import re
import shutil
import subprocess
from html.parser import HTMLParser
from pathlib import Path

import pytest

_CALL = "document.title='HIT'"
_TAGS = ("img src=x", "svg", "body", "input autofocus", "details open", "video", "audio src=x",
         "iframe", "marquee", "select autofocus", "object", "math", "style", "a href=#",
         "td")  # fmt: skip
_HANDLERS = ("onerror", "onload", "onfocus", "ontoggle", "onmouseover")

PAYLOADS: tuple[str, ...] = (
    *(f"<{tag} {on}={_CALL}>" for tag in _TAGS for on in _HANDLERS),
    f"<script>{_CALL}</script>",
    f"<SCRIPT>{_CALL}</SCRIPT>",
    f"</script><script>{_CALL}</script>",
    f"</style><script>{_CALL}</script>",
    f"</title><script>{_CALL}</script>",
    f"</textarea><script>{_CALL}</script>",
    f"--><script>{_CALL}</script>",
    f"]]><script>{_CALL}</script>",
    "</script x",
    "<!--<script ",
    f"<scr<script>ipt>{_CALL}</scr</script>ipt>",
    f"<<script>{_CALL}//<</script>",
    f"<script src=https://evil.example/x.js></script>{_CALL}",
    "<script src=//evil.example/x.js></script>",
    f"<svg><script>{_CALL}</script></svg>",
    f"<svg><animate onbegin={_CALL} attributeName=x dur=1s>",
    "<svg><use href='data:image/svg+xml,<svg id=x onload=1>#x'/></svg>",
    "<svg><image href=https://evil.example/x.png></svg>",
    f"<svg><foreignObject><img src=x onerror={_CALL}></foreignObject></svg>",
    f"<svg><style>@import 'https://evil.example/x';</style><g onload={_CALL}></svg>",
    f"<svg><desc><img src=x onerror={_CALL}></desc></svg>",
    f"<svg><title><img src=x onerror={_CALL}></title></svg>",
    f"<svg><a href=\"javascript:{_CALL}\"><text>go</text></a></svg>",
    f"<math><mtext><table><mglyph><style><img src=x onerror={_CALL}>",
    f"<math href=\"javascript:{_CALL}\">go</math>",
    f"<noscript><p title=\"</noscript><img src=x onerror={_CALL}>\">",
    f"<template><script>{_CALL}</script></template>",
    f"<a href=\"javascript:{_CALL}\">go</a>",
    f"<a href=\" &#106;avascript:{_CALL}\">go</a>",
    f"<a href='java\tscript:{_CALL}'>go</a>",
    "<a href=https://evil.example>go</a>",
    "<a href=//evil.example>go</a>",
    "<a href='data:text/html,<script>1</script>'>go</a>",
    "<base href=https://evil.example>",
    "<link rel=stylesheet href=https://evil.example/x.css>",
    "<meta http-equiv=refresh content='0;url=https://evil.example'>",
    "<form action=https://evil.example><button>go</button></form>",
    f"<button formaction=\"javascript:{_CALL}\">go</button>",
    f"<iframe srcdoc=\"<script>parent.{_CALL}</script>\"></iframe>",
    "<iframe src=https://evil.example></iframe>",
    "<object data=https://evil.example></object><embed src=https://evil.example>",
    "<img src=https://evil.example/x.png>",
    "<img srcset='https://evil.example/x.png 1x'>",
    f"<img src=\"data:image/svg+xml,<svg onload={_CALL}>\">",
    f"<img src='x' alt='\" onerror={_CALL} x=\"'>",
    "<video poster=https://evil.example/x.png></video>",
    "<div style='background:url(https://evil.example/x)'>x</div>",
    f"<div style='width:expression({_CALL})'>x</div>",
    "<style>body{background:url(https://evil.example/x)}</style>",
    "<style>@import url(https://evil.example/x.css);</style>",
    "<table background=https://evil.example/x><tr><td>x</td></tr></table>",
    f"\" onmouseover={_CALL} x=\"",
    f"' onmouseover={_CALL} x='",
    f"` onmouseover={_CALL} x=`",
    f"1 onerror={_CALL}",
    f"\"><img src=x onerror={_CALL}>",
    f"'><svg onload={_CALL}>",
    f"[go](javascript:{_CALL})",
    f"[go](JaVaScRiPt:{_CALL})",
    "[go](https://evil.example)",
    "![x](https://evil.example/x.png)",
    f"![x](x\"onerror=\"{_CALL})",
    f"<javascript:{_CALL}>",
    "[x]: https://evil.example\n\n[x]",
    f"```html\n<script>{_CALL}</script>\n```",
    "{{ 7*7 }}{% include '/etc/passwd' %}{{ run.__class__ }}",
    "{# x #}{{ ''.__class__.__mro__ }}",
    "$x^2$ \\(x\\) <mermaid>graph</mermaid>",
    "=cmd|' /C calc'!A0",
    "'; DROP TABLE customers; --",
    f"\u202e<img src=x onerror={_CALL}>",
    f"\x00<\x00img src=x onerror={_CALL}>",
    f"＜img src=x onerror={_CALL}＞",
    f"%3Cimg src=x onerror={_CALL}%3E",
    f"&lt;img src=x onerror={_CALL}&gt;",
    f"&#60;img src=x onerror={_CALL}&#62;",
    f"\\u003cimg src=x onerror={_CALL}\\u003e",
    "<!DOCTYPE x [<!ENTITY e SYSTEM 'file:///etc/passwd'>]>&e;",
    f"<?xml-stylesheet href=\"javascript:{_CALL}\"?>",
    f"<![CDATA[<script>{_CALL}</script>]]>",
    f"<x-thing onclick={_CALL} tabindex=0 autofocus onfocus={_CALL}>",
)  # fmt: skip

_OUR_TAGS = """
html head meta title style body div header nav main section footer aside figure figcaption h1 h2
h3 h4 h5 h6 p span b strong i em s sub sup small code pre blockquote ul ol li dl dt dd br hr a
img details summary table caption colgroup col thead tbody tfoot tr th td svg g path rect line
circle ellipse polyline polygon text tspan label input
"""
_OUR_ATTRIBUTES = """
lang charset name content http-equiv id class href src alt scope colspan rowspan span border
style role aria-label aria-labelledby tabindex title for type autocomplete hidden open
data-first d x y x1 x2 y1 y2 cx cy r rx ry width height points transform viewbox fill stroke
stroke-width stroke-dasharray opacity fill-opacity text-anchor font-size font-weight dx dy xmlns
"""
_PLAIN, _NAMES = frozenset(_OUR_TAGS.split()), frozenset(_OUR_ATTRIBUTES.split())


class _Dangers(HTMLParser):
    def __init__(self, *, scripts: frozenset[str]) -> None:
        super().__init__()
        self.found: list[str] = []
        self.scripts = scripts
        self._is_style = False

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = dict(attrs)
        self._is_style = tag == "style"
        is_ours = tag == "script" and (
            values == {"type": "application/json", "id": "data"} or not values
        )
        if tag not in _PLAIN and not (is_ours and self.scripts):
            self.found.append(f"<{tag}>")
        for name, value in attrs:
            text = value or ""
            if name not in _NAMES:
                self.found.append(f"{tag} {name}")
            if name == "href" and not re.fullmatch(r"#[\w-]+|(?!//)[\w./@%-]+", text):
                self.found.append(f"{tag} href {text}")
            if name == "src" and not text.startswith("data:image/png;base64,"):
                self.found.append(f"{tag} src {text}")
            if name == "style" and re.search(r"url|import|expression|position", text):
                self.found.append(f"{tag} style {text}")
            if tag == "meta" and name == "http-equiv" and text != "Content-Security-Policy":
                self.found.append(f"meta {text}")

    def handle_data(self, data: str) -> None:
        if self._is_style and ("url(" in data or "@import" in data):
            self.found.append("style that loads")

    def handle_endtag(self, tag: str) -> None:
        self._is_style = False

    def handle_comment(self, data: str) -> None:
        self.found.append("comment")


def dangers(html: str, *, scripts: frozenset[str] = frozenset()) -> list[str]:
    """Elements, attributes and addresses of `html` that none of our pages may hold.

    Args:
        html: A page or a part of one.
        scripts: The scripts that it may hold, word for word; none by default.
    """
    reader = _Dangers(scripts=scripts)
    reader.feed(html)
    reader.close()
    bodies = re.findall(r"<script>(.*?)</script>", html, flags=re.DOTALL)
    return reader.found + [f"script {body[:40]}" for body in bodies if body not in scripts]


def dump_dom(html: str, folder: Path) -> str:
    """The page as a browser holds it after its own repairs and scripts; skips without one."""
    browser = shutil.which("chromium") or shutil.which("google-chrome")
    if browser is None:
        pytest.skip("no Chromium here")
    file = folder / "page.html"
    file.write_text(html, encoding="utf-8")
    flags = (
        "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
        "--disable-background-networking", "--disable-component-update", "--disable-sync",
        "--dump-dom", f"--user-data-dir={folder / 'profile'}",
    )  # fmt: skip
    done = subprocess.run(
        [browser, *flags, file.as_uri()], capture_output=True, timeout=120, check=True
    )
    return done.stdout.decode()
