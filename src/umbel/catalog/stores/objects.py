"""Object stores that speak the S3 protocol: AWS itself, MinIO, Ceph and the like.

pyarrow's file system does the work: it is in every install, reads ranges, uploads in parts, and
tries again with growing pauses when a store asks to slow down. Credentials come from the options
of an attached store, by reference, or from the places that AWS's own tools look at.
"""

from __future__ import annotations

import configparser
import difflib
import os
import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa

from umbel.catalog.address import Address
from umbel.catalog.stores.base import (
    PATTERN,
    Child,
    FileEntry,
    fixed_part,
    is_hidden,
    listing,
    partition_values,
    pattern_of,
)
from umbel.catalog.stores.local import exists_already
from umbel.plan.errors import PlanError, RunError, SourceError, UmbelError, UnknownNameError

#: What may be said of a store; secrets among them by reference.
OPTIONS = (
    "endpoint_url", "region", "access_key_id", "secret_access_key", "session_token", "anonymous",
    "profile", "retries",
)  # fmt: skip

#: Tries of one request, with pauses that double from about a second, before a run fails.
RETRIES = 5

#: Seconds without a byte after which a request counts as failed.
_CONNECT_TIMEOUT, _REQUEST_TIMEOUT = 5.0, 30.0

#: Bytes that are uploaded at once.
_PIECE = 2**24

_DENIED = ("ACCESS_DENIED", "INVALID_ACCESS_KEY_ID", "SIGNATURE_DOES_NOT_MATCH", "INVALID_CLIENT",
           "MISSING_AUTHENTICATION_TOKEN", "UNRECOGNIZED_CLIENT", "INVALID_SIGNATURE",
           "EXPIRED_TOKEN", "HTTP status 401", "HTTP status 403")  # fmt: skip
_THROTTLED = ("SLOW_DOWN", "THROTTLING", "SERVICE_UNAVAILABLE", "REQUEST_LIMIT_EXCEEDED",
              "HTTP status 429", "HTTP status 503")  # fmt: skip
_UNREACHABLE = ("NETWORK_CONNECTION", "curlCode", "Couldn't resolve", "Could not connect")
_ELSEWHERE = ("HTTP status 301", "PERMANENT_REDIRECT", "AuthorizationHeaderMalformed",
              "AUTHORIZATION_HEADER_MALFORMED", "HTTP status 400")  # fmt: skip


