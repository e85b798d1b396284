"""Passes on QDQ graphs that keep the outputs and make them faster and smaller."""
