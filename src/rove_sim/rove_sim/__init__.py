"""Simulated IRON-R01 in MuJoCo: robot node, whiteboard task, ego camera, scripted operator and supervisor."""
