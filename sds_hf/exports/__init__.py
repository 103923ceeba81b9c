"""Exports to other tools' formats, one file each. Every module here is imported, so a new file is a new format.

Other packages add theirs by an entry point in the group `sds_hf.exports`.
"""

from sds_hf.errors import import_kinds
from sds_hf.exports.base import FORMATS, RENAMED, Exported, export, export_format
from sds_hf.exports.samples import ExportError

__all__ = ["FORMATS", "RENAMED", "ExportError", "Exported", "export", "export_format"]

import_kinds(__name__, __path__, "sds_hf.exports")
