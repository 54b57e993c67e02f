# SPDX-License-Identifier: Apache-2.0
"""The paper's experiments on the simulated tasks: arms, seeds and budgets fixed beforehand, a small file per result."""
