# SPDX-License-Identifier: Apache-2.0
"""Policies behind a link, with the interface of `rove_learning.inference.policy.Policy` that the policy node uses.

A chunk is stamped with its observation's time on the robot, so a round trip costs its first steps and shifts nothing;
what is late is cut off, and real-time chunking continues what is executed meanwhile.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from urllib.parse import parse_qsl, urlsplit

import numpy as np

from rove_contract import timing
from rove_description.card import RobotCard
from rove_description.robot import EGO, Robot
from rove_policy.remote.link import Link, LinkError

SCHEMES = {"ws": "ws", "wss": "wss", "openpi": "ws", "openpis": "wss"}  # of an address -> of its WebSocket
View = np.ndarray | Mapping[str, np.ndarray]


def views(seen: View) -> dict[str, np.ndarray]:
    """Camera -> picture; a picture alone is the main camera's."""
    return dict(seen) if isinstance(seen, Mapping) else {EGO: seen}


def check_chunk(chunk: object, joints: int, address: str) -> np.ndarray:
    """(H, J) float64 rad, finite. Raises LinkError naming what came."""
    if not isinstance(chunk, np.ndarray) or chunk.ndim != 2 or chunk.shape[1] != joints or not len(chunk):
        what = f"an array {chunk.shape}" if isinstance(chunk, np.ndarray) else f"{type(chunk).__name__}"
        raise LinkError(f"the policy server {address} sends {what} as actions, expected (steps, {joints})")
    chunk = chunk.astype(np.float64)
    if not np.isfinite(chunk).all():
        raise LinkError(f"the policy server {address} sends actions that are not finite")
    return chunk


@dataclass
class RemoteExecution:
    """How it computes, for the log. note: what could not be had."""

    words: str
    note: str = ""

    def __str__(self) -> str:
        return self.words


class RemotePolicy:
    """A checkpoint that `rove_policy serve` serves. robot: the one it must belong to. Raises ValueError when it does
    not, LinkError when the server cannot be used.
    """

    def __init__(self, link: Link, robot: RobotCard):
        self.link = link
        about = link.connect()
        try:
            self.robot = RobotCard.from_dict(about["robot"])
            self.hash = str(about["checkpoint"])
            self.cameras = tuple(map(str, about["cameras"]))
            self.info = {"instructions": list(map(str, about["instructions"]))}
            self.critic = True if about["value"] else None
        except (KeyError, TypeError, ValueError) as error:
            raise LinkError(f"{link.address} is no policy server of ROVE: its greeting lacks {error}") from error
        if refusal := self.robot.refusal(robot, f"the policy of {link.address}"):
            raise ValueError(refusal)
        self.shared = bool(about.get("shared"))
        self.execution = RemoteExecution(f"at {link.address}: {about.get('execution', '')}")

    def prepare(self, instruction: str, guidance: float | None = None) -> bool:
        """The server prepares an instruction when it is asked."""
        return False

    def act(self, image: View, q, instruction: str, *, guidance=None, rng=None, known=None) -> np.ndarray:
        """See `Policy.act`."""
        return self._ask(image, q, instruction, guidance, rng, known)[0]

    def act_and_value(self, image: View, q, instruction: str, *, guidance=None, rng=None, known=None):
        """See `Policy.act_and_value`."""
        return self._ask(image, q, instruction, guidance, rng, known, True)

    def value(self, image: View, instruction: str) -> float | None:
        """See `Policy.value`."""
        if self.critic is None:
            return None
        answer = self.link.ask({"images": views(image), "prompt": instruction, "want": ["value"]})
        return self._value(answer)

    def _ask(self, image, q, instruction, guidance, rng, known, value: bool = False):
        message = {
            "images": views(image),
            "state": np.asarray(q, dtype=np.float64),
            "prompt": instruction,
            "guidance": guidance,
            "seed": None if rng is None else int(rng.integers(2**31)),
            "want": ["actions", "value"] if value else ["actions"],
        }
        if known is not None:
            message |= {
                "known": np.asarray(known[0], dtype=np.float32),
                "weight": np.asarray(known[1], dtype=np.float32),
            }
        answer = self.link.ask(message)
        chunk = check_chunk(answer.get("actions"), len(self.robot.joints), self.link.address)
        return chunk, self._value(answer) if value else None

    def _value(self, answer: dict) -> float | None:
        value = answer.get("value")
        return None if value is None else float(value)


