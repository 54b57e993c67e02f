# SPDX-License-Identifier: Apache-2.0
"""The digits of a robot's hand as serial chains in the wrist's frame, read from the robot model at zero joint angles.

With every axis and point known at zero, the chain's pose is the product of exponentials of its joints (Lynch and Park,
Modern Robotics, 2017, sec. 4.1): no frames per link are needed, and any number of digits and joints has one form.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from rove_contract.operator_frame import KEYPOINT_NAMES
from rove_description import robot
from rove_description.kinematics import Kinematics
from rove_description.robot import Arm

KNUCKLES = (5, 9, 13, 17)  # of a person's keypoints


@dataclass(frozen=True)
class HandChains:
    """One hand of D digits with n joints in all, thumb first; each digit's joints stand together, base first.

    index: (n,) int, contract order. start: (D + 1,) int, where each digit's joints begin. anchor, axis: (n, 3) m and
    unit vectors. base, middle, tip: (D, 3) m. middle_joints: (D,) int, how many of a digit's joints move its middle.
    keypoints: (D, 3) int, the person's keypoints of base, middle and tip. digits: (D,) the person's. All at zero joint
    angles in the wrist site's frame: fingers along -z, the thumb's side +x.
    """

    digits: tuple[str, ...]
    index: np.ndarray
    start: np.ndarray
    anchor: np.ndarray
    axis: np.ndarray
    base: np.ndarray
    middle: np.ndarray
    tip: np.ndarray
    middle_joints: np.ndarray
    keypoints: np.ndarray

    def reach(self) -> np.ndarray:
        """(D,) m: wrist to base, and from there along the digit to its tip."""
        links = np.linalg.norm(self.middle - self.base, axis=1) + np.linalg.norm(self.tip - self.middle, axis=1)
        return np.linalg.norm(self.base, axis=1) + links


def read(kinematics: Kinematics, side: str, arm: Arm | None = None) -> HandChains:
    """The hand of `side` ("left", "right"). arm: of a robot's description; None: sites are named as the keypoints."""
    model, data, table = kinematics.model, kinematics.data, kinematics.table
    if arm is None:
        wrist_site = f"{side}_wrist"
        sites = {digit: [f"{side}_{KEYPOINT_NAMES[k]}" for k in keypoints] for digit, keypoints in robot.PERSON.items()}
    else:
        wrist_site = arm.wrist
        fingers = sorted(arm.fingers.values(), key=lambda finger: finger.person != "thumb")
        sites = {finger.person: [finger.base, finger.middle, finger.tip] for finger in fingers}
    kinematics.forward(np.zeros(len(table)))
    wrist, turn = kinematics.position(wrist_site), kinematics.rotation(wrist_site)
    root = int(model.site(wrist_site).bodyid[0])
    contract = {int(number): i for i, number in enumerate(kinematics.joint_ids)}

    def place(site: str) -> np.ndarray:
        return (kinematics.position(site) - wrist) @ turn

    def chain(site: str) -> list[int]:
        """Numbers of the model's joints between the wrist and a site, base first."""
        body, found = int(model.site(site).bodyid[0]), []
        while body != root:
            first = int(model.body_jntadr[body])
            found = [first + k for k in range(int(model.body_jntnum[body]))] + found
            body = int(model.body_parentid[body])
        return found

    chains = [chain(tip) for _, _, tip in sites.values()]
    joints = [joint for digit in chains for joint in digit]
    return HandChains(
        digits=tuple(sites),
        index=np.array([contract[joint] for joint in joints]),
        start=np.concatenate([[0], np.cumsum([len(digit) for digit in chains])]),
        anchor=(data.xanchor[joints] - kinematics.origin - wrist) @ turn,
        axis=data.xaxis[joints] @ turn,
        base=np.array([place(base) for base, _, _ in sites.values()]),
        middle=np.array([place(middle) for _, middle, _ in sites.values()]),
        tip=np.array([place(tip) for _, _, tip in sites.values()]),
        middle_joints=np.array([len(chain(middle)) for _, middle, _ in sites.values()]),
        keypoints=np.array([robot.PERSON[digit] for digit in sites]),
    )
