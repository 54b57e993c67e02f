"""Every test process has a ROS domain of its own and talks to this machine only."""

import os

os.environ["ROS_DOMAIN_ID"] = str(1 + os.getpid() % 100)  # Linux allows domains 0 to 101 without touching the ephemeral ports
os.environ["ROS_AUTOMATIC_DISCOVERY_RANGE"] = "LOCALHOST"
os.environ.setdefault("MUJOCO_GL", "egl")
