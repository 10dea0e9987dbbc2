"""What is written and read: atomic files, one sealed record format, checkpoints, the folder of a run."""
