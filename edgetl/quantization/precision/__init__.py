"""The layers that stay in float, with reasons; the target CPUs."""
