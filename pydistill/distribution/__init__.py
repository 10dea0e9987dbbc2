"""Distribution matching: synthetic features are distributed as the real ones are."""
