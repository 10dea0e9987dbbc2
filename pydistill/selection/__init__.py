"""Sample selection: the distilled set is made of real images."""
