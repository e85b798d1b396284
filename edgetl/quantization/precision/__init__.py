"""What stays in float, and why."""
