# SPDX-License-Identifier: Apache-2.0
"""The loop as a picture with the numbers of one demo in it. Pure."""

from __future__ import annotations

import html

WIDTH, HEIGHT, GAP = 178, 92, 28  # of a box and between two, px of the drawing
STYLE = (
    ".b{fill:#f8fafc;stroke:#1f2937;stroke-width:1.4}.new{fill:#e6faf4;stroke:#0f766e}.t{font-weight:600;fill:#111827}"
    ".n{font-size:25px;font-weight:700;fill:#111827}.s{fill:#4b5563;font-size:12.5px}"
    ".a{fill:none;stroke:#2563eb;stroke-width:2.4;marker-end:url(#m)}"
)
MARKER = (
    '<defs><marker id="m" viewBox="0 0 10 10" refX="9" refY="5" markerWidth="7" markerHeight="7" orient="auto">'
    '<path d="M0 0 10 5 0 10z" fill="#2563eb"/></marker></defs>'
)


def loop_picture(
    *, demonstrations: int, before: float, rollouts: int, taken_over: int, positive: float, after: float
) -> str:
    """SVG. before, after: success rates. rollouts: deployed episodes, taken_over: how many of them. positive: share of
    the frames that are labelled good.
    """
    boxes = [
        ("Demonstrate", f"{demonstrations}", "episodes by people"),
        ("Base policy", f"{before:.0%}", "of its tries succeed"),
        ("Deploy, take over", f"{taken_over} of {rollouts}", "episodes taken over"),
        ("Critic and labels", f"{positive:.0%}", "of moments are good"),
        ("New policy", f"{after:.0%}", "of its tries succeed"),
    ]
    step = WIDTH + GAP
    total = len(boxes) * step - GAP + 4
    parts = []
    for i, (title, number, words) in enumerate(boxes):
        x = 2 + i * step
        kind = "b new" if i == len(boxes) - 1 else "b"
        parts.append(f'<rect class="{kind}" x="{x}" y="4" width="{WIDTH}" height="{HEIGHT}" rx="10"/>')
        for y, name, text in ((26, "t", title), (58, "n", number), (82, "s", words)):
            parts.append(f'<text class="{name}" x="{x + 14}" y="{y}">{html.escape(text)}</text>')
        if i:
            parts.append(f'<path class="a" d="M{x - GAP} {4 + HEIGHT / 2:.0f}H{x - 3}"/>')
    start, end, low = 2 + 4 * step + WIDTH / 2, 2 + 2 * step + WIDTH / 2, HEIGHT + 34
    parts.append(f'<path class="a" d="M{start:.0f} {HEIGHT + 4}V{low}H{end:.0f}V{HEIGHT + 8}"/>')
    middle = (start + end) / 2
    parts.append(f'<text class="s" x="{middle:.0f}" y="{low - 8}" text-anchor="middle">and again</text>')
    label = (
        f"The loop: {demonstrations} demonstrations, a base policy that succeeds in {before:.0%}, {rollouts} deployed "
        f"episodes of which {taken_over} were taken over, labels, a new policy that succeeds in {after:.0%}."
    )
    return (
        f'<svg role="img" aria-label="{html.escape(label)}" viewBox="0 0 {total} {HEIGHT + 42}" '
        f'font-family="system-ui,sans-serif" font-size="15"><style>{STYLE}</style>{MARKER}{"".join(parts)}</svg>'
    )
