"""The version of this package."""

from importlib.metadata import PackageNotFoundError, version

try:
    __version__ = version("sds-hf")
except PackageNotFoundError:  # a checkout that is not installed
    __version__ = "0"
