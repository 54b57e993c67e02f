# SPDX-License-Identifier: Apache-2.0
"""A person in a motion-capture suit, for tests of whole sessions: frames over ZMQ, as a real suit's."""

from __future__ import annotations

import socket
import threading
import time

import numpy as np
import zmq

from rove_contract.operator_frame import encode
from rove_description import joints, mjcf

BENT, STRAIGHT = -0.6, -1.4  # rad, the right elbow
STEP = 0.03  # rad per frame


def free_endpoint() -> str:
    """An address of this machine that nobody listens at."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return f"tcp://127.0.0.1:{probe.getsockname()[1]}"


class Suit:
    """Sends 40 frames a second from a thread until `close`; the right elbow bends when `bent` is set."""

    def __init__(self, endpoint: str):
        from rove_teleop.retargeting.robot_geometry import RobotSkeleton

        table = joints.load()
        self.endpoint = endpoint
        self.skeleton, self.pose, self.elbow = RobotSkeleton(table), mjcf.home(table), table.index["right_elbow"]
        self.bent, self.stop = threading.Event(), threading.Event()
        self.thread = threading.Thread(target=self.send, daemon=True)
        self.thread.start()

    def send(self) -> None:
        context = zmq.Context()
        out = context.socket(zmq.PUB)
        out.setsockopt(zmq.LINGER, 0)
        out.connect(self.endpoint)
        seq = 0
        while not self.stop.wait(1 / 40):
            goal = BENT if self.bent.is_set() else STRAIGHT
            self.pose[self.elbow] += np.clip(goal - self.pose[self.elbow], -STEP, STEP)
            out.send(encode(self.skeleton.frame(self.pose, seq, time.time(), "suit")))
            seq += 1
        out.close()
        context.term()

    def close(self) -> None:
        self.stop.set()
        self.thread.join(5.0)
