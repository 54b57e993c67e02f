# SPDX-License-Identifier: Apache-2.0
"""Training: plan, phases, sharding, and the three steps of an iteration (critic, labels, actor)."""
