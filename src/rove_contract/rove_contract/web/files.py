# SPDX-License-Identifier: Apache-2.0
"""The files of a page, read once from an installed package. Pure."""

from __future__ import annotations

from importlib import resources

from rove_contract.web import palette

# Not from the system's MIME table: a module script with another type is refused by browsers.
TYPES = {"html": "text/html", "css": "text/css", "js": "text/javascript", "svg": "image/svg+xml"}

Files = dict[str, tuple[str, bytes]]  # name -> (content type, bytes)


def read(package: str, folder: str) -> Files:
    """The files in `folder` of an installed package."""
    found = {}
    for entry in (resources.files(package) / folder).iterdir():
        suffix = entry.name.rpartition(".")[2]
        if suffix in TYPES:
            found[entry.name] = (TYPES[suffix], entry.read_bytes())
    return found


def page(package: str, folder: str, made: dict[str, str] | None = None) -> Files:
    """The files in `folder` of `package`, beside what all pages share: base.css, palette.css, the scripts.

    made: further files, name -> text. Raises ValueError when a name is there twice.
    """
    made = {"palette.css": palette.css()} | (made or {})
    generated = {name: (TYPES[name.rpartition(".")[2]], text.encode()) for name, text in made.items()}
    own, shared = read(package, folder), read("rove_contract.web", "page")
    twice = sorted((own.keys() & shared.keys()) | (generated.keys() & (own.keys() | shared.keys())))
    if twice:
        raise ValueError(f"{package}/{folder} has files that all pages share already: {', '.join(twice)}; rename them")
    return shared | own | generated
