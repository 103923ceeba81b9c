"""Readers of raw layouts, one file each. Every module here is imported, so a file with a new reader is enough.

Other packages add theirs by an entry point in the group `sds_hf.sources`.
"""

from sds_hf.data.sources.reader import READERS, Reader, make_reader
from sds_hf.errors import import_kinds

__all__ = ["READERS", "Reader", "make_reader"]

import_kinds(__name__, __path__, "sds_hf.sources")
