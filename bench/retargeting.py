# SPDX-License-Identifier: Apache-2.0
"""Time per frame and what it buys: wrist and fingertip errors of the retargeter as it runs by default, against mink for
the body plus dex-retargeting (vector) for both hands.

    python bench/retargeting.py [--quick] [--seconds 30]

All get the same 60 Hz frames: head, chest, elbows and wrists of a smooth motion over 70 % of the robot's joint ranges,
and hands of human proportions (rove_teleop/practice/human_hand.py), which no robot hand can copy exactly. Times are CPU
time of the thread (`cpu`), which other load on the machine hardly inflates, and wall time. Errors stand beside them:
ours by default smooths and so lags behind a moving target, the alternatives do not smooth; the row "smoothing off"
compares like with like; "any robot's" is the solver of robots that the closed forms do not fit, on this one, and
"8-joint arms" that solver on this robot with a collar joint more in each arm.
Fingertips are measured in the wrist's frame against the operator's, times the scale that our hands learn and the
alternatives are given. `speedup` is the CPU median of the cheaper alternative over that of "rove".
Without dex-retargeting the hands of the alternative are left out, it is said so, and there is no speedup. Prints a
table, then one JSON line.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import tempfile
import time
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
from alternatives.body import MinkBody
from alternatives.hands import DexHand
from alternatives.person import RATE, SIDES, Person
from scipy.spatial.transform import Rotation

from rove_contract.operator_frame import OperatorFrame
from rove_description import joints, mjcf, robot
from rove_description.kinematics import Kinematics
from rove_teleop.practice.human_hand import FINGERTIPS, THUMB_TIP
from rove_teleop.retargeting import hand_chains
from rove_teleop.retargeting import skeleton as skeletons
from rove_teleop.retargeting.any_robot import AnyRobot
from rove_teleop.retargeting.retarget import Retargeter
from rove_teleop.retargeting.robot_geometry import RobotSkeleton

TIPS = [THUMB_TIP, *FINGERTIPS]


def motion(table, seconds: float, seed: int = 0) -> np.ndarray:
    """(T, 50) rad: sum of slow sines per joint, within 70 % of the range and half the velocity limit."""
    rng = np.random.default_rng(seed)
    limits = table.limits
    middle, half = (limits.upper + limits.lower) / 2, (limits.upper - limits.lower) / 2
    t = np.arange(int(seconds * RATE))[:, None] / RATE
    top = np.minimum(0.5 * limits.velocity / (2 * np.pi * 0.7 * half), 0.5)
    frequency, phase = rng.uniform(0.3, 1.0, len(table)) * top, rng.uniform(0, 2 * np.pi, len(table))
    return middle + 0.7 * half * np.sin(2 * np.pi * frequency * t + phase)


def eight_jointed(folder: Path) -> robot.Robot:
    """The default robot with one joint more in each arm: a collar, 3 cm from the spine, that lifts the shoulder."""
    own = robot.load()
    text = (own.folder / "joints.csv").read_text()
    model = mjcf.mjcf(own.table)
    for side, sign in (("left", 1), ("right", -1)):
        head = re.search(rf'<body gravcomp="1" name="{side}_shoulder" pos="[^"]*">', model)[0]
        low, high = sorted((-0.2 * sign, 0.5 * sign))
        collar = f'<joint name="{side}_collar" axis="1 0 0" pos="0 {-0.17 * sign} 0" range="{low} {high}"/>'
        model = model.replace(head, head + collar)
        row = f"{side}_collar,arm,{low},{high},2,10,200,{side}\n"
        text = text.replace(f"{side}_shoulder_pitch,", f"{row}{side}_shoulder_pitch,")
    (folder / "joints.csv").write_text(text)
    (folder / "eight.xml").write_text(model)
    description = (own.folder / "robot.yaml").read_text()
    (folder / "robot.yaml").write_text(description.replace("model: rove_description.mjcf", "model: eight.xml"))
    return robot.load(folder)


def turn_of(wrist: np.ndarray) -> np.ndarray:
    """Pose (7,) -> (3, 3)."""
    return Rotation.from_quat(wrist[3:], scalar_first=True).as_matrix()


class DexHands:
    """dex-retargeting (vector) for both hands, without its low-pass."""

    def __init__(self, table, q: np.ndarray, scale: dict[str, float]):
        kinematics, self.scale = Kinematics(table), scale
        self.chains = {side: hand_chains.read(kinematics, side) for side in SIDES}
        self.hands = {s: DexHand(kinematics, c, s, "vector", q[c.index]) for s, c in self.chains.items()}

    def solve(self, frame: OperatorFrame, q: np.ndarray) -> None:
        for side, hand in self.hands.items():
            points = frame.parts[f"{side}_hand"]
            local = (points - points[0]) @ turn_of(frame.parts[f"{side}_wrist"])
            q[self.chains[side].index] = hand.solve(local, self.scale[side])


def errors(skeleton: RobotSkeleton, frames, outputs, scale: dict[str, float]) -> dict[str, float]:
    """Medians and 99th percentiles of wrist (mm, mrad) and fingertip error (mm, in the wrist's frame)."""
    wrist, turn, tip = [], [], []
    for frame, q in zip(frames, outputs):
        got = skeleton.parts(q)
        for side in SIDES:
            a, b = frame.parts[f"{side}_wrist"], got[f"{side}_wrist"]
            wrist.append(1e3 * np.linalg.norm(a[:3] - b[:3]))
            turn.append(2e3 * np.arccos(min(1.0, abs(float(a[3:] @ b[3:])))))
            if f"{side}_hand" in frame.parts:
                wanted, reached = (
                    (parts[f"{side}_hand"][TIPS] - parts[f"{side}_hand"][0]) @ turn_of(pose)
                    for parts, pose in ((frame.parts, a), (got, b))
                )
                tip.extend(1e3 * np.linalg.norm(scale[side] * wanted - reached, axis=1))
    named = {"wrist_mm": wrist, "wrist_mrad": turn, "tip_mm": tip or [np.nan]}
    return {
        f"{k}_{s}": round(float(np.percentile(v, p)), 4)
        for k, v in named.items()
        for s, p in (("p50", 50), ("p99", 99))
    }


def measure(solve, frames, skeleton: RobotSkeleton, start: np.ndarray, scale: dict[str, float]) -> dict[str, float]:
    """solve: (frame, q) -> q, timed per frame; the first second warms up and is left out."""
    outputs, wall, cpu, q = [], [], [], start.copy()
    for frame in frames:
        a, c = time.perf_counter(), time.thread_time()
        q = solve(frame, q)
        wall.append(1e3 * (time.perf_counter() - a))
        cpu.append(1e3 * (time.thread_time() - c))
        outputs.append(q.copy())
    skip = int(RATE)
    times = {
        f"{clock}_ms_p{p}": round(float(np.percentile(values[skip:], p)), 4)
        for clock, values in (("cpu", cpu), ("wall", wall))
        for p in (50, 99)
    }
    return times | errors(skeleton, frames[skip:], outputs[skip:], scale)


def without(frames, ending: str) -> list[OperatorFrame]:
    return [OperatorFrame({n: v for n, v in f.parts.items() if not n.endswith(ending)}, f.seq, f.t) for f in frames]


def out_of_reach(frames) -> list[OperatorFrame]:
    """Wrists 1.4 times as far away and turned: the slow path of the arms, as of an operator who stretches."""
    far = []
    for frame in frames:
        parts = dict(frame.parts)
        for side in SIDES:
            wrist = parts[f"{side}_wrist"]
            parts[f"{side}_wrist"] = np.concatenate([1.4 * wrist[:3], wrist[[4, 3, 6, 5]]])
        far.append(OperatorFrame(parts, frame.seq, frame.t))
    return far


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="within 30 s")
    parser.add_argument("--seconds", type=float, default=60.0, help="length of the motion")
    options = parser.parse_args()
    table = joints.load()
    skeleton = RobotSkeleton(table)
    seconds = 5.0 if options.quick else options.seconds
    poses = motion(table, seconds)
    person = Person(skeleton, seconds)
    frames = [person.frame(q, k) for k, q in enumerate(poses)]
    start, notes = poses[0], []
    calibrated = Retargeter(table)
    calibrated.reset(start)
    calibrated.retarget(frames[0])
    scale = {side: hand.scale for side, hand in calibrated.hands.items()}

    def ours(shown, **settings):
        return timed(Retargeter(table, **settings), shown)

    def timed(retargeter, shown, body=skeleton, begin=start):
        retargeter.reset(begin)
        return measure(lambda frame, q: retargeter.retarget(frame), shown, body, begin, scale)

    with tempfile.TemporaryDirectory() as folder:
        eight = eight_jointed(Path(folder))
    of_eight = skeletons.make(eight)
    begin = np.array([start[table.index[name]] if name in table.index else 0.0 for name in eight.table.names])

    results = {
        "rove": ours(frames),
        "rove, smoothing off": ours(frames, smoothing=False),
        "rove, body alone": ours(without(frames, "_hand")),
        "rove, no elbows": ours(without(frames, "_elbow")),
        "rove, out of reach": ours(out_of_reach(frames)),
        "rove, any robot's": timed(AnyRobot(robot.load()), frames),
        "rove, any robot's, far": timed(AnyRobot(robot.load()), out_of_reach(frames)),
        "rove, 8-joint arms": timed(AnyRobot(eight), frames, of_eight, begin),
        "rove, 8-joint, not smoothed": timed(AnyRobot(eight, smoothing=False), frames, of_eight, begin),
    }
    for name, keep in (
        ("rove, body alone", "tip"),
        ("rove, out of reach", ""),
        ("rove, any robot's, far", ""),
    ):  # errors are the point of the last
        results[name] = {
            k: v if "_ms_" in k or (keep and not k.startswith(keep)) else None for k, v in results[name].items()
        }
    hands = None
    for steps in (1, 3):
        try:
            body = MinkBody(table, start, steps, 1 / RATE)
        except ImportError:
            notes.append("mink is not installed")
            break
        try:
            hands = DexHands(table, start, scale)
        except ImportError as error:
            notes.append(f"dex-retargeting is not installed ({error.name}): the alternative is the body alone")

        def solve(frame, q, body=body, hands=hands):
            body.solve(frame, q)
            if hands is not None:
                hands.solve(frame, q)
            return q

        name = f"mink ×{steps}" + (" + dex-retargeting" if hands is not None else "")
        row = measure(solve, frames, skeleton, start, scale)
        results[name] = row if hands is not None else {k: None if k.startswith("tip") else v for k, v in row.items()}
    columns = list(results["rove"])
    print(f"{'':28s}" + "".join(f"{c:>15s}" for c in columns))
    for name, row in results.items():
        print(f"{name:28s}" + "".join(f"{'-' if row[c] is None else format(row[c], '.3f'):>15s}" for c in columns))
    for note in dict.fromkeys(notes):
        print(note)
    others = [row["cpu_ms_p50"] for name, row in results.items() if name.endswith("dex-retargeting")]
    speedup = round(min(others) / results["rove"]["cpu_ms_p50"], 2) if others else None
    print(
        json.dumps(
            {"bench": "retargeting", "frames": len(frames), "speedup": speedup, "notes": notes, "results": results}
        )
    )


if __name__ == "__main__":
    main()
