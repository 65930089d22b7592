"""ISMRMRD raw data: `read` a scan, `survey` what a file holds, `write` k-space."""

from inverse.io.ismrmrd.header import Header, parse_header
from inverse.io.ismrmrd.reader import read, survey
from inverse.io.ismrmrd.records import find_group
from inverse.io.ismrmrd.writer import header_xml, write

__all__ = ["Header", "find_group", "header_xml", "parse_header", "read", "survey", "write"]
