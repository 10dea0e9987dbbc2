"""Reading data sets: what it takes."""
