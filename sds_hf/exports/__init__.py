"""Exports to other tools' formats, one file each. Every module here is imported, so a new file is a new format."""

import pkgutil
from importlib import import_module

from sds_hf.exports.base import FORMATS, RENAMED, Exported, export
from sds_hf.exports.samples import ExportError

for _module in pkgutil.iter_modules(__path__):
    import_module(f"{__name__}.{_module.name}")

__all__ = ["FORMATS", "RENAMED", "ExportError", "Exported", "export"]
