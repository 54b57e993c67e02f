# SPDX-License-Identifier: Apache-2.0
"""Videos of people -> dataset."""
