"""Puts pseudonyms in the place of values: keyed, so that nobody without the key can try names out.

A pseudonym is an HMAC-SHA256 (RFC 2104) of the value's text, cut to 128 bits, under a key that is
derived from the site's for the purpose that was named: so the same value has the same pseudonym in
all tables and questions of one purpose, also of another site whose owner has the same key, and
pseudonyms of two purposes have nothing to do with each other.

The engines never see the key: the different values are read, their pseudonyms are made here, and
the rows are joined with both.
"""

from __future__ import annotations

import hmac
import secrets
from collections.abc import Callable, Sequence

import pyarrow as pa
import pyarrow.compute as pc

from umbel.api.memory import memory_source
from umbel.plan import operators as ops
from umbel.plan.expressions import Column

#: Bytes of a key, and of a pseudonym: two of 2^64 values would have the same by chance.
KEY_BYTES, _BYTES = 32, 16
#: The column of pseudonyms beside that of values, while both are there.
_VALUE, _NAME = "umbel value", "umbel pseudonym"


class Pseudonyms:
    """The pseudonyms of one site.

    >>> names = Pseudonyms(bytes(32))
    >>> first, second = names.of(pa.array([7, None]), "sepsis").to_pylist()
    >>> len(first), second
    (32, None)
    >>> names.of(pa.array([7]), "another")[0].as_py() == first
    False
    """

    def __init__(self, key: bytes | None = None) -> None:
        """Prepare; without a key one is drawn, and forgotten with this object."""
        self._key = secrets.token_bytes(KEY_BYTES) if key is None else key

    def of(self, values: pa.Array, purpose: str) -> pa.StringArray:
        """Give the pseudonyms of values; of a null there is none.

        Args:
            values: integers, words, dates and the like.
            purpose: what they are for, in the user's word.
        """
        key = hmac.digest(self._key, f"umbel pseudonym 1\n{purpose}".encode(), "sha256")
        texts = pc.cast(values, pa.string()).to_pylist()
        return pa.array(
            [
                None if text is None else hmac.digest(key, text.encode(), "sha256")[:_BYTES].hex()
                for text in texts
            ],
            pa.string(),
        )

    def put(
        self,
        rows: ops.Operator,
        columns: Sequence[str],
        wanted: frozenset[str],
        purpose: str,
        run: Callable[[ops.Operator], pa.Table],
    ) -> ops.Operator:
        """Give rows in which columns hold pseudonyms in place of their values.

        Args:
            rows: as they are.
            columns: that hold pseudonyms to whoever asks.
            wanted: the columns that are read at all; of others no pseudonyms are made.
            purpose: what they are for.
            run: gives the rows of a plan.
        """
        names = rows.schema.names
        for name in columns:
            if name not in wanted:
                continue
            only = ops.Project(input=rows, columns=((_VALUE, Column(name)),))
            values = run(ops.Distinct(input=only)).column(_VALUE).combine_chunks().drop_null()
            made = pa.table({_VALUE: values, _NAME: self.of(values, purpose)})
            beside = ops.Scan(source=memory_source(made))
            joined = ops.Join(left=rows, right=beside, how="left", on=((name, _VALUE),))
            rows = ops.Project(
                input=joined,
                columns=tuple((n, Column(_NAME if n == name else n)) for n in names),
            )
        kept = tuple(n for n in names if n in wanted)
        return ops.Project(input=rows, columns=tuple((n, Column(n)) for n in kept))


def has_pseudonyms(dtype: pa.DataType) -> bool:
    """Whether values of a type have one text each, so that equal ones get equal pseudonyms.

    >>> has_pseudonyms(pa.int32()), has_pseudonyms(pa.float64())
    (True, False)
    """
    kinds = (
        pa.types.is_integer,
        pa.types.is_string,
        pa.types.is_large_string,
        pa.types.is_date,
    )
    return any(kind(dtype) for kind in kinds)


__all__ = ["KEY_BYTES", "Pseudonyms", "has_pseudonyms"]
