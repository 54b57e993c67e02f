# SPDX-License-Identifier: Apache-2.0
"""The digits of a robot's hand as serial chains in the wrist's frame, read from the robot model at zero joint angles.

With every axis and point known at zero, the chain's pose is the product of exponentials of its joints (Lynch and Park,
Modern Robotics, 2017, sec. 4.1): no frames per link are needed, and any number of digits and joints has one form.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from rove_contract.operator_frame import KEYPOINT_NAMES
from rove_description import mjcf
from rove_description.kinematics import Kinematics

# Keypoints of a person's digit: its base, the joint before its last robot link, its tip.
DIGITS = {"thumb": (1, 3, 4)} | {f: (5 + 4 * k, 6 + 4 * k, 8 + 4 * k) for k, f in enumerate(mjcf.FINGERS[1:])}
KNUCKLES = (5, 9, 13, 17)


@dataclass(frozen=True)
class HandChains:
    """One hand of D digits with n joints in all, thumb first; each digit's joints stand together, base first.

    index: (n,) int, contract order. start: (D + 1,) int, where each digit's joints begin. anchor, axis: (n, 3) m and
    unit vectors. base, middle, tip: (D, 3) m. middle_joints: (D,) int, how many of a digit's joints move its middle.
    knuckles: (4, 3) m. keypoints: (D, 3) int, the person's keypoints of base, middle and tip. All at zero joint angles
    in the wrist site's frame.
    """

    index: np.ndarray
    start: np.ndarray
    anchor: np.ndarray
    axis: np.ndarray
    base: np.ndarray
    middle: np.ndarray
    tip: np.ndarray
    middle_joints: np.ndarray
    knuckles: np.ndarray
    keypoints: np.ndarray

    def reach(self) -> np.ndarray:
        """(D,) m: wrist to base, and from there along the digit to its tip."""
        links = np.linalg.norm(self.middle - self.base, axis=1) + np.linalg.norm(self.tip - self.middle, axis=1)
        return np.linalg.norm(self.base, axis=1) + links


def read(kinematics: Kinematics, side: str) -> HandChains:
    """The hand of `side` ("left", "right")."""
    model, data, table = kinematics.model, kinematics.data, kinematics.table
    kinematics.forward(np.zeros(len(table)))
    wrist, turn = kinematics.position(f"{side}_wrist"), kinematics.rotation(f"{side}_wrist")
    root = int(model.site(f"{side}_wrist").bodyid[0])
    contract = {int(number): i for i, number in enumerate(kinematics.joint_ids)}

    def place(keypoint: int) -> np.ndarray:
        return (kinematics.position(f"{side}_{KEYPOINT_NAMES[keypoint]}") - wrist) @ turn

    def chain(keypoint: int) -> list[int]:
        """Numbers of the model's joints between the wrist and a keypoint's site, base first."""
        body, found = int(model.site(f"{side}_{KEYPOINT_NAMES[keypoint]}").bodyid[0]), []
        while body != root:
            first = int(model.body_jntadr[body])
            found = [first + k for k in range(int(model.body_jntnum[body]))] + found
            body = int(model.body_parentid[body])
        return found

    chains = [chain(tip) for _, _, tip in DIGITS.values()]
    joints = [joint for digit in chains for joint in digit]
    keypoints = np.array(list(DIGITS.values()))
    return HandChains(
        index=np.array([contract[joint] for joint in joints]),
        start=np.concatenate([[0], np.cumsum([len(digit) for digit in chains])]),
        anchor=(data.xanchor[joints] - kinematics.origin - wrist) @ turn,
        axis=data.xaxis[joints] @ turn,
        base=np.array([place(k) for k in keypoints[:, 0]]),
        middle=np.array([place(k) for k in keypoints[:, 1]]),
        tip=np.array([place(k) for k in keypoints[:, 2]]),
        middle_joints=np.array([len(chain(k)) for k in keypoints[:, 1]]),
        knuckles=np.array([place(k) for k in KNUCKLES]),
        keypoints=keypoints,
    )
