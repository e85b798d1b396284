"""Images and labels: reading, splitting, augmentation, calibration sets."""
