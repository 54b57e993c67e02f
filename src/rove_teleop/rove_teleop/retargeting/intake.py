# SPDX-License-Identifier: Apache-2.0
"""Which parts of an operator frame can be believed, and their smoothed values: the retargeter's input stage.

Each part stands alone: one that is lost, non-finite, misshapen or an outlier is left out and reported while the rest
counts.
"""

from __future__ import annotations

import math

import numpy as np

from rove_contract.operator_frame import KEYPOINTS, PARTS, POSE, FrameError, shaped
from rove_teleop.retargeting import rotations as rot
from rove_teleop.retargeting.smoothing import OneEuro

NOMINAL_DT_S = 1.0 / 60.0
MIN_DT_S, MAX_DT_S = 1e-3, 0.1  # a longer gap is a loss: catching up must not look like a jump of seconds
MAX_RANGE_M = 5.0  # beyond it a coordinate is not a body part in the pelvis frame
MAX_SPEED_M_S, SPEED_MARGIN_M = 10.0, 0.08  # of any point; fast human hands reach 6 m/s
MAX_TURN_RAD_S, TURN_MARGIN_RAD = 40.0, 0.3  # of any pose; fast forearms reach 20 rad/s
MAX_OUTLIERS = 5  # then the new place is believed: the tracker has settled there (80 ms at 60 Hz)
LONG_LOSS_S = 0.5  # after it what comes back may be anywhere
OK, LOST, NOT_FINITE, OUTLIER, LIMITED, WRONG = "ok", "lost", "not finite", "outlier", "limited", "wrong shape"

