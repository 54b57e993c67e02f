# SPDX-License-Identifier: Apache-2.0
"""What the driver of a real robot checks before a command reaches the drives, whatever moves them. No ROS.

It follows from where the robot stands, refuses commands that cannot be meant, brakes when commands cease, and lets go
when the robot does not follow.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from rove_contract import messages, timing
from rove_contract.command_watch import CommandWatch
from rove_contract.joint_error import worst
from rove_contract.thresholds import SEATED_RAD
from rove_description.joints import JointTable

OK, WARN, ERROR = 0, 1, 2  # as on /diagnostics
NO_STATE = "waiting for the first robot state"
NO_COMMAND = "waiting for the first command"
FOLLOWING = "following"
CEASED = "commands have ceased: the robot has stopped and is held"
RAMP_RAD_S = 0.2  # what lies between the robot and the first command goes at this speed: 1.25 s from SEATED_RAD
# A drive lags by hundredths of a second, at 4 rad/s by 0.2 rad. Farther away it is switched off, blocked, or its
# controller is not active; the robot would jump when it comes back.
FOLLOW_RAD = 0.5
ROUNDING_RAD = 1e-6  # by which a command may lie beyond a limit


class Driver:
    """States and commands in; once per control period the set-point of the drives out.

    level, reason: what the driver does now, for /diagnostics. refused: commands that were not taken. All times are
    monotonic s, all positions rad, or m where a joint slides, in the table's order.
    """

    def __init__(self, table: JointTable):
        self.table = table
        self.level, self.reason = WARN, NO_STATE
        self.refused = 0
        self._reader = messages.JointReader(table)
        self._watch = CommandWatch(table.limits, np.zeros(len(table)))
        self._measured: np.ndarray | None = None
        self._command: np.ndarray | None = None  # in force; None: the robot follows nobody
        self._at = -np.inf
        self._offset = np.zeros(len(table))  # of the set-point from the command; shrinks at RAMP_RAD_S
        self._stamp_ns: int | None = None
        self._given = False  # the drives have been given a set-point once

    def measure(self, q: np.ndarray) -> None:
        """The robot is at q (J,), complete and finite."""
        if self._measured is None:
            self.level, self.reason = WARN, NO_COMMAND
        self._measured = q
        joint, apart = worst(self.table, q - self._watch.present)
        if self._command is None:
            if self._given and apart.in_rad > SEATED_RAD:  # moved by hand while it was let go: it is not pulled back
                self._watch.reset(q)
        elif apart.in_rad > FOLLOW_RAD:
            self.release(f"the robot does not follow: {self.table.names[joint]} is {apart.words()} behind")

    def release(self, reason: str) -> None:
        """Follow nobody: the set-point is where the robot stands now, until a command is near it again."""
        self._command = None
        if self._measured is not None:
            self._watch.reset(self._measured)
        self.level, self.reason = ERROR, reason

    def command(self, msg: Any, now: float) -> None:
        """A sensor_msgs/JointState of /joint_command. Joints are read by name, whatever their order; a message whose
        stamp is that of the one before counts as none.
        """
        try:
            q = self._reader.position(msg)
            self._check(q)
        except ValueError as error:
            return self._refuse(str(error))
        stamp_ns = messages.stamp_ns(msg.header.stamp)
        if stamp_ns == self._stamp_ns or self._measured is None:
            return
        self._stamp_ns = stamp_ns
        if self._command is None or (self._watch.silent and self._watch.at_rest):
            place = self._measured if self._command is None else self._watch.present
            joint, apart = worst(self.table, q - place)
            if apart.in_rad > SEATED_RAD:
                name = self.table.names[joint]
                return self._refuse(f"{name} is commanded {apart.words()} away from where it is; waiting in IDLE helps")
            if self._command is None:
                self._watch.reset(place)
            self._offset = place - q
        self._command, self._at = q, now
        self.level, self.reason = OK, FOLLOWING

    def _check(self, q: np.ndarray) -> None:
        """Raises ValueError for a command (J,) that lacks a joint or lies beyond a limit."""
        names, limits = self.table.names, self.table.limits
        wrong = np.flatnonzero(~np.isfinite(q))
        if len(wrong):
            raise ValueError(f"the command lacks {len(wrong)} joints or is not finite, first {names[wrong[0]]}")
        beyond = np.maximum(limits.lower - q, q - limits.upper)
        i = int(np.argmax(beyond))
        if beyond[i] > ROUNDING_RAD:
            raise ValueError(
                f"{names[i]} is commanded to {q[i]:.3f} {self.table.unit(i)}, its limits are {limits.lower[i]:g} to "
                f"{limits.upper[i]:g}"
            )

    def _refuse(self, why: str) -> None:
        self.refused += 1
        if self.level != ERROR:  # why the robot was let go says more
            self.level, self.reason = WARN, f"refused a command: {why}"

    def setpoint(self, now: float) -> np.ndarray | None:
        """(J,) rad or m for the drives in this period; None before the first command was taken: send nothing then."""
        limits = self.table.limits
        if self._command is not None:
            step = RAMP_RAD_S * timing.CONTROL_PERIOD_S / self.table.in_rad
            self._offset -= np.clip(self._offset, -step, step)
            self._watch.command(np.clip(self._command + self._offset, limits.lower, limits.upper), self._at)
            self._given = True
        if not self._given:
            return None
        q = self._watch.setpoint(now)
        if self._watch.silent and self.level == OK:
            self.level, self.reason = WARN, CEASED
        return q
