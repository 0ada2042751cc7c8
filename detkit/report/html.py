"""The report: one HTML file that needs no network and no script. Other pages may have one of their own."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Sequence
from importlib.resources import files
from pathlib import Path

from detkit.report.content import Number, ReportData
from detkit.report.markup import Markup, element, joined
from detkit.report.sections import all_sections, summary
from detkit.storage.atomic import write_atomically

# Nothing in the page may load or run anything, whatever a class or file name holds.
POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"


def write_report(path: str | Path, data: ReportData) -> None:
    """Write a report as one file with its pictures and style inside; an existing one is replaced at once.

    Args:
        path: the HTML file; its folder is made where needed.
        data: what to show. Sections without data are left out.
    """
    write_atomically(Path(path), render(data))


def render(data: ReportData) -> str:
    """Return the report as HTML."""
    return page(data.title, data.subtitle, data.summary, data.notes, all_sections(data))


def page(
    title: str,
    subtitle: str,
    figures: Sequence[Number],
    notes: Sequence[str],
    sections: Sequence[tuple[str, Markup]],
    *,
    style: str = "",
    script: str = "",
) -> str:
    """Return a page of HTML that needs nothing but itself.

    Args:
        title: heading.
        subtitle: a line below it; empty for none.
        figures: the numbers at the top.
        notes: sentences for the reader below them.
        sections: heading and content of each.
        style: rules of this page beside those of all.
        script: JavaScript without `</script`, which the page may run; it may run no other.
    """
    policy = POLICY
    if script:
        digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
        policy += f"; script-src 'sha256-{digest}'"
    rules = Markup(resource("report.css") + style)
    head = joined(
        Markup('<meta charset="utf-8">'),
        Markup('<meta name="viewport" content="width=device-width, initial-scale=1">'),
        Markup(f'<meta http-equiv="Content-Security-Policy" content="{policy}">'),
        element("title", title),
        element("style", rules),
    )
    links = [element("a", heading, href=f"#{_anchor(heading)}") for heading, _ in sections]
    header = [element("h1", title)]
    if subtitle:
        header.append(element("p", subtitle, class_="subtitle"))
    if figures:
        header.append(summary(figures))
    header += [element("p", note, class_="notice") for note in notes]
    main = [
        element("section", element("h2", heading), content, id=_anchor(heading))
        for heading, content in sections
    ]
    body = joined(
        element("header", *header),
        element("nav", *links, aria_label="Sections"),
        element("main", *main),
        element("footer", "Written by detkit"),
        element("script", Markup(script)) if script else Markup(),
    )
    whole = joined(element("head", head), element("body", body))
    return '<!doctype html>\n<html lang="en">' + whole + "</html>\n"


def resource(name: str) -> str:
    """Return a file that lies beside this one."""
    return files("detkit.report").joinpath(name).read_text(encoding="utf-8")


def _anchor(heading: str) -> str:
    return heading.lower().replace(" ", "-")