class OpenpiPolicy:
    """A policy that openpi's `serve_policy.py` serves: images, state and prompt under the names of its configuration.

    options: of the address, openpi://HOST:PORT?ego=observation/image&wrist=observation/wrist_image&
    state=observation/state&prompt=prompt&hz=20&size=224. Each camera's name gives its key; hz: rate of its actions,
    which are absolute joint targets (rad) in the robot's order. Raises ValueError for an unknown option.
    """

    critic, shared = None, False

    def __init__(self, link: Link, robot: Robot, options: Mapping[str, str]):
        self.link, self.robot, self.info = link, robot.card, {"instructions": []}
        given = {"state": "observation/state", "prompt": "prompt", "hz": str(timing.POLICY_HZ), "size": "224"} | dict(
            options
        )
        self._state, self._prompt = given.pop("state"), given.pop("prompt")
        try:
            self._hz, self._size = float(given.pop("hz")), int(given.pop("size"))
        except ValueError as error:
            raise ValueError(f"{link.address}: hz and size are numbers, got {error}") from error
        self._keys = given or {EGO: "observation/image"}
        if unknown := [name for name in self._keys if name not in robot.cameras]:
            known = ", ".join(("state", "prompt", "hz", "size", *robot.cameras))
            raise ValueError(f"{link.address}: unknown option {', '.join(unknown)}; known are {known}")
        if not 1.0 <= self._hz <= 1000.0 or not 1 <= self._size <= 4096:
            raise ValueError(f"{link.address}: hz is {self._hz:g} and size {self._size}, expected 1 to 1000 and 4096")
        self.cameras = tuple(self._keys)
        self.hash = "openpi"
        about = link.connect()
        self.execution = RemoteExecution(f"at {link.address}: {', '.join(map(str, about)) or 'openpi'}")

    def prepare(self, instruction: str, guidance: float | None = None) -> bool:
        """Nothing to do here."""
        return False

    def act(self, image: View, q, instruction: str, *, guidance=None, rng=None, known=None) -> np.ndarray:
        """See `Policy.act`; openpi has neither our guidance nor known steps."""
        from rove_recorder.dataset.fit import fit_picture

        seen = views(image)
        message: dict = {
            key: fit_picture(seen[name], (self._size, self._size), "pad") for name, key in self._keys.items()
        }
        message |= {self._state: np.asarray(q, dtype=np.float32), self._prompt: instruction}
        chunk = check_chunk(self.link.ask(message).get("actions"), len(self.robot.joints), self.link.address)
        return resample(chunk, self._hz)

    def act_and_value(self, image: View, q, instruction: str, *, guidance=None, rng=None, known=None):
        """A chunk and no value."""
        return self.act(image, q, instruction), None

    def value(self, image: View, instruction: str) -> None:
        """openpi has no critic."""
        return None


def resample(chunk: np.ndarray, hz: float) -> np.ndarray:
    """(H, J) at `hz` -> (H', J) at the policy's rate: row i is due (i + 1) / rate after the observation; between rows
    linear, before the first one its own value, nothing beyond the last.
    """
    if hz == timing.POLICY_HZ:
        return chunk
    own = np.arange(1, len(chunk) + 1) / hz
    due = np.arange(1, max(1, int(np.floor(len(chunk) / hz * timing.POLICY_HZ + 1e-9))) + 1) / timing.POLICY_HZ
    return np.stack([np.interp(due, own, column) for column in chunk.T], axis=1)


class RemoteLoader:
    """`Loader` of policy servers. robot: who runs the chunks. words: policy -> the instruction in force."""

    device = "another machine"

    def __init__(self, robot: Robot, words: Callable[[object], str], guidance: float | None, token: str, ca: str):
        self.robot, self.words, self.guidance, self.token, self.ca = robot, words, guidance, token, ca

    def load(self, address: str):
        """The policy at `address`, asked once, and the time (s) of the round trip. Raises ValueError, LinkError."""
        policy = connect(address, self.robot, self.token, self.ca)
        seen = dict.fromkeys(policy.cameras, np.zeros((192, 192, 3), dtype=np.uint8))
        begin = time.perf_counter()
        policy.act(seen, self.robot.home, self.words(policy), guidance=self.guidance)
        return policy, time.perf_counter() - begin


def connect(address: str, robot: Robot, token: str = "", ca: str = "") -> RemotePolicy | OpenpiPolicy:
    """The policy at ws://, wss:// (ROVE) or openpi://, openpis:// (openpi). Raises ValueError, LinkError."""
    parts = urlsplit(address)
    if parts.scheme not in SCHEMES or not parts.hostname:
        raise ValueError(f"checkpoint is {address!r}, expected a folder or one of {', '.join(SCHEMES)}://HOST:PORT")
    socket = f"{SCHEMES[parts.scheme]}://{parts.netloc}{parts.path or '/'}"
    link = Link(socket, token, ca)
    try:
        if parts.scheme.startswith("openpi"):
            return OpenpiPolicy(link, robot, dict(parse_qsl(parts.query)))
        return RemotePolicy(link, robot.card)
    except BaseException:
        link.close()
        raise
