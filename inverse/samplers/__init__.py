"""Samplers: a prior's denoiser and the data's operator in turn, at falling noise levels."""

from inverse.samplers.daps import daps
from inverse.samplers.ddnm import ddnm
from inverse.samplers.ddrm import ddrm
from inverse.samplers.dds import dds
from inverse.samplers.diffpir import diffpir
from inverse.samplers.dps import dps
from inverse.samplers.mbir import mbir
from inverse.samplers.pigdm import pigdm
from inverse.samplers.pnp_dm import pnp_dm
from inverse.samplers.pnp_hqs import pnp_hqs
from inverse.samplers.red_diff import red_diff

__all__ = [
    "daps",
    "ddnm",
    "ddrm",
    "dds",
    "diffpir",
    "dps",
    "mbir",
    "pigdm",
    "pnp_dm",
    "pnp_hqs",
    "red_diff",
]
