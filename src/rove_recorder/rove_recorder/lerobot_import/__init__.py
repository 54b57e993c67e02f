# SPDX-License-Identifier: Apache-2.0
"""LeRobot datasets of others -> episodes with ROVE's labels."""
