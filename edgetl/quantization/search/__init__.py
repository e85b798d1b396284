"""Search for the fewest float layers within a budget; the held-out figures."""
