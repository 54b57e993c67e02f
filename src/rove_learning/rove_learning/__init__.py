# SPDX-License-Identifier: Apache-2.0
"""Learning from imperfect interventions: rewards, optimistic value estimation, advantage labels, flow-matching actor
(Algorithm 1).
"""
