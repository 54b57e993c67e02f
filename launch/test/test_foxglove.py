# SPDX-License-Identifier: Apache-2.0
"""The Foxglove layout shows topics that a session has, in panels that the layout places."""

import json
import re
from pathlib import Path

from rove_contract.topics import BY_NAME, EGO_IMAGE, camera_info

LAYOUT = json.loads((Path(__file__).parents[1] / "foxglove" / "session.json").read_text())


def strings(value):
    if isinstance(value, dict):
        return [text for entry in value.values() for text in strings(entry)]
    if isinstance(value, list):
        return [text for entry in value for text in strings(entry)]
    return [value] if isinstance(value, str) else []


def test_every_topic_of_the_layout_is_one_of_ours():
    shown = {re.split(r"[.\[]", text)[0] for text in strings(LAYOUT["configById"]) if text.startswith("/")}
    assert shown <= set(BY_NAME) | {camera_info(EGO_IMAGE.name).name, "/rosout"}
    assert {"/robot_description", "/supervisor/mode", EGO_IMAGE.name} <= shown


def test_every_panel_is_placed_once():
    def leaves(node):
        return [node] if isinstance(node, str) else leaves(node["first"]) + leaves(node["second"])

    assert sorted(leaves(LAYOUT["layout"])) == sorted(LAYOUT["configById"])
