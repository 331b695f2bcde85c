"""Train generators, sample them, and turn what they make into crystals."""
