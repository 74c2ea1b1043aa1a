"""HTML elements, whose text and attributes are escaped when they are written."""

from __future__ import annotations

from collections.abc import Iterable
from xml.etree.ElementTree import Element, tostring

from uavssr.errors import printable

Content = str | Element


def node(tag: str, *content: Content, **attributes: str) -> Element:
    """An element with text and elements in it; `class_` and `data_x` become class and data-x."""
    names = {name.rstrip("_").replace("_", "-"): text for name, text in attributes.items()}
    element = Element(tag, {name: printable(text) for name, text in names.items()})
    for part in content:
        if not isinstance(part, str):
            element.append(part)
        elif len(element):
            element[-1].tail = (element[-1].tail or "") + printable(part)
        else:
            element.text = (element.text or "") + printable(part)
    return element


def table(
    header: Iterable[Content], rows: Iterable[Iterable[Content]], **attributes: str
) -> Element:
    """A table whose first column names its rows."""
    head = node("tr", *(node("th", cell, scope="col") for cell in header))
    body = []
    for row in rows:
        first, *others = row
        body.append(node("tr", node("th", first, scope="row"), *(node("td", c) for c in others)))
    whole = node("table", node("thead", head), node("tbody", *body), **attributes)
    return node("div", whole, class_="scroll", tabindex="0", role="region", aria_label="table")


def html_of(element: Element) -> str:
    """The element as HTML."""
    return tostring(element, encoding="unicode", method="html")
