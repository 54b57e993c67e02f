# SPDX-License-Identifier: Apache-2.0
"""One crash-safe MCAP bag per episode, recovery, and export to a LeRobot v3.0 dataset."""
