"""What calibration images show: statistics of activations as a stream, ranges, the split into fitting and judging."""
