"""Rounding, bias correction, tuning with gradients. The only folder with torch."""
