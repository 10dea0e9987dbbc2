"""Methods against plain torch, and what they reach on real data."""
