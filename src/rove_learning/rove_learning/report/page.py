# SPDX-License-Identifier: Apache-2.0
"""The one page of all reports: sections of HTML, tables and figures in a file without scripts or links."""

from __future__ import annotations

import base64
import html
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

Section = tuple[str, str]  # title, HTML

STYLE = """body{font:16px/1.55 system-ui,sans-serif;max-width:66rem;margin:2rem auto;padding:0 1rem;color:#1f2937}
h1{font-size:1.7rem;margin:.2rem 0 .4rem}h2{margin:2.4rem 0 .6rem;font-size:1.25rem}
h3{margin:1.2rem 0 .4rem;font-size:1rem}
table{border-collapse:collapse;font-size:14px}
td,th{padding:.25rem .7rem;border-bottom:1px solid #e5e7eb;text-align:right}
th{color:#4b5563;font-weight:600;vertical-align:bottom}th:first-child,td:first-child{text-align:left}
td:first-child{white-space:nowrap}
img,svg{max-width:100%}.scroll{max-height:24rem;overflow:auto}.lead{font-size:1.1rem;color:#374151;max-width:46rem}
.figures{display:flex;gap:.8rem 2.4rem;flex-wrap:wrap;margin:1.2rem 0}
.figure b{display:block;font-size:2rem;line-height:1.1}
.figure span{color:#4b5563;font-size:.9rem}
.strip{display:flex;gap:3px;font-size:13px;color:#374151;margin:.3rem 0 .8rem}.strip figure{margin:0;flex:1;min-width:0}
.strip img{width:100%;display:block}.strip b{display:block;padding:.1rem .35rem;color:#111827;font-weight:600;
overflow:hidden;text-overflow:ellipsis;white-space:nowrap}.strip figcaption{padding:.1rem .35rem}
details{border:1px solid #e5e7eb;border-radius:.5rem;padding:.5rem .9rem;margin:.5rem 0}
summary{cursor:pointer;font-weight:600}
pre{background:#f3f4f6;padding:.7rem 1rem;border-radius:.5rem;overflow:auto;font-size:13.5px;
white-space:pre-wrap}
.warn{background:#fef3c7;padding:.6rem 1rem;border-radius:.4rem}.note{color:#4b5563;font-size:.92rem}"""


@dataclass(frozen=True)
class Still:
    """A picture of a film strip. seconds: of the episode. jpeg: the file's bytes. label: in words, over it, on colour
    (CSS); empty: no label.
    """

    seconds: float
    jpeg: bytes
    label: str = ""
    colour: str = ""


def embed(figure, words: str = "") -> str:
    """A matplotlib Figure as an inline picture. words: what it shows, for those who do not see it."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=110)
    return _picture(buffer.getvalue(), "png", words)


def embed_png(data: bytes) -> str:
    """The bytes of a PNG file as an inline picture."""
    return _picture(data, "png", "")


def embed_webp(data: bytes, words: str) -> str:
    """The bytes of a WebP file, which may move, as an inline picture. words: what it shows."""
    return _picture(data, "webp", words)


def film_strip(stills: Sequence[Still], words: str) -> str:
    """Pictures side by side with their times. words: what they show, for those who do not see them."""
    figures = (
        "<figure>"
        + (f'<b style="background:{still.colour}">{html.escape(still.label)}</b>' if still.label else "")
        + _picture(still.jpeg, "jpeg", f"{words}, at {still.seconds:.1f} s")
        + f"<figcaption>{still.seconds:.1f} s</figcaption></figure>"
        for still in stills
    )
    return f'<div class="strip">{"".join(figures)}</div>'


def _picture(data: bytes, kind: str, words: str) -> str:
    return f'<img alt="{html.escape(words)}" src="data:image/{kind};base64,{base64.b64encode(data).decode()}">'


def table(rows: Sequence[dict]) -> str:
    """Rows of equal or growing columns as an HTML table."""
    if not rows:
        return "<p>none</p>"
    columns = list(dict.fromkeys(key for row in rows for key in row))
    head = "".join(f"<th>{html.escape(str(key))}</th>" for key in columns)
    if not any(str(key).strip() for key in columns):
        head = ""
    body = "".join(
        "<tr>" + "".join(f"<td>{html.escape(_text(row.get(key, '')))}</td>" for key in columns) + "</tr>"
        for row in rows
    )
    return f'<div class="scroll"><table><tr>{head}</tr>{body}</table></div>'


def _text(value) -> str:
    return f"{value:.3g}" if isinstance(value, float) else "–" if value is None else str(value)


def key_figures(values: Mapping[str, object]) -> str:
    """A row of large numbers with their names below."""
    cells = (
        f'<div class="figure"><b>{html.escape(str(v))}</b><span>{html.escape(k)}</span></div>'
        for k, v in values.items()
    )
    return f'<div class="figures">{"".join(cells)}</div>'


def warning(text: str) -> str:
    return f'<p class="warn">{html.escape(text)}</p>'


def paragraph(text: str, kind: str = "") -> str:
    """kind: lead, note, or an ordinary one."""
    return f'<p class="{kind}">{html.escape(text)}</p>' if kind else f"<p>{html.escape(text)}</p>"


def commands(steps: Sequence[tuple[str, str]]) -> str:
    """(what for, command line) each, to copy."""
    return "".join(f"{paragraph(words)}<pre>{html.escape(command)}</pre>" for words, command in steps)


def fold(title: str, content: str) -> str:
    """HTML that a click on its title opens."""
    return f"<details><summary>{html.escape(title)}</summary>{content}</details>"


def page(title: str, sections: Sequence[Section], head: str = "", details: Sequence[Section] = ()) -> str:
    """A self-contained HTML page. head: HTML between the title and the first section. details: sections that a click
    opens, at the end.
    """
    body = "".join(f"<h2>{html.escape(name)}</h2>{content}" for name, content in sections)
    if details:
        body += "<h2>Details</h2>" + "".join(fold(name, content) for name, content in details)
    meta = (
        f'<meta charset="utf-8"><meta name="viewport" content="width=device-width"><title>{html.escape(title)}</title>'
    )
    heading = f"<h1>{html.escape(title)}</h1>{head}"
    return (
        f"<!doctype html><html lang='en'><head>{meta}<style>{STYLE}</style></head><body>{heading}{body}</body></html>\n"
    )
