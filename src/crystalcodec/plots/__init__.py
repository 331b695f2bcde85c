"""Figures: results, structures, and crystals beside their representations."""
