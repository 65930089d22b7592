"""Training of diffusion priors: images in, a diffusers folder out."""

from inverse.training.card import About
from inverse.training.image_sets import ImageSet, hold_out, read_images
from inverse.training.loop import train
from inverse.training.plan import TrainingPlan
from inverse.training.writing import write_prior

__all__ = ["About", "ImageSet", "TrainingPlan", "hold_out", "read_images", "train", "write_prior"]
