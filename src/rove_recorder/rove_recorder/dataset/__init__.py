# SPDX-License-Identifier: Apache-2.0
"""LeRobot datasets: format, writer, video, statistics, corrections, scores, quality, merge, shards, remote."""
