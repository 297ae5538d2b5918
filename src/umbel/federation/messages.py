"""Reads what travels between the parties: JSON of a closed form, within limits."""

from __future__ import annotations

from typing import TypeVar

from pydantic import BaseModel, ValidationError

from umbel.federation.errors import FederationError
from umbel.plan.codec import parse_json
from umbel.plan.errors import PlanFormatError
from umbel.plan.limits import Limits

Model = TypeVar("Model", bound=BaseModel)


def read_message(model: type[Model], what: str, text: str | bytes, most: int) -> Model:
    """Read a message strictly.

    Args:
        model: its form.
        what: what it is, for people.
        text: the message.
        most: characters that it may have.

    Raises:
        FederationError: it is not of the form; says where, and quotes nothing of it.
    """
    try:
        return model.model_validate(parse_json(text, Limits(text=most)))
    except PlanFormatError as error:
        raise FederationError(f"not the message of {what}: {error.message}") from None
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False)[0]
        where = ".".join(map(str, first["loc"])) or "the message"
        raise FederationError(
            f"not the message of {what}: {where}: {first['msg']}",
            hint="the other side may have another version of umbel",
        ) from None


__all__ = ["read_message"]
