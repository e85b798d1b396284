"""The meaning of outputs: targets, losses, primary metric, decoding."""
