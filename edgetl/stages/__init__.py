"""The stages: those of the command line, and what they share. None imports another; they exchange files."""
