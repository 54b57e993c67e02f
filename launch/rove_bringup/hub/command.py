# SPDX-License-Identifier: Apache-2.0
"""`rove push` and `rove pull`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Literal

import tyro

from rove_bringup.hub import transfer
from rove_bringup.hub.contents import HubError
from rove_recorder.dataset.corrections import CorrectionError
from rove_recorder.dataset.lerobot_format import DatasetError

FLAG = tyro.conf.FlagCreatePairsOff


def push(
    folder: tyro.conf.Positional[Path],
    name: tyro.conf.Positional[str],
    license: str = "",
    public: Annotated[bool, FLAG] = False,
) -> None:
    """Upload a dataset or a checkpoint, with a card, to the Hugging Face Hub.

    Args:
        folder: of the dataset or checkpoint; its README.md becomes the card.
        name: OWNER/NAME on the Hub; it is made where it is not there.
        license: the Hub's word for it, e.g. apache-2.0 or cc-by-4.0; without one nothing is pushed.
        public: everybody may see it; else you and your organisation. Of an existing one nothing changes.
    """
    address, contents = transfer.push(folder, name, license, private=not public)
    print(f"{contents.kind} {folder} -> {address}")
    if contents.operators:
        print(f"note: its episodes name their operators: {', '.join(contents.operators)}")


def pull(
    name: tyro.conf.Positional[str],
    folder: tyro.conf.Positional[Path],
    kind: Literal["", "dataset", "checkpoint"] = "",
    revision: str = "",
) -> None:
    """Fetch a dataset or a checkpoint from the Hugging Face Hub, and look whether it is whole.

    Args:
        name: OWNER/NAME on the Hub.
        folder: a new one, or one that was pulled before.
        kind: which of the two, where the Hub has both under this name.
        revision: commit, branch or tag; the newest where it is empty.
    """
    contents = transfer.pull(name, folder, kind=kind, revision=revision)
    facts = ", ".join(f"{key}: {value}" for key, value in list(contents.facts.items())[:4])
    print(f"{contents.kind} {name} -> {folder} ({facts})")


def main(verb: str, argv: list[str]) -> int:
    """`rove VERB argv…`; returns the exit status."""
    try:
        if verb == "push":
            tyro.cli(push, args=argv, prog="rove push")
        else:
            tyro.cli(pull, args=argv, prog="rove pull")
    except (HubError, DatasetError, CorrectionError, OSError) as error:
        print(f"rove {verb}: {error}", file=sys.stderr)
        return 2
    return 0
