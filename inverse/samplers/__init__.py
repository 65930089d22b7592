"""Samplers: a prior's denoiser and the data's operator in turn, at falling noise levels."""

from inverse.samplers.ddnm import ddnm
from inverse.samplers.ddrm import ddrm
from inverse.samplers.dds import dds
from inverse.samplers.diffpir import diffpir
from inverse.samplers.pnp_hqs import pnp_hqs
from inverse.samplers.red_diff import red_diff

__all__ = ["ddnm", "ddrm", "dds", "diffpir", "pnp_hqs", "red_diff"]
