"""What every layer stands on: errors, canonical form, stage contract, workspace, Preprocess. No torch."""
