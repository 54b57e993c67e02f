# SPDX-License-Identifier: Apache-2.0
# A deployment session on ROS 2 Jazzy. Build from the repository root:
#   docker build -f docker/robot.Dockerfile -t rove-robot .
FROM ros:jazzy-ros-base

SHELL ["/bin/bash", "-o", "pipefail", "-c"]

# One user id in every container, or Fast DDS's shared memory does not connect them. The base image's own user 1000 makes room.
ARG UID=1000
RUN (userdel --remove "$(id --name --user "$UID" 2>/dev/null)" 2>/dev/null || true) \
    && useradd --create-home --uid "$UID" --shell /bin/bash rove \
    && install --directory --owner rove --group rove /opt/rove /opt/rove/runs

WORKDIR /opt/rove
COPY --chown=rove:rove . .

# rosdep installs what the package.xml files name. Chromium is only for the panel's tests.
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install -y --no-install-recommends make python3-venv \
    && grep -vE '^#|^chromium$' requirements/debian.txt | xargs apt-get install -y --no-install-recommends \
    && rosdep update --rosdistro jazzy \
    && rosdep install --rosdistro jazzy --from-paths src launch --ignore-src -y \
    && rm -rf /var/lib/apt/lists/*

USER rove

RUN source /opt/ros/jazzy/setup.bash \
    && make setup \
    && source .venv/bin/activate \
    && colcon build --base-paths src launch

ENV PYTHONUNBUFFERED=1
ENTRYPOINT ["/opt/rove/docker/entrypoint.sh"]
CMD ["ros2", "launch", "rove_bringup", "session.launch.yaml"]
