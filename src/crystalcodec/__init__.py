"""Encode crystals to arrays, decode arrays back to crystals, and learn from them."""
