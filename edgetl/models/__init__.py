"""Architectures, their pretrained weights, heads, freezing; what a checkpoint file holds."""
