"""What an output means: targets, head, losses, primary metric, decoding. Nothing else says "logits are classes"."""
