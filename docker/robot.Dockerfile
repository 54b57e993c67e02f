# SPDX-License-Identifier: Apache-2.0
# A deployment session on ROS 2 Jazzy, without what learning and tests need. Build from the repository root:
#   docker build -f docker/robot.Dockerfile -t rove-robot .
FROM ros:jazzy-ros-base

SHELL ["/bin/bash", "-o", "pipefail", "-c"]

# One user id in every container. The base image's own user 1000 makes room.
ARG UID=1000
RUN (userdel --remove "$(id --name --user "$UID" 2>/dev/null)" 2>/dev/null || true) \
    && useradd --create-home --uid "$UID" --shell /bin/bash rove \
    && install --directory --owner rove --group rove /opt/rove /opt/rove/runs

WORKDIR /opt/rove
COPY --chown=rove:rove . .

# rosdep installs what the package.xml files name for running; Chromium is for tests only.
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install -y --no-install-recommends python3-venv \
    && grep -vE '^#|^chromium$' requirements/debian.txt | xargs apt-get install -y --no-install-recommends \
    && rosdep update --rosdistro jazzy \
    && rosdep install --rosdistro jazzy --from-paths src launch --ignore-src --dependency-types exec -y \
    && rm -rf /var/lib/apt/lists/*

USER rove

RUN python3 -m venv --system-site-packages .venv \
    && .venv/bin/pip install --no-cache-dir -r requirements/runtime.txt -r requirements/policy.txt

# colcon is the base image's. Importing the nodes compiles numba's loops, so that a session does not start with that;
# numba keeps them beside the modules, for processors like the one that builds the image.
RUN source /opt/ros/jazzy/setup.bash \
    && source .venv/bin/activate \
    && colcon build --base-paths src launch \
    && source install/setup.bash \
    && python3 -c "import rove_teleop.command_filter_node, rove_teleop.teleop_node, rove_sim.robot_node"

ENV PYTHONUNBUFFERED=1
# `ros2 launch` ends its nodes on SIGINT; SIGTERM would leave them to the kernel.
STOPSIGNAL SIGINT
ENTRYPOINT ["/opt/rove/docker/entrypoint.sh"]
CMD ["ros2", "launch", "rove_bringup", "session.launch.yaml"]
