# SPDX-License-Identifier: Apache-2.0
"""A film strip of a recorded episode from its bag: what the robot's head saw, and who drove."""

from __future__ import annotations

from typing import Any

import numpy as np
from rosbags.highlevel import AnyReader
from rosbags.typesys import Stores, get_typestore

from rove_bringup.bag_audit import BagAudit
from rove_contract import images, topics
from rove_contract.modes import Mode, Outcome
from rove_contract.web import palette
from rove_learning.report.page import Still

COLUMNS = 9  # pictures of a strip
SIZE = 192  # px at most: nine of them stand side by side
WORDS = {
    Mode.ROLLOUT.name: "policy drives",
    Mode.PAUSED.name: "paused",
    Mode.ADAPTATION.name: "takeover",
    Mode.RECOVERY.name: "recovery",
    Mode.DEMONSTRATION.name: "demonstration",
}


def moments(timeline: tuple[tuple[str, float], ...], end_s: float, count: int = COLUMNS) -> list[tuple[float, str]]:
    """(s, mode) of `count` moments of an episode, in order: each stay in a mode of `WORDS` has one at least, long ones
    have more. timeline: (mode, s of its begin); fewer moments than stays show the longest stays.
    """
    ends = [begin for _, begin in timeline[1:]] + [end_s]
    stays = [(mode, begin, end) for (mode, begin), end in zip(timeline, ends) if mode in WORDS and end > begin]
    stays = sorted(sorted(stays, key=lambda stay: stay[1] - stay[2])[:count], key=lambda stay: stay[1])
    shares = [1] * len(stays)
    for _ in range(count - len(stays) if stays else 0):
        lengths = [(end - begin) / share for (_, begin, end), share in zip(stays, shares)]
        shares[int(np.argmax(lengths))] += 1
    return [
        (begin + (end - begin) * (i + 0.5) / share, mode)
        for (mode, begin, end), share in zip(stays, shares)
        for i in range(share)
    ]


def film(bag: BagAudit, count: int = COLUMNS) -> list[Still]:
    """The strip of an audited bag; empty without pictures. Raises rosbags' AnyReaderError when it cannot be opened."""
    wanted = moments(bag.timeline, bag.duration_s, count)
    seen: list[tuple[float, bytes]] = []
    with AnyReader([bag.path], default_typestore=get_typestore(Stores.ROS2_JAZZY)) as reader:
        start = reader.start_time
        connections = [c for c in reader.connections if c.topic == topics.EGO_IMAGE.name]
        for _, stamp, raw in reader.messages(connections) if connections else ():
            seen.append(((stamp - start) * 1e-9, raw))
        if not seen:
            return []
        times = np.array([at for at, _ in seen])
        stills = []
        for at, mode in wanted:
            msg: Any = reader.deserialize(seen[int(np.abs(times - at).argmin())][1], connections[0].msgtype)
            rgb = images.decode(msg.data)
            height, width = rgb.shape[:2]
            shrink = min(1.0, SIZE / max(height, width))
            rgb = images.resize(rgb, (round(height * shrink), round(width * shrink)))
            stills.append(Still(at, images.encode_jpeg(rgb, 82), WORDS[mode], palette.COLOURS[mode]))
    return stills


def most_telling(bags: list[BagAudit]) -> BagAudit | None:
    """The episode that shows the loop best: taken over and recovered, a success if there is one, and of those the one
    whose shortest stage is the longest.
    """

    def rank(bag: BagAudit) -> tuple:
        outcome = bag.episode.outcome if bag.episode else Outcome.NONE
        ends = [begin for _, begin in bag.timeline[1:]] + [bag.duration_s]
        stays = [end - begin for (mode, begin), end in zip(bag.timeline, ends) if mode in WORDS]
        recovered = Mode.RECOVERY.name in {mode for mode, _ in bag.timeline}
        return (bag.intervened, recovered, outcome is Outcome.SUCCESS, min(stays, default=0.0))

    return max(bags, key=rank, default=None)
