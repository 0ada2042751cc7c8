"""HTML elements whose text is escaped, so that no class or file name can break out of a page."""

from __future__ import annotations

from html import escape

from detkit.names import visible


class Markup(str):
    """A string that is already HTML."""

    __slots__ = ()


def element(name: str, *content: str, **attributes: str | float | None) -> Markup:
    """Return an element; content that is not `Markup` is text and gets escaped.

    Args:
        name: the tag.
        content: what stands in it, joined without spaces.
        attributes: `class_` stands for class, `stroke_width` for stroke-width; None is left out.

    Example:
        >>> element("td", "cats & <dogs>", class_="name")
        '<td class="name">cats &amp; &lt;dogs&gt;</td>'
    """
    listed = "".join(
        f' {key.rstrip("_").replace("_", "-")}="{escape(visible(_plain(value)))}"'
        for key, value in attributes.items()
        if value is not None
    )
    return Markup(f"<{name}{listed}>{joined(*content)}</{name}>")


def joined(*content: str) -> Markup:
    """Return the parts one after the other, escaped where they are text."""
    return Markup("".join(part if isinstance(part, Markup) else escape(visible(part)) for part in content))


def _plain(value: str | float) -> str:
    if isinstance(value, float):
        return f"{value:.1f}".removesuffix(".0")
    return str(value)
