"""Retargeting of an operator frame to the robot's 50 joints: head -> neck, chest -> waist, wrist + elbow -> arm, keypoints -> hand.

Own closed forms (arm_ik, hand_ik) on the robot model's dimensions; no optimisation library. Each body part stands alone: one that is
lost, non-finite or an outlier holds and is reported while the rest moves. Output: always finite, always within the joint limits, and
never faster than the joints' velocity limits between two frames.
"""

from __future__ import annotations

import math

import numpy as np

from rove_contract import joints, robot
from rove_teleop import robot_geometry
from rove_teleop import rotations as rot
from rove_teleop.arm_ik import ArmIK
from rove_teleop.calibration import Calibration
from rove_teleop.frames import KEYPOINTS, PARTS, POSE, FrameError, OperatorFrame, shaped
from rove_teleop.hand_ik import HandIK
from rove_teleop.smoothing import OneEuro

NOMINAL_DT_S = 1.0 / 60.0
MIN_DT_S, MAX_DT_S = 1e-3, 0.1  # a longer gap is a loss: catching up must not look like a jump of seconds
MAX_RANGE_M = 5.0  # beyond it a coordinate is not a body part in the pelvis frame
MAX_SPEED_M_S, SPEED_MARGIN_M = 10.0, 0.08  # fast human hands reach 6 m/s
MAX_OUTLIERS = 5  # then the new place is believed: the tracker has settled there (80 ms at 60 Hz)
REANCHOR_S = 0.5  # relative mode: a part that was lost for longer starts again from where the robot is
FINGER_RATE = 0.05  # per frame, of the running finger lengths: 20 frames of memory average the keypoints' noise
OK, LOST, NOT_FINITE, OUTLIER, LIMITED, WRONG = "ok", "lost", "not finite", "outlier", "limited", "wrong shape"
SIDES = robot_geometry.SIDES

_NAMES = tuple(PARTS)
_SIZES = [int(np.prod(shape)) for shape in PARTS.values()]
_STARTS = np.concatenate([[0], np.cumsum(_SIZES)[:-1]])
_SLICE = {name: slice(int(a), int(a) + n) for name, a, n in zip(_NAMES, _STARTS, _SIZES)}
_PLACE = (_STARTS[:, None] + np.arange(3)).ravel()  # first point of every part
_POSES = [name for name, shape in PARTS.items() if shape == POSE]
_HANDS = slice(_SLICE["left_hand"].start, _SLICE["right_hand"].stop)
_TOTAL = int(sum(_SIZES))


