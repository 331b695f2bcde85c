"""Periodic fields of a cell and their Fourier series: what density and structure factors share."""
