"""The mode machine of a session and its browser panel."""
