"""Readers of raw layouts, one file each. Every module here is imported, so a file with a new reader is enough."""

import pkgutil
from importlib import import_module

from sds_hf.data.sources.reader import READERS, Reader, make_reader

for _module in pkgutil.iter_modules(__path__):
    import_module(f"{__name__}.{_module.name}")

__all__ = ["READERS", "Reader", "make_reader"]
