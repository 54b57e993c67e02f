# SPDX-License-Identifier: Apache-2.0
"""Rates, horizons and time-outs of the running system; seconds, hertz and steps."""

CONTROL_HZ = 100.0  # /joint_states and /joint_command
CONTROL_PERIOD_S = 1.0 / CONTROL_HZ
CAMERA_HZ = 30.0
POLICY_HZ = 20.0  # steps of an action chunk and frames of the dataset
CHUNK_STEPS = 50  # predicted and trained per chunk (paper, App. G)
EXECUTE_STEPS = 16  # executed before replanning; also the critic's horizon H (paper, App. G)

TELEOP_STALE_S = 0.1  # 6 frames at 60 Hz: a lost frame or two is not a stop
STATE_MISSING_S = 0.1  # 10 samples of /joint_states
SUPERVISOR_HEARTBEAT_S = 0.05  # the latched mode is published again at this period
SUPERVISOR_SILENT_S = 0.2  # 4 heartbeats
# A node that was silent for so long has given its role up: 10 heartbeats, 30 operator frames, two and a half chunks.
SUPERVISOR_GONE_S = 0.5
TELEOP_GONE_S = 0.5
POLICY_GONE_S = 2.0
COMMANDS_CEASE_S = 0.05  # 5 periods without a command: the driver stops the robot by itself
