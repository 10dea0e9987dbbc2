"""What a method is, what it works on, and how it is run."""
