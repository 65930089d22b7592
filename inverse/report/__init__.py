"""The HTML report: one file, offline, that shows an image and how far it can be trusted."""

from inverse.report.document import render, write_report

__all__ = ["render", "write_report"]
