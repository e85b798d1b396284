"""The command line: one file a command group. Nothing below imports it."""
