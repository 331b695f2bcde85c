"""One code for each crystal: sites and cell through attention to a short vector and back."""

from crystalcodec.generators.site_codec.generator import SiteCodec

__all__ = ["SiteCodec"]
