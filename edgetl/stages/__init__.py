"""The five stages. They never import each other; artifacts are their only contact."""
