# SPDX-License-Identifier: Apache-2.0
"""What all ROVE packages agree on. One owner per fact; no module here imports rclpy except `ros`."""
