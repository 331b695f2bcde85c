"""How good predictions and crystals are: metric families, one file each, numpy only."""
