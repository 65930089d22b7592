"""One TOML for each data set: what, from where, licence, citation, sha256, split.

Files are named by their path in the folder that the environment variable INVERSE_DATA names, or by
their path in this distribution when they are part of it.
"""

__suite__ = "inverse-suite"

__all__: list[str] = []
