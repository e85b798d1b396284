"""The five stages. None imports another; they exchange files."""
