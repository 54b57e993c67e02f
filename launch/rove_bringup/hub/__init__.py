# SPDX-License-Identifier: Apache-2.0
"""Datasets and checkpoints on the Hugging Face Hub: a card that says what they are, push and pull."""