SIDES = ("left", "right")
_NAMES = tuple(PARTS)
_SIZES = [math.prod(shape) for shape in PARTS.values()]
_STARTS = np.concatenate([[0], np.cumsum(_SIZES)[:-1]])
_SLICE = {name: slice(int(a), int(a) + n) for name, a, n in zip(_NAMES, _STARTS, _SIZES)}
_POINTS = {name: 1 if shape == POSE else math.prod(shape) // 3 for name, shape in PARTS.items()}
_PLACES = np.concatenate(
    [_SLICE[name].start + np.arange(3 * n) for name, n in _POINTS.items()]
)  # x, y, z of every point
_FIRST_POINT = np.cumsum([0, *_POINTS.values()])[:-1]
_TOTAL = sum(_SIZES)
_BODY = _SLICE["left_hand"].start  # PARTS ends with the hands


class Intake:
    """Parts of successive frames -> believed values. smoothing: One-Euro on every number, but for the hands: they are
    smoothed where the wrist's motion no longer counts, see `hand`.

    report: part -> "ok", "lost", "not finite", "wrong shape" or "outlier". lost_s: part -> s since it was last
    believed. poses: part -> (rotation, position); points: part -> position; of the believed parts, as tuples of floats
    (see rotations). keypoints: side -> (21, 3) m as received, valid where the hand is believed.
    """

    def __init__(self, smoothing: bool):
        self._filter = OneEuro(_BODY) if smoothing else None
        self.report = dict.fromkeys(_NAMES, LOST)
        self._raw = np.full(_TOTAL, np.nan)
        self.reset()

    def reset(self) -> None:
        """Forget what came before: the next frame is believed wherever it is."""
        self._held = np.zeros(_TOTAL)  # last believed values, quaternions sign-continuous
        self._seen = dict.fromkeys(_NAMES, False)
        self._outliers = dict.fromkeys(_NAMES, 0)
        self.lost_s = dict.fromkeys(_NAMES, 0.0)
        self.poses: dict[str, tuple] = {}
        self.points: dict[str, tuple] = {}
        self.keypoints = {side: self._held[_SLICE[f"{side}_hand"]].reshape(KEYPOINTS) for side in SIDES}
        self._last_t: float | None = None
        if self._filter is not None:
            self._filter.reset()

    def period(self, t: float) -> float:
        """t: the frame's own time, s -> s since the frame before, within [MIN_DT_S, MAX_DT_S]; nominal where it cannot
        be told.
        """
        last, self._last_t = self._last_t, t if math.isfinite(t) else None
        if last is None or self._last_t is None or t <= last:
            return NOMINAL_DT_S
        return min(max(t - last, MIN_DT_S), MAX_DT_S)

    def take(self, parts, dt: float) -> None:
        """One frame's parts, dt s after the last; fills the attributes. Never raises for any values."""
        self._pack(parts)
        valid = self._believe(dt)
        x = self._held[:_BODY]
        if self._filter is not None:
            x = self._filter.step(x, dt, np.repeat(np.array(valid), _SIZES)[:_BODY])
        values = x.tolist()
        self.poses, self.points = {}, {}
        for name, believed in zip(_NAMES, valid):
            shape, a = PARTS[name], _SLICE[name].start
            if believed and shape == POSE:
                w, i, j, k = values[a + 3 : a + 7]
                if w * w + i * i + j * j + k * k < 0.01:  # opposite quaternions averaged away
                    self.report[name], believed = OUTLIER, False
                else:
                    self.poses[name] = (rot.from_quaternion(w, i, j, k), tuple(values[a : a + 3]))
            elif believed and shape != KEYPOINTS:
                self.points[name] = tuple(values[a : a + 3])
            self.lost_s[name] = 0.0 if believed else self.lost_s[name] + dt
            if self.lost_s[name] > LONG_LOSS_S:
                self._seen[name] = False

    def raw_rotation(self, name: str) -> np.ndarray | None:
        """(3, 3) of a pose as received with this frame; None where it is not believed."""
        if name not in self.poses:
            return None
        at = _SLICE[name].start + 3
        return np.array(rot.from_quaternion(*self._held[at : at + 4].tolist())).reshape(3, 3)

    def seen(self, name: str) -> bool:
        """True when the part was believed since `reset` and not long lost."""
        return self._seen[name]

    def _pack(self, parts) -> None:
        """Parts -> self._raw, NaN where there is nothing; begins `report`."""
        raw, report = self._raw, self.report
        for name, shape in PARTS.items():
            value = parts.get(name)
            report[name] = OK if value is not None else LOST
            if value is None:
                value = np.nan
            elif not isinstance(value, np.ndarray) or value.shape != shape or value.dtype != np.float64:
                try:
                    value = shaped(name, value)
                except FrameError:
                    report[name], value = WRONG, np.nan
            raw[_SLICE[name]] = value if shape != KEYPOINTS or report[name] != OK else value.ravel()

    def _believe(self, dt: float) -> list[bool]:
        """self._raw -> self._held, per part whether it is believed now; completes `report`."""
        raw, held, report = self._raw, self._held, self.report
        good = np.logical_and.reduceat(np.abs(raw) < MAX_RANGE_M, _STARTS).tolist()
        with np.errstate(invalid="ignore", over="ignore"):
            step = (raw[_PLACES] - held[_PLACES]).reshape(-1, 3)
            moved = np.sqrt(np.maximum.reduceat((step * step).sum(axis=1), _FIRST_POINT)).tolist()
        valid, far, turn = (
            [],
            MAX_SPEED_M_S * dt + SPEED_MARGIN_M,
            math.cos(min(MAX_TURN_RAD_S * dt + TURN_MARGIN_RAD, math.pi) / 2),
        )
        for name, finite, distance in zip(_NAMES, good, moved):
            jumped = self._seen[name] and distance > far
            if report[name] == OK:
                if not finite:
                    report[name] = NOT_FINITE
                elif PARTS[name] == POSE:
                    cosine = self._align(name)
                    if cosine is None:
                        report[name] = WRONG
                    jumped = jumped or (self._seen[name] and cosine is not None and cosine < turn)
                if report[name] == OK and jumped and self._outliers[name] < MAX_OUTLIERS:
                    self._outliers[name] += 1
                    report[name] = OUTLIER
            valid.append(report[name] == OK)
            if valid[-1]:
                self._outliers[name], self._seen[name] = 0, True
                held[_SLICE[name]] = raw[_SLICE[name]]
        return valid

    def _align(self, name: str) -> float | None:
        """Normalise a pose's quaternion and give it the sign of the last -> cosine of half the angle between them;
        None: not a rotation.
        """
        at = slice(_SLICE[name].start + 3, _SLICE[name].stop)
        new = self._raw[at]
        square = float(new @ new)
        if not 0.25 < square < 4.0:  # a sender rounds, but not so much
            return None
        cosine = float(new @ self._held[at])
        self._raw[at] = new * math.copysign(square**-0.5, cosine)
        return abs(cosine) * square**-0.5