class ObjectStore:
    """Objects below one prefix, reached with one set of options."""

    def __init__(self, address: Address) -> None:
        unknown = [
            name for name in (*address.options, *address.secrets) if name not in OPTIONS
        ]  # fmt: skip
        if unknown:
            raise UnknownNameError("option", unknown[0], OPTIONS, where="an object store")
        self.address = address
        self._filesystems: dict[tuple[tuple[str, str], ...], Any] = {}

    # --- what readers and writers ask -----------------------------------------------------------

    def find(self, path: str) -> Iterator[FileEntry]:
        key = _key(path)
        try:
            info = self.filesystem().get_file_info(key.rstrip("/"))
            found = list(self._found(path, key, info))
        except (OSError, pa.ArrowException) as error:
            raise self._complaint(path, error) from None
        yield from sorted(found, key=lambda entry: entry.path.split("/"))

    def children(self, path: str) -> list[Child]:
        from pyarrow.fs import FileSelector, FileType

        key = _key(path).rstrip("/")
        try:
            found = self.filesystem().get_file_info(FileSelector(key, allow_not_found=True))
            if not found and self.filesystem().get_file_info(key).type == FileType.NotFound:
                raise self._missing(path, key)
        except (OSError, pa.ArrowException) as error:
            raise self._complaint(path, error) from None
        made = (Child(i.base_name, i.type == FileType.Directory) for i in found if i.base_name)
        return sorted(made, key=lambda child: child.name)

    def open(self, path: str) -> Any:
        try:
            return self.filesystem().open_input_file(_key(path))
        except (OSError, pa.ArrowException) as error:
            raise self._complaint(path, error) from None

    def explain(self, path: str, error: BaseException) -> SourceError | None:
        if isinstance(error, SourceError):
            return error
        text = str(error)
        if isinstance(error, FileNotFoundError) or "AWS Error" in text or _any(_UNREACHABLE, text):
            return self._complaint(path, error)
        return None

    def check_target(self, path: str, exists: str) -> None:
        from pyarrow.fs import FileType

        key = _key(path)
        if key.endswith("/") or "/" not in key:
            raise RunError(f"{path}: not the name of an object", hint=f"{path.rstrip('/')}/NAME")
        try:
            bucket = self.filesystem().get_file_info(key.split("/", 1)[0])
            if bucket.type == FileType.NotFound:
                raise self._no_bucket(path)
            if exists == "fail" and self._is_file(key):
                raise exists_already(path)
        except (OSError, pa.ArrowException) as error:
            raise _of_writing(self._complaint(path, error)) from None

    def put(self, staged: Path, path: str, exists: str, check: Callable[[], None]) -> None:
        key = _key(path)
        check()
        try:
            if exists == "fail" and self._is_file(key):
                raise exists_already(path)
            # An upload in parts becomes an object when it is completed, and is nothing before. Once
            # begun pyarrow completes it whatever is raised here; so nothing can be: the bytes are
            # whole, mapped into memory, and a cancelled run waits for them.
            with (
                pa.memory_map(str(staged)) as source,
                self.filesystem().open_output_stream(key, compression=None) as target,
            ):
                while block := source.read_buffer(_PIECE):
                    target.write(block)
            stored = self.filesystem().get_file_info(key)
            if stored.size != staged.stat().st_size:
                raise RunError(f"{path}: the store holds {stored.size} bytes of it after writing")
        except (OSError, pa.ArrowException) as error:
            raise _of_writing(self._complaint(path, error)) from None

    def engine_options(self) -> Mapping[str, str] | None:
        known = self._settings()
        names = {
            "access_key": "aws_access_key_id",
            "secret_key": "aws_secret_access_key",
            "session_token": "aws_session_token",
            "region": "aws_region",
            "endpoint_override": "aws_endpoint_url",
        }
        options = {names[name]: str(value) for name, value in known.items() if name in names}
        if options.get("aws_endpoint_url", "").startswith("http://"):
            options["aws_allow_http"] = "true"
        if known.get("anonymous"):
            options["aws_skip_signature"] = "true"
        options["max_retries"] = str(self._retries())
        return options

    # --- the file system ------------------------------------------------------------------------

    def filesystem(self) -> Any:
        """Give the `pyarrow.fs.FileSystem`; secrets are read anew, so that they may change."""
        from pyarrow import fs

        settings = self._settings()
        key = tuple(sorted((name, str(value)) for name, value in settings.items()))
        if key not in self._filesystems:
            self._filesystems.clear()
            self._filesystems[key] = fs.S3FileSystem(
                **settings,
                connect_timeout=_CONNECT_TIMEOUT,
                request_timeout=_REQUEST_TIMEOUT,
                retry_strategy=fs.AwsStandardS3RetryStrategy(max_attempts=self._retries()),
            )
        return self._filesystems[key]

    def _retries(self) -> int:
        text = self.address.options.get("retries", str(RETRIES))
        if not text.isdigit() or not 1 <= int(text) <= 20:
            raise PlanError(f"option retries is a number from 1 to 20, not {text!r}")
        return int(text)

    def _settings(self) -> dict[str, Any]:
        """Unite what was said of the store with what the environment says of all."""
        options, secrets = self.address.options, self.address.secrets
        settings: dict[str, Any] = {}
        standard = _standard(options.get("profile"))
        endpoint = options.get("endpoint_url") or standard.get("endpoint_url")
        region = options.get("region") or standard.get("region")
        if endpoint:
            if not re.match(r"https?://[^/]+/?$", endpoint):
                raise PlanError(
                    f"option endpoint_url: {endpoint!r} is no URL of a server",
                    hint="write it as https://host or http://host:port",
                )
            settings["endpoint_override"] = endpoint.rstrip("/")
        # Servers other than AWS take any region, but the signature must name one.
        if region or endpoint:
            settings["region"] = region or "us-east-1"
        if options.get("anonymous", "false").lower() in {"true", "1", "yes"}:
            return settings | {"anonymous": True}
        given = {
            "access_key": _value(options.get("access_key_id", "")),
            **{
                ours: secrets[name].reveal()
                for name, ours in (
                    ("secret_access_key", "secret_key"), ("session_token", "session_token"),
                )
                if name in secrets
            },
        }  # fmt: skip
        if bool(given.get("access_key")) != bool(given.get("secret_key")):
            raise PlanError(
                "an object store's access_key_id and secret_access_key go together",
                hint="give both, or neither to use AWS's standard places",
            )
        if not given.get("access_key"):
            given = {n: standard[n] for n in ("access_key", "secret_key", "session_token")
                     if n in standard}  # fmt: skip
        return settings | {name: value for name, value in given.items() if value}

    # --- finding --------------------------------------------------------------------------------

    def _found(self, path: str, key: str, info: Any) -> Iterator[FileEntry]:
        from pyarrow.fs import FileType

        if info.type == FileType.File and not key.endswith("/"):
            yield _entry(info, "")
        elif info.type == FileType.Directory:
            yield from self._inside(path, key.rstrip("/"))
        elif not PATTERN.isdisjoint(key):
            yield from self._matches(path, key)
        else:
            raise self._missing(path, key)

    def _inside(self, path: str, folder: str) -> Iterator[FileEntry]:
        found = False
        for info in self._files(folder):
            below = info.path[len(folder) + 1 :]
            if not is_hidden(below):
                found = True
                yield _entry(info, below)
        if not found:
            raise SourceError(
                f"{path}: there are no files in this folder",
                hint="names that begin with '.' or '_' are passed over",
            )

    def _matches(self, path: str, pattern: str) -> Iterator[FileEntry]:
        fixed = fixed_part(pattern)
        if not fixed:
            raise SourceError(f"{path}: the name of a bucket is no pattern", hint="name the bucket")
        matches, found = pattern_of(pattern[len(fixed) :]), False
        rest = pattern[len(fixed) :]
        deep = "/" in rest or "**" in rest
        for info in self._files(fixed.rstrip("/"), deep=deep):
            below = info.path[len(fixed) :]
            if matches.fullmatch(below):
                found = True
                yield _entry(info, below)
        if not found:
            folder = fixed.rstrip("/")
            names = self._names(folder)
            if not names:
                raise self._missing(path, folder, "the pattern matches no file")
            raise SourceError(
                f"{path}: the pattern matches no file", hint=listing(f"s3://{folder}", names)
            )

    def _files(self, folder: str, *, deep: bool = True) -> Iterator[Any]:
        from pyarrow.fs import FileSelector, FileType

        chosen = FileSelector(folder, allow_not_found=True, recursive=deep)
        for info in self.filesystem().get_file_info(chosen):
            if info.type == FileType.File and not info.path.endswith("/"):
                yield info

    def _is_file(self, key: str) -> bool:
        from pyarrow.fs import FileType

        return bool(self.filesystem().get_file_info(key).type == FileType.File)

    def _names(self, folder: str) -> list[str]:
        from pyarrow.fs import FileSelector

        found = self.filesystem().get_file_info(FileSelector(folder, allow_not_found=True))
        return sorted(info.base_name for info in found)

    # --- complaints -----------------------------------------------------------------------------

    def _missing(self, path: str, key: str, what: str = "no such object or folder") -> SourceError:
        bucket, _, below = key.rstrip("/").partition("/")
        if self.filesystem().get_file_info(bucket).type.name == "NotFound":
            return self._no_bucket(path)
        folder = key.rstrip("/").rpartition("/")[0] or bucket
        names = self._names(folder)
        close = difflib.get_close_matches(below.rpartition("/")[2], names, n=3, cutoff=0.5)
        if close:
            return SourceError(f"{path}: {what}", hint=f"did you mean {' or '.join(close)}?")
        return SourceError(f"{path}: {what}", hint=listing(f"s3://{folder}", names))

    def _no_bucket(self, path: str) -> SourceError:
        bucket = _key(path).split("/", 1)[0]
        return SourceError(
            f"{path}: there is no bucket {bucket!r} at {self._place()}",
            hint="check the bucket's name, and the store's endpoint_url",
        )

    def _complaint(self, path: str, error: BaseException) -> SourceError:
        """Translate an error of pyarrow's; its text is shortened and holds no secret."""
        if isinstance(error, SourceError):
            return error
        text = self.address.scrub(str(error).split("\n", 1)[0])
        place = self._place()
        if "NO_SUCH_BUCKET" in text:
            return self._no_bucket(path)
        if _any(_THROTTLED, text):
            return SourceError(
                f"{path}: the store at {place} asks to slow down, also after "
                f"{self._retries()} tries",
                hint="run it again later, or give it more tries: retries=…",
            )
        if _any(_DENIED, text):
            return SourceError(
                f"{path}: the store at {place} gives no permission{_code(text)}",
                hint="check the credentials: access_key_id and secret_access_key of the attached "
                "store, or AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or ~/.aws/credentials, "
                "and what the account may do",
            )
        if _any(_UNREACHABLE, text):
            return SourceError(
                f"{path}: the store at {place} cannot be reached",
                hint="check the network, and the endpoint_url of the attached store or "
                "AWS_ENDPOINT_URL",
            )
        if isinstance(error, FileNotFoundError) or _any(("NO_SUCH_KEY", "HTTP status 404"), text):
            return SourceError(
                f"{path}: no such object", hint="it may have been removed since it was listed"
            )
        if _any(_ELSEWHERE, text):
            return SourceError(
                f"{path}: the bucket is not in the region or at the endpoint asked{_code(text)}",
                hint=f"give the right region=… or endpoint_url=…; asked was {place}",
            )
        return SourceError(f"{path}: the store at {place} failed: {text}")

    def _place(self) -> str:
        options = self.address.options
        known = _standard(options.get("profile"))
        endpoint = options.get("endpoint_url") or known.get("endpoint_url")
        region = options.get("region") or known.get("region")
        return endpoint or (f"AWS, region {region}" if region else "AWS")


