# SPDX-License-Identifier: Apache-2.0
"""A mark in the data that says that corrections stand beside them, so that their loss is noticed.

LeRobot's tools copy `features` of meta/info.json whole and leave meta/corrections.jsonl behind. The mark stands in
`features.stage.info`. Two datasets of which one is marked have other features, so LeRobot refuses to merge them.
"""

from __future__ import annotations

import json
from pathlib import Path

from rove_contract import files
from rove_recorder.dataset import lerobot_format as layout
from rove_recorder.dataset import reader

FILE = "meta/corrections.jsonl"
FEATURE, KEY = "stage", "corrections"


def with_mark(features: dict[str, dict]) -> dict[str, dict]:
    """`features` of info.json with the mark."""
    if FEATURE not in features:
        return features
    facts = (features[FEATURE].get("info") or {}) | {KEY: FILE}
    return features | {FEATURE: features[FEATURE] | {"info": facts}}


def has_mark(features: dict[str, dict]) -> bool:
    facts = features.get(FEATURE, {}).get("info")
    return isinstance(facts, dict) and KEY in facts


def is_marked(root: Path | str) -> bool:
    """Whether the dataset was corrected in review, as far as its meta/info.json tells."""
    try:
        return has_mark(reader.read_info(root)["features"])
    except layout.DatasetError:  # whoever reads the data says what is wrong
        return False


def mark(root: Path | str) -> None:
    """Note in meta/info.json that corrections stand beside the data; atomic. Raises DatasetError."""
    if not (Path(root) / layout.INFO).is_file():
        return
    info = reader.read_json(root, layout.INFO)
    if FEATURE in (info.get("features") or {}) and not has_mark(info["features"]):
        files.write(layout.inside(root, layout.INFO), layout.to_text(info | {"features": with_mark(info["features"])}))


def without_mark(data: bytes) -> bytes:
    """The content of info.json as it was before a correction; what is computed from the data does not depend on it."""
    try:
        info = json.loads(data)
        if not has_mark(info["features"]):
            return data
        facts = info["features"][FEATURE]["info"]
        del facts[KEY]
        if not facts:
            del info["features"][FEATURE]["info"]
        return layout.to_text(info).encode()
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):  # no JSON, or no dataset's
        return data
