# SPDX-License-Identifier: Apache-2.0
"""The operator's hands: rigid grasps, pinches, fingertips, noise; beside dex-retargeting (vector, DexPilot) and mink.

    python bench/hands.py [--quick]

Hands are of human proportions, in three sizes, seeded (rove_teleop/practice/human_hand.py). Every method gets the same
keypoints in the wrist's frame and the same scale, and no smoothing but where it says so. Tables:

rigid     largest motion of a finger joint, rad, while a rigid hand moves at these speeds of the wrist, by the whole
          retargeter with its smoothing (the alternatives get keypoints in the wrist's frame: 0 by construction)
pinch     gap of the robot, mm, where the operator's closes to 4, 8 and 12 mm, worst size; `gap_error_mm`: the largest
          difference from the operator's below 15 mm in all of these motions
tips      mean distance of the fingertips from the operator's (scaled), mm; CPU ms per hand; finger motion per frame,
          mrad rms, at rest with 0.5 mm of noise (ours with its smoothing)
noise     body and arms through operator track and command filter with 0.5 mm and 4 mrad of noise: share of joints and
          periods at 95 % of the jerk limit or more, acceleration rms in limits, elbow per frame, mrad rms; reaching:
          the lag of the command behind the operator's clean motion, ms

Prints tables, then one JSON line.
"""

from __future__ import annotations

import argparse
import json
import os
import time

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
from alternatives.body import MinkBody
from alternatives.hands import KINDS, DexHand, MinkHand
from alternatives.person import RATE, Person, with_noise
from scipy.spatial.transform import Rotation

from rove_contract.operator_frame import OperatorFrame
from rove_description import joints, mjcf
from rove_description.kinematics import Kinematics
from rove_teleop.command_filter.filter import CommandFilter
from rove_teleop.command_filter.operator_track import OperatorTrack
from rove_teleop.practice.human_hand import FINGERTIPS, RELAXED, THUMB_TIP, HumanHand
from rove_teleop.retargeting import hand_chains
from rove_teleop.retargeting.hand import Hand
from rove_teleop.retargeting.retarget import Retargeter
from rove_teleop.retargeting.robot_geometry import RobotSkeleton

SIZES = (0.85, 1.0, 1.15)
SPEEDS = (0.31, 0.94, 1.88)  # m/s of the wrist
GAPS = (0.004, 0.008, 0.012)
PERIOD = 0.01
TABLE = joints.load()
KINEMATICS = Kinematics(TABLE)
CHAINS = hand_chains.read(KINEMATICS, "left")
HOME = mjcf.home(TABLE)
TIPS = [THUMB_TIP, *FINGERTIPS]


class OurHand:
    def __init__(self, smoothing: bool = False):
        limits = TABLE.limits
        self.hand = Hand(CHAINS, limits.lower[CHAINS.index], limits.upper[CHAINS.index], smoothing)

    def solve(self, points: np.ndarray, scale: float) -> np.ndarray:
        return self.hand.solve(points, np.eye(3), HOME[CHAINS.index], 1 / RATE)


def methods(smoothing: bool = False) -> dict:
    """name -> a new hand of every method that is installed, at home."""
    start = HOME[CHAINS.index]
    found = {"rove": OurHand(smoothing)}
    try:
        for kind in KINDS:
            found[f"dex-retargeting {kind}"] = DexHand(KINEMATICS, CHAINS, "left", kind, start)
    except ImportError as error:
        print(f"dex-retargeting is not installed ({error.name})")
    try:
        found["mink"] = MinkHand(KINEMATICS, CHAINS, "left", start, 1 / RATE)
    except ImportError:
        print("mink is not installed")
    return found


def robot_tips(q: np.ndarray) -> np.ndarray:
    """(n,) rad -> (5, 3) m, wrist's frame."""
    return OurHand().hand.ik.points(q)[1]


def scale_of(human: HumanHand) -> float:
    """What our hand learns of the operator's; given to every method."""
    hand = OurHand()
    hand.solve(human.keypoints(RELAXED), 1.0)
    return hand.hand.scale


def follow(method, motion: np.ndarray, scale: float) -> tuple[np.ndarray, np.ndarray]:
    """(T, 21, 3) -> solutions (T, n) rad, CPU time per frame (T,) ms."""
    solutions, cpu = [], []
    for points in motion:
        begin = time.thread_time()
        solutions.append(method.solve(points, scale))
        cpu.append(1e3 * (time.thread_time() - begin))
    return np.array(solutions), np.array(cpu)


