# SPDX-License-Identifier: Apache-2.0
"""Deployments in the simulator: demonstrations, interventions, human videos, evaluation."""
