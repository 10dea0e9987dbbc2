"""Benchmarks of what chooses training images."""
