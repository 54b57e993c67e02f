"""What all ROVE packages agree on. One owner per fact; no module here imports rclpy except `ros`."""
