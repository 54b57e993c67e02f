# SPDX-License-Identifier: Apache-2.0
"""Data that tests and benchmarks build."""
