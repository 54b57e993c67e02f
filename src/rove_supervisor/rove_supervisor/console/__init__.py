# SPDX-License-Identifier: Apache-2.0
"""The supervisor's console in a terminal."""
