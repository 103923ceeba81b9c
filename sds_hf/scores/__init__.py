"""One file a score. Every module of this folder is imported here, so a new file is a new score everywhere.

Other packages add theirs by an entry point in the group `sds_hf.scores` that names a module or a class.
"""

import pkgutil
import warnings
from importlib import import_module
from importlib.metadata import entry_points

for _module in pkgutil.iter_modules(__path__):
    import_module(f"{__name__}.{_module.name}")
for _entry in entry_points(group=__name__):
    try:
        _entry.load()
    except Exception as error:  # another package's fault must not take our scores away
        _place = f"{_entry.value!r}{f' of {_entry.dist.name}' if _entry.dist else ''}"
        warnings.warn(f"the score {_entry.name!r} cannot be loaded from {_place}: {error}", stacklevel=2)
