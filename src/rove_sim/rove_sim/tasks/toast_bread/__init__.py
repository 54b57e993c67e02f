# SPDX-License-Identifier: Apache-2.0
"""Put the bread into the toaster."""
