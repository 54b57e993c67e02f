# SPDX-License-Identifier: Apache-2.0
"""The paper's algorithm on one shelf: rewards, targets, losses, advantage, IQL. Imports torch and numpy only."""