def rigid(seconds: float) -> dict[str, float]:
    """Wrist speed in m/s -> largest motion of a finger joint, rad."""
    found = {}
    for speed in SPEEDS:
        worst = 0.0
        for size in SIZES:
            for angles in (RELAXED, 1.6 * RELAXED):
                points = HumanHand("left", size).keypoints(angles)
                retargeter, solutions = Retargeter(TABLE), []
                retargeter.reset(HOME)
                for k in range(int(seconds * RATE)):
                    swing = np.sin(2 * np.pi * k / RATE)
                    position = np.array([0.35, 0.25, 0.05]) + speed / (2 * np.pi) * swing * np.array([0.0, 0.6, 0.8])
                    turn = Rotation.from_rotvec([0.0, 0.3 * speed * swing, 0.0])
                    parts = {
                        "left_wrist": np.append(position, turn.as_quat(scalar_first=True)),
                        "left_hand": position + turn.apply(points),
                    }
                    retargeter.retarget(OperatorFrame(parts, k, k / RATE))
                    solutions.append(retargeter.solution[CHAINS.index].copy())
                worst = max(worst, float(np.ptp(solutions[30:], axis=0).max()))
        found[f"{speed:g}"] = round(worst, 5)
    return found


def pinch() -> dict[str, dict]:
    """Method -> {"index": {"4": gap mm, ...}, ..., "gap_error_mm": …}; the worst of the sizes."""
    table: dict[str, dict] = {}
    for size in SIZES:
        human = HumanHand("left", size)
        scale = scale_of(human)
        for finger, name in enumerate(mjcf.FINGERS[1:]):
            start = human.pinch(finger, 0.060)
            closed = human.pinch(finger, 0.003, start)
            share = 0.5 - 0.5 * np.cos(np.pi * np.arange(61)[:, None] / 60)
            motion = np.array([human.keypoints(q) for q in start + share * (closed - start)])
            asked = np.linalg.norm(motion[:, FINGERTIPS[finger]] - motion[:, THUMB_TIP], axis=1)
            for method, solver in methods().items():
                solutions, _ = follow(solver, motion, scale)
                tips = np.array([robot_tips(q) for q in solutions])
                gap = np.linalg.norm(tips[:, 1 + finger] - tips[:, 0], axis=1)
                row = table.setdefault(method, {"gap_error_mm": 0.0})
                near = asked < 0.015
                if near.any():
                    row["gap_error_mm"] = max(row["gap_error_mm"], float(1e3 * np.abs(gap - asked)[near].max()))
                for wanted in GAPS:
                    if asked.min() <= wanted:
                        at = int(np.argmin(np.abs(asked - wanted)))
                        found = row.setdefault(name, {})
                        key = f"{1e3 * wanted:g}"
                        found[key] = max(found.get(key, 0.0), float(1e3 * gap[at]))
    return _rounded(table)


def tips(seconds: float) -> dict[str, dict]:
    table: dict[str, dict] = {}
    for n, size in enumerate(SIZES):
        human = HumanHand("left", size)
        scale = scale_of(human)
        motion = np.array([human.keypoints(q) for q in human.motion(seconds, RATE, seed=n)])
        rest = human.keypoints(RELAXED) + np.random.default_rng(n).normal(scale=5e-4, size=(120, 21, 3))
        noisy = methods(smoothing=True)
        for method, solver in methods().items():
            solutions, cpu = follow(solver, motion, scale)
            off = 1e3 * np.linalg.norm(
                [robot_tips(q) - scale * points[TIPS] for q, points in zip(solutions, motion)], axis=2
            )
            steps = np.diff(follow(noisy[method], rest, scale)[0][40:], axis=0)
            row = table.setdefault(method, {"tip_mm": [], "tip_p95_mm": [], "cpu_ms": [], "noise_mrad": []})
            row["tip_mm"].append(float(off.mean()))
            row["tip_p95_mm"].append(float(np.percentile(off, 95)))
            row["cpu_ms"].append(float(np.median(cpu[10:])))
            row["noise_mrad"].append(float(1e3 * np.sqrt((steps**2).mean())))
    return _rounded(table)


