# SPDX-License-Identifier: Apache-2.0
"""Datasets, buffers, caches of pictures and features, augmentation."""
