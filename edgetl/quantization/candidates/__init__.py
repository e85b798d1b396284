"""Ways from a float graph to an int8 one, and the trials that choose among them."""
