"""Stage contract, workspace, preprocessing, progress messages, errors. No torch."""
