"""What a paper that uses an image should cite."""

from __future__ import annotations

from inverse.reconstruction import Reconstruction

__all__ = ["citations"]

_SUITE = (
    "inverse-suite: from a measurement file to an image you can trust. Version {version}. "
    "Apache-2.0."
)
_REFERENCES = {
    "cg_sense": (
        "Pruessmann KP, Weiger M, Börnert P, Boesiger P. Advances in sensitivity encoding with "
        "arbitrary k-space trajectories. Magn Reson Med 2001;46:638-651. doi:10.1002/mrm.1241",
    ),
    "l1_wavelet": (
        "Lustig M, Donoho D, Pauly JM. Sparse MRI: the application of compressed sensing for "
        "rapid MR imaging. Magn Reson Med 2007;58:1182-1195. doi:10.1002/mrm.21391",
        "Beck A, Teboulle M. A fast iterative shrinkage-thresholding algorithm for linear inverse "
        "problems. SIAM J Imaging Sci 2009;2:183-202. doi:10.1137/080716542",
    ),
    "tv": (
        "Block KT, Uecker M, Frahm J. Undersampled radial MRI with multiple coils: iterative image "
        "reconstruction using a total variation constraint. Magn Reson Med 2007;57:1086-1098. "
        "doi:10.1002/mrm.21236",
    ),
    "pnp_hqs": (
        "Zhang K, Li Y, Zuo W, Zhang L, Van Gool L, Timofte R. Plug-and-play image restoration "
        "with deep denoiser prior. IEEE Trans Pattern Anal Mach Intell 2022;44:6360-6376. "
        "doi:10.1109/TPAMI.2021.3088914",
    ),
    "dds": (
        "Chung H, Lee S, Ye JC. Decomposed diffusion sampler for accelerating large-scale inverse "
        "problems. ICLR 2024. arXiv:2303.05754",
    ),
    "diffpir": (
        "Zhu Y, Zhang K, Liang J, et al. Denoising diffusion models for plug-and-play image "
        "restoration. CVPR Workshops 2023. arXiv:2305.08995",
    ),
    "ddnm": (
        "Wang Y, Yu J, Zhang J. Zero-shot image restoration using denoising diffusion null-space "
        "model. ICLR 2023. arXiv:2212.00490",
    ),
    "ddrm": (
        "Kawar B, Elad M, Ermon S, Song J. Denoising diffusion restoration models. NeurIPS 2022. "
        "arXiv:2201.11793",
    ),
    "red_diff": (
        "Mardani M, Song J, Kautz J, Vahdat A. A variational perspective on solving inverse "
        "problems with diffusion models. ICLR 2024. arXiv:2305.04391",
    ),
    "dps": (
        "Chung H, Kim J, McCann MT, Klasky ML, Ye JC. Diffusion posterior sampling for general "
        "noisy inverse problems. ICLR 2023. arXiv:2209.14687",
    ),
    "pigdm": (
        "Song J, Vahdat A, Mardani M, Kautz J. Pseudoinverse-guided diffusion models for inverse "
        "problems. ICLR 2023",
    ),
    "daps": (
        "Zhang B, Chu W, Berner J, Meng C, Anandkumar A, Song Y. Improving diffusion inverse "
        "problem solving with decoupled noise annealing. CVPR 2025. arXiv:2407.01521",
    ),
    "pnp_dm": (
        "Wu Z, Sun Y, Chen Y, Zhang B, Yue Y, Bouman KL. Principled probabilistic imaging using "
        "diffusion models as plug-and-play priors. NeurIPS 2024. arXiv:2405.18782",
    ),
    "mbir": (
        "Chung H, Ryu D, McCann MT, Klasky ML, Ye JC. Solving 3D inverse problems using "
        "pre-trained 2D diffusion models. CVPR 2023. arXiv:2211.10655",
    ),
}
_CONFORMAL = (
    "Lei J, G'Sell M, Rinaldo A, Tibshirani RJ, Wasserman L. Distribution-free predictive "
    "inference for regression. J Am Stat Assoc 2018;113:1094-1111. "
    "doi:10.1080/01621459.2017.1307116"
)
_ESPIRIT = (
    "Uecker M, Lai P, Murphy MJ, et al. ESPIRiT: an eigenvalue approach to autocalibrating "
    "parallel MRI. Magn Reson Med 2014;71:990-1001. doi:10.1002/mrm.24751"
)


def citations(reconstruction: Reconstruction, version: str) -> tuple[str, ...]:
    """Return what a paper that uses this image should cite.

    Parameters
    ----------
    reconstruction : Reconstruction
    version : str
        Of the suite.

    Returns
    -------
    tuple of str
        The suite, the method, the calibration when coil maps were estimated, and that of the
        intervals.
    """
    posterior = reconstruction.posterior
    is_calibrated = posterior is not None and posterior.calibrated is not None
    return (
        _SUITE.format(version=version),
        *_REFERENCES.get(reconstruction.method, ()),
        *((_ESPIRIT,) if "csm" in reconstruction.details else ()),
        *((_CONFORMAL,) if is_calibrated else ()),
    )
