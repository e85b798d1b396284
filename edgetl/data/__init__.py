"""Images and labels: where they come from, how they are split, what training and calibration see of them."""
