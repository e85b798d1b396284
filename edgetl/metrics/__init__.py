"""Scores, per-class tables, confidence intervals. numpy and scipy."""
