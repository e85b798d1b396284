"""Passes on float graphs that replace the forms of exporters by one form."""