def body_pose(kind: str, t: float) -> np.ndarray:
    """(J,) rad. kind: rest (home), reach (both arms move moderately), straight (2 degrees from straight)."""
    q = HOME.copy()
    for side, phase in (("left", 0.0), ("right", 0.7)):
        if kind == "straight":
            q[TABLE.index[f"{side}_elbow"]], q[TABLE.index[f"{side}_shoulder_pitch"]] = -np.radians(2.0), -0.8
        if kind == "reach":
            for name, size, hz in (
                ("shoulder_pitch", 0.3, 0.40), ("shoulder_roll", 0.15, 0.33), ("shoulder_yaw", 0.2, 0.30),
                ("elbow", 0.4, 0.45), ("wrist_pitch", 0.2, 0.50),
            ):  # fmt: skip
                q[TABLE.index[f"{side}_{name}"]] += size * np.sin(2 * np.pi * hz * t + phase)
            q[TABLE.index[f"{side}_shoulder_pitch"]] -= 0.3
    return q


def lag_ms(path: np.ndarray, clean: np.ndarray) -> float:
    """By how much path (T, J) lies behind clean (T, J), ms: the shift at which the moving joints differ least."""
    moving = np.std(clean, axis=0) > 0.02
    shifts = np.arange(-5.0, 16.0, 0.25)
    time_, inside = np.arange(len(clean)), slice(20, len(clean) - 20)

    def differ(shift: float) -> float:
        late = [np.interp(time_ - shift, time_, column) for column in clean[:, moving].T]
        error = path[inside][:, moving] - np.stack(late, axis=1)[inside]
        return float(((error - error.mean(0)) ** 2).sum())

    return float(1e3 * PERIOD * shifts[np.argmin([differ(shift) for shift in shifts])])


def noise(seconds: float) -> dict[str, dict]:
    skeleton = RobotSkeleton(TABLE)
    person = Person(skeleton, seconds)
    body = np.flatnonzero(np.array(TABLE.blocks) != "hand")
    elbows = [TABLE.index["left_elbow"], TABLE.index["right_elbow"]]
    table: dict[str, dict] = {}
    for kind in ("rest", "reach", "straight"):
        start = body_pose(kind, 0.0)
        retargeter = Retargeter(TABLE)
        retargeter.reset(start)
        solvers = {"rove": lambda frame, q, r=retargeter: r.retarget(frame)}
        try:
            mink = MinkBody(TABLE, start, 1, 1 / RATE)
            solvers["mink ×1"] = lambda frame, q, m=mink: m.solve(frame, q) or q
        except ImportError:
            pass
        for name, solve in solvers.items():
            rng = np.random.default_rng(0)
            track, limiter, q = OperatorTrack(TABLE.limits), CommandFilter(TABLE.limits, PERIOD), start.copy()
            limiter.reset(start)
            path, targets, k = [], [], 0
            for n in range(int(seconds / PERIOD)):
                while k / RATE <= n * PERIOD + 1e-9:
                    q = solve(with_noise(person.frame(body_pose(kind, k / RATE), k), rng, 5e-4, 4e-3), q.copy())
                    track.add(q, n * PERIOD)
                    targets.append(q.copy())
                    k += 1
                path.append(limiter.step(*track.target(n * PERIOD)))
            clean = np.stack([body_pose(kind, n * PERIOD) for n in range(len(path))])[100:, body]
            path = np.array(path[100:])[:, body]
            acceleration = np.diff(path, n=2, axis=0) / PERIOD**2 / TABLE.limits.acceleration[body]
            jerk = np.abs(np.diff(path, n=3, axis=0)) / PERIOD**3 / TABLE.limits.jerk[body]
            steps = np.diff(np.array(targets[60:])[:, elbows], axis=0)
            table.setdefault(name, {})[kind] = {
                "at_jerk_limit": float((jerk >= 0.95).mean()),
                "acceleration_rms": float(np.sqrt((acceleration**2).mean())),
                "elbow_mrad": float(1e3 * np.sqrt((steps**2).mean())),
                **({"lag_ms": lag_ms(path, clean)} if kind == "reach" else {}),
            }
    return _rounded(table)


def _rounded(value):
    if isinstance(value, dict):
        return {key: _rounded(entry) for key, entry in value.items()}
    return [_rounded(entry) for entry in value] if isinstance(value, list) else round(value, 4)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="within 30 s")
    quick = parser.parse_args().quick
    result = {
        "rigid": rigid(1.5 if quick else 4.0),
        "pinch": pinch(),
        "tips": tips(2.0 if quick else 20.0),
        "noise": noise(3.0 if quick else 12.0),
    }
    print(f"rigid hand, rad: {result['rigid']}")
    for name in ("pinch", "tips", "noise"):
        print(name)
        for method, row in result[name].items():
            print(f"  {method:26s} {row}")
    print(json.dumps({"bench": "hands", "sizes": SIZES} | result))


if __name__ == "__main__":
    main()
