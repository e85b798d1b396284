"""Which layers stay in float under a budget."""
