# SPDX-License-Identifier: Apache-2.0
"""ms per frame and wrist/fingertip error of the retargeter, against mink for the body plus dex-retargeting (vector) for
both hands.

Same frames in the same run: a smooth 60 Hz motion of all 50 joints over 70 % of their ranges, whose poses the robot can
reach.

    python bench/retargeting.py [--quick] [--seconds 30]

Both stand in requirements/dev.txt; without dex-retargeting the hands of the alternative are left out, it is said so,
and there is no speedup. Prints a table, then one JSON line. Times are wall time per frame on one thread; `cpu_…` is
thread CPU time, which other load on the machine hardly inflates; `speedup` compares its medians with the cheaper
alternative, mink's single QP step.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import tempfile
import time
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

import mujoco
import numpy as np

from rove_contract.operator_frame import PARTS, OperatorFrame
from rove_description import joints, mjcf
from rove_description.kinematics import Kinematics
from rove_teleop.retargeting import hand_chains
from rove_teleop.retargeting.retarget import Retargeter
from rove_teleop.retargeting.robot_geometry import RobotSkeleton

RATE = 60.0
TIPS = [4, 8, 12, 16, 20]
MIDDLES = [2, 6, 10, 14, 18]  # thumb mcp, finger pip
SIDES = mjcf.SIDES


def motion(table, seconds: float, seed: int = 0) -> np.ndarray:
    """(T, 50) rad: sum of slow sines per joint, within 70 % of the range and half the velocity limit."""
    rng = np.random.default_rng(seed)
    limits = table.limits
    middle, half = (limits.upper + limits.lower) / 2, (limits.upper - limits.lower) / 2
    t = np.arange(int(seconds * RATE))[:, None] / RATE
    top = np.minimum(0.5 * limits.velocity / (2 * np.pi * 0.7 * half), 0.5)
    frequency, phase = rng.uniform(0.3, 1.0, len(table)) * top, rng.uniform(0, 2 * np.pi, len(table))
    return middle + 0.7 * half * np.sin(2 * np.pi * frequency * t + phase)


class MinkBody:
    """One QP step per frame (mink's own teleoperation examples) on the robot without its fingers; head, chest, wrists,
    elbows.
    """

    def __init__(self, table, q, steps: int):
        import mink

        self.mink, self.table, self.steps = mink, table, steps
        spec = mujoco.MjSpec.from_string(mjcf.mjcf(table))
        fingers = [f"{side}_thumb_base" for side in SIDES] + [
            f"{side}_{f}_proximal" for side in SIDES for f in mjcf.FINGERS[1:]
        ]
        for actuator in list(spec.actuators):
            spec.delete(actuator)
        for name in fingers:
            spec.delete(spec.body(name))
        self.model = spec.compile()
        self.names = [name for name, block in zip(table.names, table.blocks) if block != "hand"]
        self.index = np.array([table.index[name] for name in self.names])
        self.adr = np.array([self.model.joint(name).qposadr[0] for name in self.names])
        self.configuration = mink.Configuration(self.model)
        start = self.configuration.q.copy()
        start[self.adr] = q[self.index]
        self.configuration.update(start)
        costs = {"head": (0.0, 1.0), "chest": (0.0, 1.0)}
        costs |= {f"{side}_wrist": (10.0, 1.0) for side in SIDES} | {f"{side}_elbow": (1.0, 0.0) for side in SIDES}
        self.tasks = {
            n: mink.FrameTask(n, "site", position_cost=p, orientation_cost=o, lm_damping=1e-6)
            for n, (p, o) in costs.items()
        }
        self.limits = [mink.ConfigurationLimit(self.model)]
        mujoco.mj_kinematics(self.model, self.configuration.data)
        self.pelvis = self.configuration.data.body("pelvis").xpos.copy()

    def solve(self, frame, q) -> None:
        mink = self.mink
        for name, task in self.tasks.items():
            part = frame.parts[name]
            rotation = mink.SO3(part[3:]) if len(part) == 7 else mink.SO3.identity()
            task.set_target(mink.SE3.from_rotation_and_translation(rotation, part[:3] + self.pelvis))
        for _ in range(self.steps):
            velocity = mink.solve_ik(
                self.configuration, list(self.tasks.values()), 1.0 / RATE, "daqp", damping=1e-6, limits=self.limits
            )
            self.configuration.integrate_inplace(velocity, 1.0 / RATE)
        q[self.index] = self.configuration.q[self.adr]


def hand_urdf(model: mujoco.MjModel, side: str) -> str:
    """URDF of one hand, base = the wrist frame; a link per joint and one per fingertip and middle site."""
    links, rows = [f'<link name="{side}_wrist_link"/>'], []

    def rpy(quat):
        matrix = np.empty(9)
        mujoco.mju_quat2Mat(matrix, quat)
        m = matrix.reshape(3, 3)
        return (
            np.arctan2(m[2, 1], m[2, 2]),
            np.arctan2(-m[2, 0], np.hypot(m[2, 1], m[2, 2])),
            np.arctan2(m[1, 0], m[0, 0]),
        )

    def add(name, parent, kind, xyz, angles=(0, 0, 0), axis=None, limit=None):
        links.append(f'<link name="{name}"/>')
        own = name if kind == "revolute" else f"{name}_fixed"
        text = f'<joint name="{own}" type="{kind}"><parent link="{parent}"/><child link="{name}"/>'
        text += f'<origin xyz="{" ".join(map(str, xyz))}" rpy="{" ".join(map(str, angles))}"/>'
        if axis is not None:
            text += (
                f'<axis xyz="{" ".join(map(str, axis))}"/><limit lower="{limit[0]}" upper="{limit[1]}" effort="1" '
                f'velocity="6"/>'
            )
        rows.append(text + "</joint>")

    def walk(body, parent):
        last, xyz, angles = parent, model.body_pos[body], rpy(model.body_quat[body])
        for j in range(model.body_jntadr[body], model.body_jntadr[body] + model.body_jntnum[body]):
            add(model.joint(j).name, last, "revolute", xyz, angles, model.jnt_axis[j], model.jnt_range[j])
            last, xyz, angles = model.joint(j).name, (0, 0, 0), (0, 0, 0)
        for s in range(model.nsite):
            if model.site_bodyid[s] == body:
                add("site_" + model.site(s).name, last, "fixed", model.site_pos[s])
        for child in range(model.nbody):
            if model.body_parentid[child] == body:
                walk(child, last)

    root = model.body(f"{side}_wrist_link").id
    for child in range(model.nbody):
        if model.body_parentid[child] == root:
            walk(child, f"{side}_wrist_link")
    return f'<robot name="{side}_hand">{"".join(links)}{"".join(rows)}</robot>'


class DexHands:
    """dex-retargeting's vector optimiser, one per hand: wrist to fingertips and to the middle joints, no low-pass."""

    def __init__(self, table, model, q, directory: Path):
        from dex_retargeting.retargeting_config import RetargetingConfig

        self.hands = []
        for side in SIDES:
            path = directory / f"{side}.urdf"
            path.write_text(hand_urdf(model, side))
            tips = [f"site_{side}_{finger}_tip" for finger in mjcf.FINGERS]
            middles = [f"site_{side}_thumb_mcp"] + [f"site_{side}_{finger}_pip" for finger in mjcf.FINGERS[1:]]
            config = RetargetingConfig(
                type="vector",
                urdf_path=str(path),
                target_joint_names=[table.names[i] for i in hand_chains.read(Kinematics(table), side).index],
                target_origin_link_names=[f"{side}_wrist_link"] * 10,
                target_task_link_names=tips + middles,
                target_link_human_indices=np.array([[0] * 10, TIPS + MIDDLES]),
                low_pass_alpha=1.0,
            )
            hand = config.build()
            order = [table.index[name] for name in hand.optimizer.robot.dof_joint_names]
            hand.set_qpos(q[order].astype(np.float32))
            self.hands.append((side, hand, np.array(order)))
        self.points = np.array(TIPS + MIDDLES)

    def solve(self, frame, q) -> None:
        matrix = np.empty(9)
        for side, hand, order in self.hands:
            mujoco.mju_quat2Mat(matrix, frame.parts[f"{side}_wrist"][3:])
            keypoints = frame.parts[f"{side}_hand"]
            q[order] = hand.retarget((keypoints[self.points] - keypoints[0]) @ matrix.reshape(3, 3))


def errors(skeleton, frames, outputs) -> dict[str, float]:
    """Medians and 99th percentiles of wrist (mm, mrad) and fingertip error (mm, in the wrist's frame)."""
    wrist, turn, tip = [], [], []
    for frame, q in zip(frames, outputs):
        got = skeleton.parts(q)
        hands = "left_hand" in frame.parts
        for side in SIDES:
            a, b = frame.parts[f"{side}_wrist"], got[f"{side}_wrist"]
            wrist.append(1e3 * np.linalg.norm(a[:3] - b[:3]))
            turn.append(2e3 * np.arccos(min(1.0, abs(float(a[3:] @ b[3:])))))
            if not hands:
                tip.append(np.nan)
                continue
            local = []
            for parts, pose in ((frame.parts, a), (got, b)):
                matrix = np.empty(9)
                mujoco.mju_quat2Mat(matrix, pose[3:])
                hand = parts[f"{side}_hand"]
                local.append((hand[TIPS] - hand[0]) @ matrix.reshape(3, 3))
            tip.extend(1e3 * np.linalg.norm(local[0] - local[1], axis=1))
    named = {"wrist_mm": wrist, "wrist_mrad": turn, "tip_mm": tip}
    return {
        f"{k}_{s}": round(float(np.percentile(v, p)), 4)
        for k, v in named.items()
        for s, p in (("p50", 50), ("p99", 99))
    }


def measure(solve, frames, skeleton, start) -> dict[str, float]:
    """solve: (frame, q) -> q, timed per frame; the first second warms up and is left out of the times."""
    outputs, wall, cpu, q = [], [], [], start.copy()
    for frame in frames:
        a, c = time.perf_counter(), time.thread_time()
        q = solve(frame, q)
        wall.append(1e3 * (time.perf_counter() - a))
        cpu.append(1e3 * (time.thread_time() - c))
        outputs.append(q.copy())
    skip = int(RATE)
    times = {
        f"{clock}{p}": np.percentile(values[skip:], p)
        for clock, values in (("p", wall), ("cpu_p", cpu))
        for p in (50, 99)
    }
    return {f"ms_{k}": round(float(v), 4) for k, v in times.items()} | errors(skeleton, frames[skip:], outputs[skip:])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="within 30 s")
    parser.add_argument("--seconds", type=float, default=60.0, help="length of the motion")
    options = parser.parse_args()
    table = joints.load()
    skeleton = RobotSkeleton(table)
    poses = motion(table, 5.0 if options.quick else options.seconds)
    frames = [skeleton.frame(q, k, k / RATE) for k, q in enumerate(poses)]
    start = poses[0]
    results, notes = {}, []

    def ours(**settings):
        retargeter = Retargeter(table, **settings)
        retargeter.reset(start)
        return measure(lambda frame, q: retargeter.retarget(frame), frames, skeleton, start)

    results["rove"] = ours(smoothing=False)
    results["rove, smoothing"] = ours()
    bare = [OperatorFrame({n: v for n, v in f.parts.items() if not n.endswith("_hand")}, f.seq, f.t) for f in frames]
    retargeter = Retargeter(table, smoothing=False)
    retargeter.reset(start)
    row = measure(lambda frame, q: retargeter.retarget(frame), bare, skeleton, start)
    results["rove, body alone"] = {k: v if k.startswith(("ms", "wrist")) else None for k, v in row.items()}
    # A headset tracks no elbows.
    headset = [
        OperatorFrame({n: v for n, v in f.parts.items() if not n.endswith("_elbow")}, f.seq, f.t) for f in frames
    ]
    retargeter = Retargeter(table, smoothing=False)
    retargeter.reset(start)
    results["rove, no elbows"] = measure(lambda frame, q: retargeter.retarget(frame), headset, skeleton, start)
    # Every part out of reach: the slow path of the arms, as when the operator is taller and stretches.
    far = [skeleton.frame(q, k, k / RATE) for k, q in enumerate(poses)]
    for frame in far:
        for name in PARTS:
            if name.endswith("_wrist"):
                frame.parts[name][:3] *= 1.4
                frame.parts[name][3:] = frame.parts[name][[4, 3, 6, 5]]
    retargeter = Retargeter(table)
    retargeter.reset(start)
    row = measure(lambda frame, q: retargeter.retarget(frame), far, skeleton, start)
    results["rove, unreachable"] = {
        k: v if k.startswith("ms") else None for k, v in row.items()
    }  # errors are the point of it

    with contextlib.ExitStack() as stack:
        try:
            directory = Path(stack.enter_context(tempfile.TemporaryDirectory()))
            hands = DexHands(table, skeleton.model, start, directory)
        except ImportError as error:
            hands = None
            notes.append(f"dex-retargeting is not installed ({error.name}): the alternative is the body alone")
        for steps in (1, 3):
            try:
                body = MinkBody(table, start, steps)
            except ImportError:
                notes.append("mink is not installed")
                break
            if hands is not None:
                for _, hand, order in hands.hands:
                    hand.set_qpos(start[order].astype(np.float32))

            def solve(frame, q, body=body):
                body.solve(frame, q)
                if hands is not None:
                    hands.solve(frame, q)
                return q

            name = f"mink ×{steps}" + (" + dex-retargeting" if hands is not None else "")
            results[name] = measure(solve, frames, skeleton, start)
            if hands is None:
                for key in list(results[name]):
                    if key.startswith("tip"):
                        results[name][key] = None
    columns = list(results["rove"])
    print(f"{'':24s}" + "".join(f"{c:>16s}" for c in columns))
    for name, row in results.items():
        print(f"{name:24s}" + "".join(f"{'-' if row[c] is None else format(row[c], '.3f'):>16s}" for c in columns))
    for note in notes:
        print(note)
    other = results.get(
        "mink ×1 + dex-retargeting"
    )  # the cheaper of the two; None: nothing to compare whole frames with
    speedup = None if other is None else round(other["ms_cpu_p50"] / results["rove"]["ms_cpu_p50"], 2)
    print(
        json.dumps(
            {"bench": "retargeting", "frames": len(frames), "speedup": speedup, "notes": notes, "results": results}
        )
    )


if __name__ == "__main__":
    main()
