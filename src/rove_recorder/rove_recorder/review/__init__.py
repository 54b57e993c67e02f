# SPDX-License-Identifier: Apache-2.0
"""The review page: server, data, page."""
