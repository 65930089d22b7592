"""Samplers: a prior's denoiser and the data's operator in turn, at falling noise levels."""

from inverse.samplers.dds import dds
from inverse.samplers.pnp_hqs import pnp_hqs

__all__ = ["dds", "pnp_hqs"]
