"""Codes of crystals: sites and cell through attention to short vectors and back."""

from crystalcodec.generators.site_codec.generator import SiteCodec

__all__ = ["SiteCodec"]
