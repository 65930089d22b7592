"""Import deepinv beside a CPU build of torch: torchvision's place is taken by empty names.

deepinv imports torchvision when it is loaded, for pictures, data sets and rotations. The build of
torchvision that a package index serves wants CUDA's torch and breaks the CPU one ("operator
torchvision::nms does not exist"), so it is not installed. Nothing that is measured here uses it.
"""

from __future__ import annotations

import importlib
import sys
from importlib.machinery import ModuleSpec
from types import ModuleType

__all__ = ["import_deepinv"]

NAMES: dict[str, tuple[str, ...]] = {
    "torchvision": (),
    "torchvision.datasets": (),
    "torchvision.datasets.folder": ("IMG_EXTENSIONS",),
    "torchvision.datasets.utils": ("download_and_extract_archive",),
    "torchvision.transforms": (
        "CenterCrop",
        "Compose",
        "InterpolationMode",
        "RandomRotation",
        "Resize",
        "ToTensor",
    ),
    "torchvision.transforms.functional": ("crop", "rotate"),
    "torchvision.utils": ("make_grid", "save_image"),
}


class _NotInstalled:
    """Stands for everything of torchvision; whoever calls it is told."""

    NEAREST = BILINEAR = BICUBIC = None

    def __init__(self, *_arguments: object, **_options: object) -> None:
        raise ImportError("torchvision is not installed; nothing measured here needs it")


def import_deepinv() -> ModuleType:
    """Return the deepinv module.

    diffusers asks for torchvision when it is loaded, so it is loaded first, while there is none.
    """
    if "deepinv" not in sys.modules:
        importlib.import_module("diffusers.models.unets.unet_2d")
        _take_the_place_of_torchvision()
    return importlib.import_module("deepinv")


def _take_the_place_of_torchvision() -> None:
    for name, members in NAMES.items():
        module = sys.modules.setdefault(name, ModuleType(name))
        module.__spec__ = ModuleSpec(name, None)
        module.__path__ = []
        for member in members:
            setattr(module, member, _NotInstalled)
        parent, _, child = name.rpartition(".")
        if parent:
            setattr(sys.modules[parent], child, module)
