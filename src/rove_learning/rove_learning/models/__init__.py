# SPDX-License-Identifier: Apache-2.0
"""Backbones, critic, actor and guidance."""
