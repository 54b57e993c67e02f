# SPDX-License-Identifier: Apache-2.0
"""Data and tiny models that tests and benchmarks build."""
