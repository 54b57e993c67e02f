# SPDX-License-Identifier: Apache-2.0
"""The one page of all reports: sections of HTML, tables and figures in a file without scripts or links."""

from __future__ import annotations

import base64
import html
import io
from collections.abc import Sequence

Section = tuple[str, str]  # title, HTML

STYLE = """body{font:15px/1.5 system-ui,sans-serif;max-width:62rem;margin:2rem auto;padding:0 1rem;color:#222}
table{border-collapse:collapse;font-size:13px}td,th{padding:.2rem .6rem;border-bottom:1px solid #ddd;text-align:right}
th:first-child,td:first-child{text-align:left}img{max-width:100%}h2{margin-top:2rem}.scroll{max-height:24rem;overflow:auto}
.figures{display:flex;gap:2rem;flex-wrap:wrap;margin:1.2rem 0}.figure b{display:block;font-size:1.8rem;line-height:1.1}
.figure span{color:#4b5563;font-size:.9rem}
.strip{display:flex;gap:2px;font-size:12px;color:#4b5563}.strip figure{margin:0;flex:1}.strip img{width:100%}
.warn{background:#fef3c7;padding:.6rem 1rem;border-radius:.4rem}"""


def embed(figure) -> str:
    """A matplotlib Figure as an inline picture."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=110)
    return embed_png(buffer.getvalue())


def embed_png(data: bytes) -> str:
    """The bytes of a PNG file as an inline picture."""
    return _picture(data, "png", "")


def film_strip(pictures: Sequence[tuple[float, bytes]], words: str) -> str:
    """Pictures (s, bytes of a JPEG file) side by side with their times. words: what they show, for those who do not
    see them.
    """
    figures = (
        f"<figure>{_picture(data, 'jpeg', f'{words}, at {seconds:.1f} s')}"
        f"<figcaption>{seconds:.1f} s</figcaption></figure>"
        for seconds, data in pictures
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
    body = "".join(
        "<tr>" + "".join(f"<td>{html.escape(_text(row.get(key, '')))}</td>" for key in columns) + "</tr>"
        for row in rows
    )
    return f'<div class="scroll"><table><tr>{head}</tr>{body}</table></div>'


def _text(value) -> str:
    return f"{value:.3g}" if isinstance(value, float) else "–" if value is None else str(value)


def key_figures(values: dict[str, object]) -> str:
    """A row of large numbers with their names below."""
    cells = (
        f'<div class="figure"><b>{html.escape(str(v))}</b><span>{html.escape(k)}</span></div>'
        for k, v in values.items()
    )
    return f'<div class="figures">{"".join(cells)}</div>'


def warning(text: str) -> str:
    return f'<p class="warn">{html.escape(text)}</p>'


def paragraph(text: str) -> str:
    return f"<p>{html.escape(text)}</p>"


def page(title: str, sections: Sequence[Section], head: str = "") -> str:
    """A self-contained HTML page. head: HTML between the title and the first section."""
    body = "".join(f"<h2>{html.escape(name)}</h2>{content}" for name, content in sections)
    meta = f'<meta charset="utf-8"><title>{html.escape(title)}</title><style>{STYLE}</style>'
    heading = f"<h1>{html.escape(title)}</h1>{head}"
    return f"<!doctype html><html lang='en'><head>{meta}</head><body>{heading}{body}</body></html>\n"
