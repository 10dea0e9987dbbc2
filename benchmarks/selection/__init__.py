"""Selections measured: side by side, against planted truth, and for speed."""
