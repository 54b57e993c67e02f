# SPDX-License-Identifier: Apache-2.0
"""A session without a robot, for tests and benchmarks."""
