"""Parameter matching: images on which training moves a network as it does on the real data."""
