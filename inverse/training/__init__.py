"""Training of diffusion priors: images in, a diffusers folder out."""

from inverse.training.image_sets import ImageSet, read_images
from inverse.training.loop import train
from inverse.training.plan import TrainingPlan

__all__ = ["ImageSet", "TrainingPlan", "read_images", "train"]
