# SPDX-License-Identifier: Apache-2.0
"""Trials of policies on a robot: plan, blinded order, outcomes."""
