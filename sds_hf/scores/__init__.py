"""One file a score. Every module of this folder is imported here, so a new file is a new score everywhere."""

import pkgutil
from importlib import import_module

for _module in pkgutil.iter_modules(__path__):
    import_module(f"{__name__}.{_module.name}")
