# SPDX-License-Identifier: Apache-2.0
"""An operator's practice without ROS and without a robot moving: input -> retargeting -> a robot that exists in the
picture only.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from rove_contract import timing
from rove_contract.joint_error import JointError
from rove_contract.operator_frame import OperatorFrame
from rove_description import joints, robot
from rove_teleop.practice.operator_lines import operator_lines
from rove_teleop.practice.tracking_error import tracking_error
from rove_teleop.retargeting import any_robot, skeleton
from rove_teleop.retargeting import calibration as calibrations
from rove_teleop.retargeting.alignment import alignment, by_side
from rove_teleop.retargeting.intake import LIMITED, LOST, OK
from rove_teleop.sources import OperatorInput, RobotView

POLL_S = 0.05
CALIBRATION_S = 6.0
RATE_WINDOW_S = 2.0
REFUSALS = (
    "malformed",
    "replayed",
    "out_of_order",
    "late",
    "other_source",
    "lost",
    "restarts",
)  # counts of OperatorInput.statistics


@dataclass(frozen=True)
class Scene:
    """What a picture shows. q: (J,) rad of the robot. lines: the operator's, see operator_lines. states: part ->
    report. taken_s: monotonic.
    """

    q: np.ndarray
    lines: list
    states: dict[str, str]
    taken_s: float


class Practice:
    """source: any operator input. mode, smoothing, calibration: the Retargeter's. calibration_file: where a new
    calibration goes, or None. described: the robot; None: the default one.

    The robot follows the operator, or with `following` False it stays where it is, as before a takeover: then the
    errors are how far the operator is from taking over without moving the robot. Methods may be called from any thread.
    """

    def __init__(
        self,
        source: OperatorInput,
        mode: str = "absolute",
        smoothing: bool = True,
        calibration: calibrations.Calibration | None = None,
        calibration_file: Path | None = None,
        described: robot.Robot | None = None,
    ):
        self.source, self.calibration_file = source, calibration_file
        self.described = described or robot.load()
        self.table = self.described.table
        self.retargeter = any_robot.make(self.described, mode=mode, smoothing=smoothing, calibration=calibration)
        self.calibration_text = "calibrated" if calibration is not None else "the robot's own proportions"
        self.following = True
        self.home = self.described.home
        self.q = self.home.copy()
        self._robot = skeleton.make(self.described)
        self._recording: list[OperatorFrame] | None = None
        self._recording_end_s = 0.0
        self._arrivals: deque[float] = deque(maxlen=1000)
        self._frames = 0
        self._taken_s = -np.inf
        self._delay_s = self._retarget_s = 0.0
        self._lines: list = []
        self._error = ""
        self._lock = threading.Lock()
        self._running = True
        self.restart()
        self._thread = threading.Thread(target=self._receive, name="operator input", daemon=True)
        self._thread.start()

    # -- what the operator asks for
    # -----------------------------------------------------------------------------------------------

    def restart(self) -> str:
        """The robot goes home, and retargeting starts from there, as at a takeover."""
        with self._lock:
            self.q = self.home.copy()
            self.retargeter.reset(self.q)
        return "started again at the robot's pose"

    def follow(self, following: bool) -> str:
        """The robot follows from where it is, or stays there."""
        with self._lock:
            self.following = following
            self.retargeter.reset(self.q)
        return "the robot follows" if following else "the robot stays: match its pose"

    def calibrate(self, seconds: float = CALIBRATION_S) -> str:
        """Record the operator's arms from now on; the result replaces the calibration and goes to the file."""
        with self._lock:
            self._recording, self._recording_end_s = [], time.monotonic() + seconds
        return f"swing both arms forward, sideways and up for {seconds:g} s"

    # -- the input's thread
    # -------------------------------------------------------------------------------------------------------

    def _receive(self) -> None:
        while self._running:
            try:
                sample = self.source.poll(POLL_S)
                with self._lock:
                    if sample is not None:
                        self._take(sample)
                    if self.source.shows_robot:
                        self._show_robot()
                    if self._recording is not None and time.monotonic() > self._recording_end_s:
                        self._fit()
            except Exception as error:  # one frame must not end the practice; the page shows it
                self._error = repr(error)

    def _take(self, sample) -> None:
        begin = time.perf_counter()
        if not self.following:
            self.retargeter.free_arms()
        q = self.retargeter.retarget(sample.frame)
        self._retarget_s = time.perf_counter() - begin
        if self.following:
            self.q = q
        if self._recording is not None:
            self._recording.append(sample.frame)
        self._arrivals.append(sample.received_s)
        self._frames += 1
        self._taken_s, self._delay_s = sample.taken_s, sample.delay_s

    def _show_robot(self) -> None:
        """Headsets show the practice robot's hands as they show the real one's."""
        alive, states = self._states(time.monotonic())
        held = tuple(sorted(part for part, state in states.items() if state not in (OK, LIMITED)))
        errors = by_side(self.table, self.retargeter.solution, self.q)
        view = RobotView(self.q.copy(), "PRACTICE", 1 if held else 0, "practice: no robot moves", errors, held=held)
        self.source.show_robot(view if alive else RobotView(self.q.copy(), "PRACTICE", 3, "no operator input"))

    def _fit(self) -> None:
        frames, self._recording = self._recording, None
        try:
            result = calibrations.calibrate(frames)
            text = str(result)
            if self.calibration_file is not None:
                result.save(self.calibration_file)
                text += f"; written to {self.calibration_file}"
        except (ValueError, OSError) as error:
            self.calibration_text = f"not calibrated: {error}"
            return
        self.retargeter.calibration = result
        self.retargeter.reset(self.q)
        self.calibration_text = text

    # -- what a page shows
    # --------------------------------------------------------------------------------------------------------

    def _states(self, now: float) -> tuple[bool, dict[str, str]]:
        alive = now - self._taken_s < timing.TELEOP_STALE_S
        return alive, {
            part: state if alive else LOST
            for part, state in self.retargeter.report.items()
            if part in self.source.parts
        }

    def scene(self) -> Scene:
        """A snapshot to draw."""
        with self._lock:
            alive, states = self._states(time.monotonic())
            return Scene(self.q.copy(), operator_lines(self.retargeter) if alive else [], states, self._taken_s)

    def snapshot(self) -> dict:
        """Everything else a page shows; plain JSON types, finite numbers."""
        with self._lock:
            now = time.monotonic()
            alive, states = self._states(now)
            errors = tracking_error(self.retargeter, self._robot.parts(self.q)) if alive else {}
            parts = {
                part: {"state": state} | {k: round(v, 1) for k, v in errors.get(part, {}).items()}
                for part, state in states.items()
            }
            blocks = alignment(self.table, self.retargeter.solution, self.q)
            worst_joint = blocks.pop("worst_joint")
            errors_of = {block: JointError.parse(value) for block, value in blocks.items()}
            rate = sum(1 for t in self._arrivals if now - t < RATE_WINDOW_S) / RATE_WINDOW_S
            statistics = self.source.statistics()
            return {
                "alive": alive,
                "following": self.following,
                "mode": self.retargeter.mode,
                "input": {
                    "endpoint": self.source.endpoint,
                    "source": str(statistics.get("source", "")),
                    "hz": round(rate, 1),
                    "frames": self._frames,
                    "delay_ms": round(1e3 * self._delay_s, 1),
                    "retarget_ms": round(1e3 * self._retarget_s, 2),
                    "refused": {k: v for k, v in statistics.items() if k in REFUSALS and v},
                    "last_error": self._error or str(statistics.get("last_error", "")),
                },
                "blocks": {block: error.in_rad for block, error in errors_of.items()} if alive else {},
                "lengths": {block: error.words() for block, error in errors_of.items() if error.unit == joints.METRE},
                "names": list(self.table.blocks_present()),
                "worst_joint": worst_joint,
                "parts": parts,
                "held": sorted(part for part, state in states.items() if state not in (OK, LIMITED)),
                "calibration": {
                    "text": self.calibration_text,
                    "left_s": None if self._recording is None else round(max(self._recording_end_s - now, 0.0), 1),
                    "file": str(self.calibration_file or ""),
                },
            }

    def close(self) -> None:
        """Stop the input."""
        self._running = False
        self._thread.join(timeout=2.0)
        self.source.close()
