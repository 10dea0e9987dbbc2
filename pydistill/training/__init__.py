"""Training: one trainer, its samples and scores, unrolled training, teachers."""
