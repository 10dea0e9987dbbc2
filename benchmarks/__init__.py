"""Measurements: speed as ratios, memory as peaks, accuracy with its protocol."""
