"""Why a site did not do some work: the kind, and words that hold nothing of its data."""

from __future__ import annotations

import enum
import errno
import json
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from umbel.dataclass import dataclass
from umbel.federation.errors import (
    ApprovalError,
    DiskFullError,
    FederationError,
    LimitError,
    PolicyError,
    SiteError,
)
from umbel.federation.identity.names import readable
from umbel.federation.messages import read_message
from umbel.plan.errors import (
    CancelledError,
    EvaluationError,
    PlacementError,
    PlanError,
    SourceError,
    UmbelError,
)

#: The version of the format.
VERSION = 1
_LONGEST_MESSAGE = 2_000
#: How far down the causes of an error are looked at.
_MOST_CAUSES = 8


class FailureCode(enum.Enum):
    """What kind of failure it is, and so what can be done about it."""

    RETRYABLE = "retryable"
    PERMANENT = "permanent"
    POLICY_DENIED = "policy_denied"
    RESOURCE = "resource"
    CANCELLED = "cancelled"
    WAITING = "waiting"


@dataclass(frozen=True, slots=True)
class Failure:
    """Why a site did not do some work.

    Attributes:
        code: the kind.
        message: what is wrong; holds nothing of the site's data.
        hint: what to do about it.
    """

    code: FailureCode
    message: str
    hint: str = ""

    @classmethod
    def of(cls, error: BaseException) -> Failure:
        """Say of an error at a site what may be told outside.

        Only what umbel says of a plan goes out as it is. Messages of engines quote values, so of
        these only the kind is told; the site's own log has the rest.

        >>> Failure.of(ValueError("could not convert string to float: 'Ann Smith'")).message
        'the work failed (ValueError)'
        """
        decided = isinstance(error, PolicyError | CancelledError | LimitError)
        if not decided and (lacks := lacking(error)):
            return cls(FailureCode.RESOURCE, f"the site{lacks}")
        match error:
            case ApprovalError():
                return cls(FailureCode.WAITING, error.message, error.hint)
            case PolicyError():
                return cls(FailureCode.POLICY_DENIED, error.message, error.hint)
            case CancelledError():
                return cls(FailureCode.CANCELLED, "the work was cancelled")
            case LimitError():
                return cls(FailureCode.RESOURCE, error.message, error.hint)
            case PlanError() | PlacementError() | FederationError():
                return cls(FailureCode.PERMANENT, error.message, error.hint)
            case EvaluationError():
                return cls(
                    FailureCode.PERMANENT,
                    "an expression has no value for some row, which is not shown",
                    "a cast, a division or a sum: use try_cast, or a wider type",
                )
            case SourceError():
                return cls(
                    FailureCode.PERMANENT,
                    "a source of one of its tables cannot be read: it is damaged, was changed, or "
                    "is away",
                    "the site's log says which",
                )
            case ConnectionError() | TimeoutError() | InterruptedError():
                return cls(FailureCode.RETRYABLE, f"the work failed ({type(error).__name__})")
        return cls(
            FailureCode.PERMANENT,
            f"the work failed ({type(error).__name__})",
            "the site's log says more",
        )

    def error(self, site: str) -> UmbelError:
        """Give the error that the coordinator raises for it."""
        if self.code is FailureCode.CANCELLED:
            return CancelledError(f"site {site!r}: {self.message}")
        if self.code is FailureCode.WAITING:
            return ApprovalError(self.message, hint=self.hint)
        if self.code is FailureCode.POLICY_DENIED:
            return PolicyError(f"site {site!r} does not allow this: {self.message}", hint=self.hint)
        return SiteError(
            f"site {site!r}: {self.message}",
            hint=self.hint,
            site=site,
            retryable=self.code is FailureCode.RETRYABLE,
        )

    def to_json(self) -> str:
        """Write it."""
        return json.dumps(
            {
                "umbel_failure": VERSION,
                "code": self.code.value,
                "message": self.message[:_LONGEST_MESSAGE],
                "hint": self.hint[:_LONGEST_MESSAGE],
            }
        )

    @classmethod
    def from_json(cls, text: str | bytes) -> Failure:
        """Read one that `to_json` wrote.

        Raises:
            FederationError: it is none.
        """
        read = read_message(_FailureModel, "failure", text, 12 * _LONGEST_MESSAGE + 1_000)
        return cls(FailureCode(read.code), readable(read.message), readable(read.hint))


def lacking(error: BaseException) -> str:
    """Say whether work failed for want of memory or of space on a disk; empty if of neither.

    Engines wrap what went wrong, so causes are looked at too.

    >>> lacking(OSError(28, "No space left on device"))
    "'s disk is full"
    """
    seen: BaseException | None = error
    for _ in range(_MOST_CAUSES):
        match seen:
            case None:
                break
            case MemoryError():
                return " ran out of memory"
            case OSError(errno=errno.ENOSPC | errno.EDQUOT) | DiskFullError():
                return "'s disk is full"
        # The words of SQLite, and of the system as engines of other languages pass them on.
        if "database or disk is full" in str(seen) or "No space left on device" in str(seen):
            return "'s disk is full"
        seen = seen.__cause__ or seen.__context__
    return ""


class _FailureModel(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)
    umbel_failure: Literal[1]
    code: Literal["retryable", "permanent", "policy_denied", "resource", "cancelled", "waiting"]
    message: str = Field(max_length=_LONGEST_MESSAGE)
    hint: str = Field(max_length=_LONGEST_MESSAGE)


__all__ = ["Failure", "FailureCode", "lacking"]