class Retargeter:
    """Operator frames -> joint targets; keeps the previous solution as the seed of the next.

    table: contract joints. mode: "absolute" (the robot takes the operator's pose) or "relative" (motions since `reset`, applied to
    the robot's pose then). smoothing: One-Euro on the input. velocity_limited: bound the step between frames by the joints' velocity
    limits (from the frames' timestamps). calibration: the operator's arms, None = the robot's own proportions.

    report: part -> "ok", "lost", "not finite", "wrong shape", "outlier" (held), or "limited" (followed as far as limits allow).
    solution: (J,) the target before the velocity bound; alignment is measured against it.
    """

    def __init__(
        self,
        table: joints.JointTable | None = None,
        mode: str = "absolute",
        smoothing: bool = True,
        velocity_limited: bool = True,
        calibration: Calibration | None = None,
    ):
        if mode not in ("absolute", "relative"):
            raise ValueError(f"retargeting mode {mode!r}; expected 'absolute' or 'relative'")
        self.table = table or joints.load()
        self.mode = mode
        self.velocity_limited = velocity_limited
        self.calibration = calibration or Calibration()
        self.geometry = geometry = robot_geometry.read(self.table)
        limits, index = self.table.limits, self.table.index
        self.waist_index = np.array([index[name] for name in robot_geometry.WAIST])
        self.neck_index = np.array([index[name] for name in robot_geometry.NECK])
        self.arm_index = {side: np.array([index[f"{side}_{name}"] for name in robot_geometry.ARM]) for side in SIDES}
        self.hand_index = np.array([[index[name] for name in robot_geometry.hand_names(side)] for side in SIDES])
        self._bounds = {
            "chest": [(limits.lower[i], limits.upper[i]) for i in self.waist_index],
            "head": [(limits.lower[i], limits.upper[i]) for i in self.neck_index],
        }
        self.arms = {
            side: ArmIK(geometry.shoulder[side], geometry.upper_arm, geometry.forearm, limits.lower[at], limits.upper[at])
            for side, at in self.arm_index.items()
        }
        self.hands = HandIK(geometry, limits.lower[self.hand_index], limits.upper[self.hand_index])
        self._robot_fingers = self.hands.robot_lengths()
        self.filter = OneEuro(_TOTAL) if smoothing else None
        self.report = dict.fromkeys(_NAMES, LOST)
        self._raw = np.full(_TOTAL, np.nan)
        self._seeded = False
        self.reset(robot.home(self.table))
        self._seeded = False

    def reset(self, q) -> None:
        """Start from the robot's pose q (J,) rad: the next output is there or moves on from there. NaN entries keep the last value."""
        q = np.asarray(q, dtype=np.float64)
        if q.shape != (len(self.table),):
            raise ValueError(f"reset needs ({len(self.table)},) joint positions, got shape {q.shape}")
        limits = self.table.limits
        if self._seeded or hasattr(self, "_output"):
            q = np.where(np.isfinite(q), q, self._output)
        self._output = np.clip(q, limits.lower, limits.upper)
        self.solution = self._output.copy()
        self._last_t: float | None = None
        self._held = np.zeros(_TOTAL)
        self._seen = np.zeros(len(_NAMES), dtype=bool)
        self._outliers = [0] * len(_NAMES)
        self._lost_s = [0.0] * len(_NAMES)
        self._fingers: np.ndarray | None = None
        self._anchors: dict[str, tuple] = {}
        self._chest: tuple | None = None
        if self.filter is not None:
            self.filter.reset()
        self._seeded = True

    def retarget(self, frame: OperatorFrame) -> np.ndarray:
        """OperatorFrame -> joint targets (J,) rad, contract order, within limits. Never raises for any values in the frame."""
        dt = self._period(frame.t)
        valid = self._take_in(frame.parts, dt)
        x = self._held
        if self.filter is not None:
            mask = np.repeat(np.array(valid), _SIZES)
            x = self.filter.step(x, dt, mask)
        ok = dict(zip(_NAMES, valid))
        values = x[: _HANDS.start].tolist()
        pose = {}
        for name in _POSES:
            a = _SLICE[name].start
            if ok[name]:
                w, i, j, k = values[a + 3 : a + 7]
                if w * w + i * i + j * j + k * k < 0.01:  # opposite quaternions averaged away
                    ok[name], self.report[name] = False, OUTLIER
                else:
                    pose[name] = (rot.from_quaternion(w, i, j, k), tuple(values[a : a + 3]))
        self._age_anchors(ok, dt)
        q = self.solution
        self._body(q, pose)
        for side in SIDES:
            if ok[f"{side}_wrist"]:
                elbow = _SLICE[f"{side}_elbow"]
                self._arm(q, side, pose[f"{side}_wrist"], tuple(values[elbow]) if ok[f"{side}_elbow"] else None)
        if ok["left_hand"] or ok["right_hand"]:
            self._hand(q, x[_HANDS].reshape(2, 21, 3), (ok["left_hand"], ok["right_hand"]))
        limits = self.table.limits
        np.minimum(np.maximum(q, limits.lower, out=q), limits.upper, out=q)
        if self.velocity_limited and self._seeded:
            step = limits.velocity * dt
            output = self._output + np.minimum(np.maximum(q - self._output, -step), step)
            self._output = np.minimum(np.maximum(output, limits.lower), limits.upper)
        else:
            self._output = q.copy()
            self._seeded = True
        return self._output.copy()

    # -- intake: which parts can be believed ------------------------------------------------------------------------------------

    def _period(self, t: float) -> float:
        last, self._last_t = self._last_t, t if math.isfinite(t) else None
        if last is None or self._last_t is None or t <= last:
            return NOMINAL_DT_S
        return min(max(t - last, MIN_DT_S), MAX_DT_S)

    def _take_in(self, parts, dt: float) -> list[bool]:
        """Parts -> self._held (packed, quaternions sign-continuous); returns per part whether it is believed now; fills `report`."""
        raw, report = self._raw, self.report
        present = []
        for name, shape in PARTS.items():
            value = parts.get(name)
            present.append(value is not None)
            if value is None:
                raw[_SLICE[name]] = np.nan
                report[name] = LOST
                continue
            report[name] = OK
            if not isinstance(value, np.ndarray) or value.shape != shape or value.dtype != np.float64:
                try:
                    value = shaped(name, value)
                except FrameError:
                    report[name] = WRONG
                    value = np.nan
            raw[_SLICE[name]] = value if shape != KEYPOINTS or report[name] == WRONG else value.ravel()
        good = np.logical_and.reduceat(np.abs(raw) < MAX_RANGE_M, _STARTS).tolist()
        step = (raw[_PLACE] - self._held[_PLACE]).reshape(-1, 3)
        with np.errstate(invalid="ignore", over="ignore"):
            moved = np.sqrt((step * step).sum(axis=1)).tolist()
        held, valid = self._held, []
        for i, name in enumerate(_NAMES):
            if not good[i]:
                if present[i] and report[name] == OK:
                    report[name] = NOT_FINITE
                valid.append(False)
                continue
            at = _SLICE[name]
            if PARTS[name] == POSE:
                new = raw[at.start + 3 : at.stop]
                size = float(new @ new)
                if not 0.25 < size < 4.0:
                    report[name] = WRONG
                    valid.append(False)
                    continue
                if float(new @ held[at.start + 3 : at.stop]) < 0.0:
                    raw[at.start + 3 : at.stop] = -new
            if self._seen[i] and moved[i] > MAX_SPEED_M_S * dt + SPEED_MARGIN_M and self._outliers[i] < MAX_OUTLIERS:
                self._outliers[i] += 1
                report[name] = OUTLIER
                valid.append(False)
                continue
            self._outliers[i] = 0
            self._seen[i] = True
            held[at] = raw[at]
            valid.append(True)
        return valid

    def _age_anchors(self, ok: dict[str, bool], dt: float) -> None:
        for i, name in enumerate(_NAMES):
            if ok[name]:
                self._lost_s[i] = 0.0
                continue
            self._lost_s[i] += dt
            if self._lost_s[i] > REANCHOR_S:
                self._anchors.pop(name, None)
                self._seen[i] = False  # what comes back may be anywhere

    # -- body --------------------------------------------------------------------------------------------------------------------

    def _anchored(self, name: str, rotation, position, robot_rotation, robot_position):
        """Relative mode: the robot's pose at the anchor, moved as the operator moved since (pelvis frame)."""
        if name not in self._anchors:
            self._anchors[name] = (rotation, position, robot_rotation, robot_position)
        r0, p0, robot_r0, robot_p0 = self._anchors[name]
        turned = rot.mul(rot.mul(rotation, rot.transpose(r0)), robot_r0)
        return turned, tuple(b + p - a for b, p, a in zip(robot_p0, position, p0))

    def _follow(self, q, name: str, index, rotation) -> None:
        """Three joints in the order yaw, roll, pitch that make `rotation`, clipped to their limits."""
        angles = list(rot.angles_zxy(rotation))
        if abs(angles[1]) > 1.4:  # rad; near +-pi/2 yaw and pitch are one rotation: hold
            self.report[name] = LIMITED
            return
        for k, (low, high) in enumerate(self._bounds[name]):
            if not low <= angles[k] <= high:
                if min(abs(angles[k] - low), abs(angles[k] - high)) > 1e-9:
                    self.report[name] = LIMITED
                angles[k] = min(max(angles[k], low), high)
        q[index] = angles

    def _body(self, q, pose) -> None:
        """Chest -> waist, head -> neck; leaves the torso's pose for the arms."""
        before = rot.zxy(*q[self.waist_index].tolist())
        if "chest" in pose:
            rotation, position = pose["chest"]
            self._chest = (rotation, position)
            if self.mode == "relative":
                rotation, _ = self._anchored("chest", rotation, position, before, position)
            self._follow(q, "chest", self.waist_index, rotation)
        yaw, roll, pitch = q[self.waist_index].tolist()
        self._torso = rot.zxy(yaw, roll, pitch)
        g = self.geometry
        self._torso_origin = tuple(a + b for a, b in zip(g.waist, rot.apply(rot.zxy(yaw, roll, 0.0), g.torso)))
        if "head" in pose:
            rotation, position = pose["head"]
            if self.mode == "relative":
                now = rot.mul(before, rot.zxy(*q[self.neck_index].tolist()))
                rotation, _ = self._anchored("head", rotation, position, now, position)
            self._follow(q, "head", self.neck_index, rot.mul(rot.transpose(self._torso), rotation))

    # -- arms --------------------------------------------------------------------------------------------------------------------

    def _to_torso(self, point):
        o = self._torso_origin
        return rot.apply_t(self._torso, (point[0] - o[0], point[1] - o[1], point[2] - o[2]))

    def _from_torso(self, point):
        return tuple(a + b for a, b in zip(self._torso_origin, rot.apply(self._torso, point)))

    def _scaled(self, side: str, wrist, elbow):
        """Operator's wrist and elbow (pelvis frame) -> those of an operator with the robot's arms (sec. "Calibration" of the docs)."""
        size = self.calibration.side(side)
        if size is None or self._chest is None:
            return wrist, elbow
        rotation, position = self._chest
        shoulder = tuple(a + b for a, b in zip(position, rot.apply(rotation, size.shoulder)))
        target = self._from_torso(self.geometry.shoulder[side])
        g = self.geometry
        k = (g.upper_arm + g.forearm) / (size.upper_arm + size.forearm)
        scaled = tuple(t + k * (w - s) for t, w, s in zip(target, wrist, shoulder))
        if elbow is not None:
            k = g.upper_arm / size.upper_arm
            elbow = tuple(t + k * (e - s) for t, e, s in zip(target, elbow, shoulder))
        return scaled, elbow

    def _arm(self, q, side: str, pose, elbow) -> None:
        ik, index, name = self.arms[side], self.arm_index[side], f"{side}_wrist"
        seed = q[index].tolist()
        rotation, wrist = pose
        wrist, elbow = self._scaled(side, wrist, elbow)
        if self.mode == "relative":
            robot_elbow, robot_wrist, robot_rotation, _ = ik.forward(seed)
            robot_rotation = rot.mul(self._torso, robot_rotation)
            rotation, wrist = self._anchored(name, rotation, wrist, robot_rotation, self._from_torso(robot_wrist))
            if elbow is not None:
                _, elbow = self._anchored(f"{side}_elbow", rot.IDENTITY, elbow, rot.IDENTITY, self._from_torso(robot_elbow))
        hint = None if elbow is None else self._to_torso(elbow)
        solved, exact = ik.solve(self._to_torso(wrist), rot.mul(rot.transpose(self._torso), rotation), hint, seed)
        if not exact:
            self.report[name] = LIMITED
        q[index] = solved

    # -- hands -------------------------------------------------------------------------------------------------------------------

    def _hand(self, q, keypoints, ok) -> None:
        local = self.hands.local(keypoints)
        lengths = np.maximum(self.hands.lengths(local), 1e-3)
        if self._fingers is None:
            self._fingers = np.full((2, 5), np.nan)
        for i in (0, 1):
            if ok[i]:
                old = self._fingers[i]
                self._fingers[i] = lengths[i] if old[0] != old[0] else old + FINGER_RATE * (lengths[i] - old)
        scale = self._robot_fingers / np.where(np.isnan(self._fingers), self._robot_fingers, self._fingers)
        solved = self.hands.solve(local, scale, q[self.hand_index])
        for i, side in enumerate(SIDES):
            if not ok[i]:
                continue
            index, name = self.hand_index[i], f"{side}_hand"
            if self.mode == "relative":
                if name not in self._anchors:
                    self._anchors[name] = (solved[i], q[index].copy())
                start, robot_start = self._anchors[name]
                q[index] = robot_start + (solved[i] - start)
            else:
                q[index] = solved[i]
