"""The ten most frequent words of a text, counted with plain Python functions."""

from pathlib import Path

import umbel as ub

HERE = Path(__file__).parent


def word_count(session: ub.Session) -> ub.Dataset:
    """Count words; nothing runs before the result is collected."""
    return (
        session.read_text(HERE / "python-topics.txt")
        .flat_map(str.split)
        .map(lambda word: (word.lower(), 1))
        .reduce_by_key(lambda a, b: a + b)
        .sort_by(lambda pair: (-pair[1], pair[0]))
        .limit(10)
    )


if __name__ == "__main__":
    for word, count in word_count(ub.connect()).collect():
        print(f"{count:6,}  {word}")
