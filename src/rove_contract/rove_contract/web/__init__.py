# SPDX-License-Identifier: Apache-2.0
"""One base for every web page: access, framing, server."""
