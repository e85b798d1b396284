"""The only room with torch: a graph with gradients, rounding, bias correction, tuning, attribution of noise."""