def _key(path: str) -> str:
    """Give bucket and key as pyarrow wants them.

    >>> _key("s3://lake/a/b.csv")
    'lake/a/b.csv'
    """
    return path.partition("://")[2]


def _entry(info: Any, below: str) -> FileEntry:
    return FileEntry(
        f"s3://{info.path}", info.size, partition_values(below), int(info.mtime_ns or 0)
    )


def _any(signs: tuple[str, ...], text: str) -> bool:
    return any(sign.lower() in text.lower() for sign in signs)


def _code(text: str) -> str:
    found = re.search(r"AWS Error (\w+)", text) or re.search(r"HTTP status (\d+)", text)
    return f" ({found.group(1)})" if found else ""


def _value(text: str) -> str:
    """Give an option that may, but need not, be a reference."""
    if text.startswith(("env:", "file:")):
        from umbel.catalog.address import Secret

        return Secret(reference=text).reveal()
    return text


def _of_writing(error: UmbelError) -> RunError:
    return RunError(error.message, hint=error.hint)


def _standard(profile: str | None) -> dict[str, str]:
    """Find what the places that AWS's tools look at say: the environment, then its two files.

    Roles of machines and web identities are left to the engines, which ask the network for them.
    """
    environ = os.environ
    found = {
        ours: environ[name]
        for name, ours in (
            ("AWS_DEFAULT_REGION", "region"),
            ("AWS_REGION", "region"),
            ("AWS_ENDPOINT_URL", "endpoint_url"),
            ("AWS_ENDPOINT_URL_S3", "endpoint_url"),
        )
        if environ.get(name)
    }
    named = profile or environ.get("AWS_PROFILE")
    if not profile and environ.get("AWS_ACCESS_KEY_ID") and environ.get("AWS_SECRET_ACCESS_KEY"):
        found["access_key"] = environ["AWS_ACCESS_KEY_ID"]
        found["secret_key"] = environ["AWS_SECRET_ACCESS_KEY"]
        if environ.get("AWS_SESSION_TOKEN"):
            found["session_token"] = environ["AWS_SESSION_TOKEN"]
        return found
    for name, value in _profile(named or "default", required=named is not None).items():
        found.setdefault(name, value)
    return found


