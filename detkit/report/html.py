"""The report: one HTML file that needs no network and no script."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path

from detkit.annotations.atomic_files import write_atomically
from detkit.report.content import ReportData
from detkit.report.markup import Markup, element, joined
from detkit.report.sections import all_sections, summary

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
    style = Markup(files("detkit.report").joinpath("report.css").read_text(encoding="utf-8"))
    head = joined(
        Markup('<meta charset="utf-8">'),
        Markup('<meta name="viewport" content="width=device-width, initial-scale=1">'),
        Markup(f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">'),
        element("title", data.title),
        element("style", style),
    )
    page = joined(element("head", head), element("body", _body(data)))
    return '<!doctype html>\n<html lang="en">' + page + "</html>\n"


def _body(data: ReportData) -> Markup:
    sections = all_sections(data)
    links = [element("a", heading, href=f"#{_anchor(heading)}") for heading, _ in sections]
    header = [element("h1", data.title)]
    if data.subtitle:
        header.append(element("p", data.subtitle, class_="subtitle"))
    if data.summary:
        header.append(summary(data.summary))
    header += [element("p", note, class_="notice") for note in data.notes]
    main = [
        element("section", element("h2", heading), content, id=_anchor(heading))
        for heading, content in sections
    ]
    return joined(
        element("header", *header),
        element("nav", *links, aria_label="Sections"),
        element("main", *main),
        element("footer", "Written by detkit"),
    )


def _anchor(heading: str) -> str:
    return heading.lower().replace(" ", "-")
