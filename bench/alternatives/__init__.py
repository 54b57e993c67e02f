# SPDX-License-Identifier: Apache-2.0
"""What else retargets: mink and dex-retargeting, on the same robot model, for the benchmarks."""
