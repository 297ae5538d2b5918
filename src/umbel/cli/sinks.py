"""Which sink a file name asks for."""

from __future__ import annotations

from pathlib import Path

from umbel.plan.errors import UnknownNameError
from umbel.plan.sinks import CsvSink, FileSink, IpcSink, JsonLinesSink, ParquetSink, TextSink

_SINKS: dict[str, type[FileSink]] = {
    ".parquet": ParquetSink,
    ".csv": CsvSink,
    ".jsonl": JsonLinesSink,
    ".ndjson": JsonLinesSink,
    ".json": JsonLinesSink,
    ".arrow": IpcSink,
    ".ipc": IpcSink,
    ".feather": IpcSink,
    ".txt": TextSink,
}
_COMPRESSIONS = (".gz", ".zst", ".bz2")


def sink_for(path: Path) -> FileSink:
    """Give the sink for a file by its suffix.

    Raises:
        UnknownNameError: no format goes by that suffix.

    >>> sink_for(Path("out.parquet")).kind
    'parquet'
    >>> sink_for(Path("out.txt.gz")).kind
    'text'
    """
    suffixes = [s.lower() for s in path.suffixes]
    if len(suffixes) > 1 and suffixes[-1] in _COMPRESSIONS:
        suffixes.pop()
    suffix = suffixes[-1] if suffixes else ""
    if suffix not in _SINKS:
        raise UnknownNameError("output format", suffix or path.name, _SINKS, where=str(path))
    return _SINKS[suffix](str(path))
