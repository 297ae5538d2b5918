"""The namespace `.struct`: access to the fields of structs."""

from __future__ import annotations

from typing import TYPE_CHECKING

from umbel.api.located import located_methods
from umbel.api.namespace import Namespace

if TYPE_CHECKING:
    from umbel.api.expressions import Expr


@located_methods
class StructMethods(Namespace):
    """Functions of structs."""

    def field(self, name: str) -> Expr:
        """A field, which gives its name to the result.

        >>> from umbel import col
        >>> col("s").struct.field("a")
        struct_field(s, 'a') as a
        """
        return self._call("struct_field", name).alias(name)

    def __getitem__(self, name: str) -> Expr:
        return self.field(name)
