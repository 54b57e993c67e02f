# SPDX-License-Identifier: Apache-2.0
"""The operator as lines in the pelvis frame, sized and placed as the robot is asked to be: a gap to the robot is an
error.
"""

from __future__ import annotations

import numpy as np

from rove_teleop.retargeting import rotations as rot
from rove_teleop.retargeting.retarget import Retargeter

DIGITS = [(0, *range(1 + 4 * k, 5 + 4 * k)) for k in range(5)]
KNUCKLES = (5, 9, 13, 17)


def _plus(point, rotation, offset):
    return tuple(a + b for a, b in zip(point, rot.apply(rotation, offset)))


def operator_lines(retargeter: Retargeter) -> list[tuple[str, list[tuple[float, float, float]]]]:
    """Followed parts of the last frame as polylines: (part, points (m, pelvis frame)). A lost part has none."""
    lines, targets = [], retargeter.targets
    waist, shoulders, turn = retargeter.trunk()
    top = tuple(sum(values) / len(shoulders) for values in zip(*shoulders.values())) if shoulders else waist
    if "chest" in targets:
        lines += [("chest", [waist, top]), ("chest", [place for side in shoulders for place in (shoulders[side], top)])]
    if "head" in targets:
        head = targets["head"][0]
        neck = _plus(top, turn, (0.0, 0.0, 0.12))
        crown = _plus(neck, head, (0.0, 0.0, 0.24))
        lines += [
            ("head", [neck, crown]),
            ("head", [_plus(neck, head, (0.0, 0.0, 0.14)), _plus(neck, head, (0.16, 0.0, 0.14))]),
        ]
    for side in shoulders:
        wrist, elbow, hand = f"{side}_wrist", f"{side}_elbow", f"{side}_hand"
        if elbow in targets:
            lines.append((elbow, [shoulders[side], targets[elbow][1]]))
        if wrist in targets:
            rotation, place = targets[wrist]
            if elbow in targets:
                lines.append((wrist, [targets[elbow][1], place]))
            # The wrist's axes, short: its orientation counts, too.
            lines += [(wrist, [place, _plus(place, rotation, axis)]) for axis in ((0.05, 0.0, 0.0), (0.0, 0.0, -0.05))]
        if retargeter.intake.lost_s[hand] == 0.0 and retargeter.intake.seen(hand):
            lines += [(hand, line) for line in _hand(retargeter, side, targets.get(wrist))]
    return lines


def _hand(retargeter: Retargeter, side: str, target) -> list[list[tuple[float, float, float]]]:
    """The digits, moved from the operator's wrist to the target's and scaled to the robot's fingers."""
    keypoints = retargeter.intake.keypoints[side]
    pose = retargeter.intake.poses.get(f"{side}_wrist")
    points = keypoints
    if target is not None and pose is not None:
        turn = np.reshape(rot.mul(target[0], rot.transpose(pose[0])), (3, 3))
        scale = retargeter.hands[side].scale
        points = scale * (keypoints - keypoints[0]) @ turn.T + target[1]
    corners = [tuple(p) for p in points.tolist()]
    return [[corners[i] for i in digit] for digit in DIGITS] + [[corners[i] for i in KNUCKLES]]
