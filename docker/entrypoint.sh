#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# ROS 2, the Python environment and the built workspace, then the command.
set -e
source /opt/ros/jazzy/setup.bash
source /opt/rove/.venv/bin/activate
source /opt/rove/install/setup.bash
exec "$@"
