"""Calibration: statistics and ranges of activations, and the split of the images."""
