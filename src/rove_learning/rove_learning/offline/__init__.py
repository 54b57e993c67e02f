# SPDX-License-Identifier: Apache-2.0
"""OVE, IQL and MC on maze navigation (paper, App. C): the humanoid's losses, advantages and labels on states instead of
pictures.
"""
