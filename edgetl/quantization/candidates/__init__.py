"""Methods that make an int8 graph, and the trials that choose between them."""
