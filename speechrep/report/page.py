"""A web page of one file: no network, no script, pictures within, readable on a telephone.

Everything that comes from data passes :func:`escape` on its way in; what is :class:`Html` has passed.
"""

import base64
import html
from collections.abc import Sequence

STYLE = """
:root { color-scheme: light; }
* { box-sizing: border-box; }
body { margin: 0 auto; padding: 0 16px 48px; max-width: 1120px; color: #1a1a1a; background: #fff;
  font: 16px/1.5 system-ui, sans-serif; overflow-wrap: break-word; }
h1 { font-size: 1.6em; line-height: 1.25; margin: 24px 0 8px; }
h2 { font-size: 1.25em; margin: 36px 0 8px; padding-top: 8px; border-top: 1px solid #bbb; }
h3 { font-size: 1.05em; margin: 20px 0 4px; }
a { color: #00508c; }
nav a { display: inline-block; margin: 0 14px 6px 0; padding: 4px 0; }
p { margin: 8px 0; max-width: 46em; }
.note { color: #555; }
table { border-collapse: collapse; margin: 12px 0; font-size: 0.94em; }
th, td { text-align: left; vertical-align: top; padding: 4px 14px 4px 0; border-bottom: 1px solid #ddd; }
th { font-weight: 600; white-space: pre-line; }
.wide { overflow-x: auto; }
tr.dim { color: #555; background: #f6f6f6; }
.figures { display: flex; flex-wrap: wrap; gap: 20px; align-items: flex-start; }
figure { margin: 8px 0; flex: 0 1 480px; min-width: 0; }
img { display: block; width: 100%; height: auto; }
figcaption { font-size: 0.9em; color: #555; }
pre { font: 13px/1.45 ui-monospace, monospace; background: #f6f6f6; padding: 8px 10px; margin: 6px 0;
  white-space: pre-wrap; overflow-wrap: anywhere; }
code { font: 0.88em ui-monospace, monospace; overflow-wrap: anywhere; }
summary { cursor: pointer; padding: 4px 0; }
.pairs { line-height: 2.9; margin: 4px 0 16px; }
.pairs span { display: inline-block; line-height: 1.3; margin-right: 9px; text-align: center;
  vertical-align: top; max-width: 100%; }
.pairs span b, .pairs span i { display: block; font-style: normal; font-weight: 400; }
.pairs .S b, .pairs .D b { background: #fbe3c8; }
.pairs .S i, .pairs .I i { background: #cfe6f5; }
.pairs .D b { text-decoration: line-through; }
.pairs .I i { text-decoration: underline; }
@media (max-width: 640px) {
  body { padding: 0 12px 40px; }
  table.cards thead { display: none; }
  table.cards, table.cards tbody, table.cards tr, table.cards td { display: block; }
  table.cards tr { border: 1px solid #ccc; border-radius: 6px; margin: 10px 0; padding: 4px 10px; }
  table.cards td { border: 0; padding: 3px 0; }
  table.cards td:first-child { font-weight: 600; }
  table.cards td[data-label]:not(:empty)::before { content: attr(data-label); display: block; color: #555;
    font-size: 0.86em; font-weight: 400; }
}
"""


class Html(str):
    """Text that is HTML already."""


def escape(value: object) -> Html:
    """A value as HTML that shows it and does nothing."""
    return value if isinstance(value, Html) else Html(html.escape(str(value), quote=True))


def join(parts: Sequence[Html], by: str = "\n") -> Html:
    """Pieces of HTML, one after the other."""
    return Html(by.join(parts))


def element(tag: str, content: object = "", **attributes: str) -> Html:
    """``<tag ...>content</tag>``; an attribute ``class_`` is ``class``, ``data_label`` ``data-label``."""
    told = "".join(
        f' {name.rstrip("_").replace("_", "-")}="{escape(value)}"' for name, value in attributes.items()
    )
    return Html(f"<{tag}{told}>{escape(content)}</{tag}>")


def note(text: object) -> Html:
    """A paragraph in a lower voice."""
    return element("p", text, class_="note")


def table(titles: Sequence[str], rows: Sequence[Sequence[object]], dim: Sequence[bool] = ()) -> Html:
    """A table that becomes one card per row where the page is narrow.

    Args:
        titles: of the columns; a line break in one is kept.
        rows: cells.
        dim: which rows are printed in grey.
    """
    head = element("tr", join([element("th", title) for title in titles], ""))
    lines = []
    for number, row in enumerate(rows):
        cells = join(
            [
                element("td", cell, data_label=", ".join(title.split("\n")))
                if title and column
                else element("td", cell)
                for column, (title, cell) in enumerate(zip(titles, row, strict=True))
            ],
            "",
        )
        grey = number < len(dim) and dim[number]
        lines.append(element("tr", cells, class_="dim") if grey else element("tr", cells))
    content = join([element("thead", head), element("tbody", join(lines))], "")
    return element("div", element("table", content, class_="cards"), class_="wide")


def picture(png: bytes, caption: str) -> Html:
    """A picture with its caption, which also is what a screen reader says."""
    source = "data:image/png;base64," + base64.b64encode(png).decode()
    # The only tag without an end.
    image = Html(f'<img src="{source}" alt="{escape(caption)}" loading="lazy">')
    return element("figure", join([image, element("figcaption", caption)], ""))


def figures(pictures: Sequence[Html]) -> Html:
    """Pictures side by side where there is room."""
    return element("div", join(pictures), class_="figures")


def folded(title: object, content: Html) -> Html:
    """Content that shows when its title is pressed."""
    return element("details", join([element("summary", title), content], ""))


def section(name: str, parts: Sequence[Html]) -> tuple[str, Html]:
    """A part of the page: its name, which is its heading, and its content."""
    anchor = name.lower().replace(" ", "-")
    body = join([element("h2", name, id=anchor), *parts])
    return name, element("section", body)


def page(title: str, head: Sequence[Html], sections: Sequence[tuple[str, Html]]) -> str:
    """The whole page."""
    links = [element("a", name, href="#" + name.lower().replace(" ", "-")) for name, _ in sections]
    parts = [
        Html("<!doctype html>"),
        Html('<html lang="en"><head><meta charset="utf-8">'),
        # Whatever slipped through could still neither run nor fetch anything.
        Html(
            '<meta http-equiv="Content-Security-Policy" '
            "content=\"default-src 'none'; img-src data:; style-src 'unsafe-inline'\">"
        ),
        Html('<meta name="viewport" content="width=device-width, initial-scale=1">'),
        element("title", title),
        Html(f"<style>{STYLE}</style></head><body>"),
        element("h1", title),
        *head,
        element("nav", join(links)),
        *(body for _, body in sections),
        Html("</body></html>"),
    ]
    return join(parts) + "\n"
