# SPDX-License-Identifier: Apache-2.0
"""The supervisor's panel: server, snapshot, protocol, page."""
