"""Optimistic value estimation, advantage labels and the flow-matching actor: Algorithm 1."""