def _profile(name: str, *, required: bool) -> dict[str, str]:
    """Read a profile of `~/.aws/config` and `~/.aws/credentials`."""
    config = Path(os.environ.get("AWS_CONFIG_FILE") or "~/.aws/config").expanduser()
    secrets = Path(
        os.environ.get("AWS_SHARED_CREDENTIALS_FILE") or "~/.aws/credentials"
    ).expanduser()
    found: dict[str, str] = {}
    seen: list[str] = []
    for file, section in ((config, "default" if name == "default" else f"profile {name}"),
                          (secrets, name)):  # fmt: skip
        parser = configparser.RawConfigParser(default_section="\0")
        try:
            parser.read(file, encoding="utf-8")
        except (configparser.Error, UnicodeDecodeError, OSError) as error:
            what = "is not in INI form" if isinstance(error, configparser.Error) else str(error)
            raise SourceError(f"{file}: cannot be read: {what}") from None
        seen += [s.removeprefix("profile ") for s in parser.sections()]
        if parser.has_section(section):
            found.update(parser.items(section))
    if required and name not in seen:
        raise UnknownNameError("AWS profile", name, sorted(set(seen)))
    names = {
        "aws_access_key_id": "access_key",
        "aws_secret_access_key": "secret_key",
        "aws_session_token": "session_token",
        "region": "region",
        "endpoint_url": "endpoint_url",
    }
    return {ours: found[theirs] for theirs, ours in names.items() if found.get(theirs)}


__all__ = ["OPTIONS", "RETRIES", "ObjectStore"]
