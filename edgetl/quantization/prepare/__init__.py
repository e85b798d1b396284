"""Passes on float graphs: one form for what exporters write in many."""
