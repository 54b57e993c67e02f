"""Operator inputs, retargeting to 50 joints, and the command filter."""
