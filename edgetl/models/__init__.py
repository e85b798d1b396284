"""Architectures, pretrained weights, heads, pruning, checkpoint files."""
