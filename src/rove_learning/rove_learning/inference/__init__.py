# SPDX-License-Identifier: Apache-2.0
"""What runs a trained policy or critic: checkpoint, scoring, execution, CUDA graphs. All that `rove_policy` imports."""
