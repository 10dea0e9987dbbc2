"""Performance matching: what is trained on the synthetic images shall do well on the real ones."""
