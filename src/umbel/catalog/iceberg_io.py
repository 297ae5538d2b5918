"""How pyiceberg reaches files: through the stores that all files are reached through.

Imported only with pyiceberg, which finds the class by its name.
"""

from __future__ import annotations

from typing import Any

from pyiceberg.io import InputFile, OutputFile
from pyiceberg.io.pyarrow import PyArrowFile, PyArrowFileIO, PyArrowLocalFileSystem

from umbel.catalog.stores.registry import is_remote, plain_path, store_of


class StoreFileIO(PyArrowFileIO):
    """Files of this machine and of object stores, with the options of the attached stores."""

    def new_input(self, location: str) -> PyArrowFile:
        return _file(location)

    def new_output(self, location: str) -> PyArrowFile:
        return _file(location)

    def delete(self, location: str | InputFile | OutputFile) -> None:
        place = location if isinstance(location, str) else location.location
        file = _file(place)
        file._filesystem.delete_file(file._path)


def _file(location: str) -> PyArrowFile:
    path = plain_path(location)
    if not is_remote(path):
        local: Any = PyArrowLocalFileSystem()
        return PyArrowFile(fs=local, location=location, path=path)
    filesystem = store_of(path).filesystem()
    return PyArrowFile(fs=filesystem, location=location, path=path.partition("://")[2])
