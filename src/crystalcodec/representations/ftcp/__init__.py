"""FTCP: real and reciprocal space side by side."""

from crystalcodec.representations.ftcp.representation import FTCP

__all__ = ["FTCP"]
