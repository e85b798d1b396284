"""Scores, per-class tables, and the statistics of parity. numpy only."""
