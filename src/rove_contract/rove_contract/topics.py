# SPDX-License-Identifier: Apache-2.0
"""Every topic and service of the stack: name, type, QoS, publisher. Pure data; `rove_contract.ros` turns it into rclpy
objects.
"""

from __future__ import annotations

from dataclasses import dataclass

from rove_contract.modes import Trigger
from rove_contract.timing import COMMANDS_CEASE_S, SUPERVISOR_SILENT_S


@dataclass(frozen=True)
class Qos:
    """reliability: "reliable" | "best_effort". durability: "volatile" | "transient_local". depth: messages. deadline_s:
    s or None.
    """

    reliability: str = "reliable"
    durability: str = "volatile"
    depth: int = 10
    deadline_s: float | None = None


@dataclass(frozen=True)
class Topic:
    """name: topic as it is without a namespace, and as bags hold it; see `relative`. type: "pkg/msg/Type". publisher:
    the package that owns it. required: stands in every episode's bag. qos: of subscriptions; offered: of publishers,
    where they offer more than our own nodes ask for.
    """

    name: str
    type: str
    qos: Qos
    publisher: str
    required: bool = True
    offered: Qos | None = None


def relative(name: str) -> str:
    """The name that a node asks for, so that its namespace (`namespace:=left_lab/iron1`) comes before it."""
    return name.lstrip("/")


SENSOR_DATA = Qos("best_effort", "volatile", 5)  # rclpy's qos_profile_sensor_data
COMMAND = Qos("reliable", "volatile", 1)
LATCHED = Qos("reliable", "transient_local", 1)

# MoveIt and `ros2 topic echo --qos-reliability reliable` ask for a reliable state; a driver may offer less.
JOINT_STATES = Topic(
    "/joint_states", "sensor_msgs/msg/JointState", SENSOR_DATA, "robot", offered=Qos("reliable", "volatile", 5)
)
EGO_IMAGE = Topic("/ego_camera/image/compressed", "sensor_msgs/msg/CompressedImage", SENSOR_DATA, "robot")


def picture(name: str) -> Topic:
    """The topic of a camera of the robot's description."""
    return Topic(name, EGO_IMAGE.type, SENSOR_DATA, "robot", required=False)


def sensor(name: str, kind: str) -> Topic:
    """The topic of a depth camera or tactile array of the robot's description; kind: its type."""
    return Topic(name, kind, SENSOR_DATA, "robot", required=False)


def camera_info(picture_topic: str) -> Topic:
    """The topic of a camera's calibration, where image_transport looks for it: beside the last part of the pictures'
    name where that says `image` (/ego_camera/image/compressed -> /ego_camera/camera_info), else under it.
    """
    name = picture_topic.removesuffix("/compressed").removesuffix("/compressedDepth")
    camera, _, last = name.rpartition("/")
    folder = camera if camera and last.startswith("image") else name
    offered = Qos("reliable", "volatile", 5)
    return Topic(f"{folder}/camera_info", "sensor_msgs/msg/CameraInfo", SENSOR_DATA, "robot", False, offered)


ACTION_CHUNK = Topic("/policy/action_chunk", "trajectory_msgs/msg/JointTrajectory", COMMAND, "rove_policy")
POLICY_VALUE = Topic("/policy/value", "std_msgs/msg/Float32", SENSOR_DATA, "rove_policy")
TELEOP_TARGETS = Topic(
    "/teleop/joint_targets", "sensor_msgs/msg/JointState", Qos("best_effort", "volatile", 1), "rove_teleop"
)
TELEOP_ALIGNMENT = Topic("/teleop/alignment", "diagnostic_msgs/msg/DiagnosticStatus", SENSOR_DATA, "rove_teleop")
MODE = Topic(
    "/supervisor/mode",
    "lifecycle_msgs/msg/TransitionEvent",
    Qos("reliable", "transient_local", 1, SUPERVISOR_SILENT_S),
    "rove_supervisor",
)
EPISODE = Topic("/supervisor/episode", "diagnostic_msgs/msg/DiagnosticStatus", LATCHED, "rove_supervisor")
JOINT_COMMAND = Topic(
    "/joint_command", "sensor_msgs/msg/JointState", Qos("reliable", "volatile", 1, COMMANDS_CEASE_S), "rove_teleop"
)
DIAGNOSTICS = Topic("/diagnostics", "diagnostic_msgs/msg/DiagnosticArray", Qos(), "every node")

# Beside the table of the design: what the recorder tells the supervisor, where the next episode begins, and what only a
# simulator can know.
RECORDER_STATUS = Topic(
    "/recorder/status", "diagnostic_msgs/msg/DiagnosticStatus", LATCHED, "rove_recorder", required=False
)
START_STAGE = Topic(
    "/supervisor/start_stage", "std_msgs/msg/String", LATCHED, "rove_supervisor", required=False
)  # of the next episode
SIM_STATE = Topic("/sim/state", "std_msgs/msg/String", SENSOR_DATA, "rove_sim", required=False)  # JSON, see rove_sim
# JSON of the simulated task: name, instruction, start_stages, milestones. Supervisor and panel show the task's words.
SIM_TASK = Topic("/sim/task", "std_msgs/msg/String", LATCHED, "rove_sim", required=False)
SIM_SUCCESS = Topic("/sim/success", "std_msgs/msg/Bool", LATCHED, "rove_sim", required=False)

# What rviz, Foxglove and other ROS tools read: URDF, and the frames of its links and of the operator's targets.
ROBOT_DESCRIPTION = Topic("/robot_description", "std_msgs/msg/String", LATCHED, "rove_bringup", required=False)
TF = Topic("/tf", "tf2_msgs/msg/TFMessage", Qos("reliable", "volatile", 100), "rove_bringup", required=False)
TF_STATIC = Topic("/tf_static", TF.type, LATCHED, "rove_bringup", required=False)

TOPICS: tuple[Topic, ...] = (
    JOINT_STATES,
    EGO_IMAGE,
    ACTION_CHUNK,
    POLICY_VALUE,
    TELEOP_TARGETS,
    TELEOP_ALIGNMENT,
    MODE,
    EPISODE,
    JOINT_COMMAND,
    DIAGNOSTICS,
    RECORDER_STATUS,
    START_STAGE,
    SIM_STATE,
    SIM_TASK,
    SIM_SUCCESS,
    ROBOT_DESCRIPTION,
    TF,
    TF_STATIC,
)
BY_NAME = {topic.name: topic for topic in TOPICS}

# std_srvs/Trigger services of the supervisor, one per trigger of the transition table.
SUPERVISOR_SERVICES = {trigger: f"/supervisor/{trigger.service}" for trigger in Trigger}
# "takeover" is refused while the operator is stale or misaligned; this one is not.
FORCE_TAKEOVER_SERVICE = "/supervisor/force_takeover"
POLICY_RELOAD_SERVICE = (
    "/policy/reload"  # std_srvs/Trigger: read the checkpoint again; answers when it is loaded or refused
)
SIM_RESET_SERVICE = "/sim/reset"  # std_srvs/Trigger: next seed, objects and robot back to the start; only in IDLE
