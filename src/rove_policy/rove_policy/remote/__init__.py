# SPDX-License-Identifier: Apache-2.0
"""Policies on another machine: the wire, the server, and clients that act like a loaded checkpoint."""
