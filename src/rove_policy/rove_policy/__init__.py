# SPDX-License-Identifier: Apache-2.0
"""The VLA action publisher: observation in, action chunks out."""
