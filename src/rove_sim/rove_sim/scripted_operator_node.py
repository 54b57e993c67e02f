# SPDX-License-Identifier: Apache-2.0
"""`scripted_operator`: plays the motion-capture suit over the same ZMQ socket as a real one (PUB, connects to the
teleop node).
"""

from __future__ import annotations

import contextlib
import json
import sys
import time
from dataclasses import dataclass

import numpy as np
import zmq
from rclpy.node import Node

from rove_contract import messages, ros, topics
from rove_contract.modes import ACTIVE, Mode
from rove_contract.operator_frame import OperatorFrame, encode
from rove_contract.parameters import parameter
from rove_description import robot as robots
from rove_sim.people import suit
from rove_sim.people.operator import CREW, EXPERT, Operator, Person
from rove_sim.tasks import task as tasks


@dataclass(frozen=True)
class Parameters:
    """Of the node."""

    robot: str = parameter(robots.DEFAULT, "the robot: a name, or a folder with robot.yaml")
    endpoint: str = parameter("tcp://127.0.0.1:5591", "where operator frames are sent, tcp://HOST:PORT")
    rate_hz: float = parameter(60.0, "operator frames per second", unit="Hz", low=1.0, high=240.0)
    task: str = parameter(tasks.ERASE_WHITEBOARD.name, "what is done in the simulator")
    people: str = parameter(
        "crew", "crew: four operators of different skill in turn, one per episode; expert; or one of the crew by name"
    )
    noise: float = parameter(
        0.0, "of the suit, beside the operator's own tracking error; 1 is that of a usual suit", low=0.0, high=100.0
    )
    seed: int = parameter(0, "of the operators and the noise", low=0)


def choose_people(name: str) -> tuple[Person, ...]:
    """The operators of a session by the parameter `people`. Raises ValueError naming those there are."""
    known = {"crew": CREW, "expert": (EXPERT,)} | {person.name: (person,) for person in CREW}
    if name not in known:
        raise ValueError(f"people is {name!r}, expected one of {', '.join(known)}")
    return known[name]


class OperatorNode(Node):
    """See Parameters."""

    def __init__(self):
        super().__init__("scripted_operator")
        p = ros.read_parameters(self, Parameters)
        self.endpoint, self.period = p.endpoint, 1.0 / p.rate_hz
        self.task = tasks.get(p.task)
        self.people = choose_people(p.people)
        described = robots.load(p.robot)
        self.task.check_robot(described.card)
        self.table = described.table
        self.reader = messages.JointReader(self.table)
        self.rng = np.random.default_rng(p.seed)
        self.episodes = 0
        self.operator = self.next_person()
        # Draws of its own: the person is then the one that plays this seed in-process.
        self.noise = suit.TrackingNoise(np.random.default_rng([p.seed, 1]), 0.002 * p.noise, 0.006 * p.noise)
        self.q: np.ndarray | None = None
        self.state: dict | None = None
        self.mode = Mode.IDLE
        self.seq = 0
        self.zmq_context = zmq.Context()
        self.socket = self.zmq_context.socket(zmq.PUB)
        self.socket.setsockopt(zmq.LINGER, 0)
        self.socket.setsockopt(zmq.SNDHWM, 4)  # an old pose is worth nothing
        self.socket.connect(self.endpoint)
        ros.subscription(self, topics.JOINT_STATES, self.on_joints)
        ros.subscription(self, topics.SIM_STATE, self.on_state)
        ros.subscription(self, topics.MODE, self.on_mode)
        self.diagnostics = ros.Diagnostics(self, self.report)
        self.timer = ros.timer(self, self.period, self.send)

    def on_joints(self, msg) -> None:
        try:
            q = self.reader.position(msg)
        except messages.JointMessageError:  # not the robot's message
            return
        if np.isfinite(q).all():
            self.q = q

    def on_state(self, msg) -> None:
        self.state = json.loads(msg.data)

    def next_person(self) -> Operator:
        """Whose turn it is."""
        person = self.people[self.episodes % len(self.people)]
        return Operator(self.task, person, self.rng, self.period, self.table)

    def on_mode(self, msg) -> None:
        try:
            before, self.mode = self.mode, ros.mode_of(msg)
        except ValueError:  # no mode: not a supervisor's message
            return
        if before in ACTIVE and self.mode not in ACTIVE:
            self.episodes += 1
            ghost, self.operator = self.operator.ghost, self.next_person()
            self.operator.ghost = ghost

    def send(self) -> None:
        """One operator frame."""
        pose = self.operator.pose(self.mode, self.q, self.state)
        self.noise.advance(self.period)
        frame = suit.parts(self.operator.kinematics, pose, self.noise)
        with contextlib.suppress(zmq.Again):  # nobody reads: dropped
            self.socket.send(encode(OperatorFrame(frame, self.seq, time.time(), "scripted_operator")), zmq.NOBLOCK)
        self.seq += 1

    def report(self):
        """(level, message, values) for /diagnostics."""
        missing = [name for name, value in (("/joint_states", self.q), ("/sim/state", self.state)) if value is None]
        values = {
            "endpoint": self.endpoint,
            "frames": self.seq,
            "phase": self.operator.expert.phase,
            "person": self.operator.person.name,
            "behaviour": self.operator.behaviour,
            "ready": str(not missing).lower(),
        }
        return (1, f"waiting for {' and '.join(missing)}", values) if missing else (0, self.mode.name, values)

    def close(self) -> None:
        self.socket.close()
        self.zmq_context.term()


def main() -> int:
    return ros.spin(OperatorNode, sys.argv)


if __name__ == "__main__":
    sys.exit(main())
