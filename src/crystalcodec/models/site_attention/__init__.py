"""Attention between the site rows of an image, with periodic distances of its own making."""

from crystalcodec.models.site_attention.network import SiteAttention

__all__ = ["SiteAttention"]
