"""Scores, per-class tables, confidence intervals. numpy only."""
