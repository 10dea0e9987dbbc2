"""Operators against plain torch."""
