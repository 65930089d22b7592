"""Files in and out: every format is detected by content and becomes the same few objects."""

from inverse.io.description import describe
from inverse.io.images import read_image
from inverse.io.loading import load
from inverse.io.saving import save

__all__ = ["describe", "load", "read_image", "save"]
