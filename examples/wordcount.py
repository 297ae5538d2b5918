"""WordCount: the most frequent words of Python's own manual, with plain Python functions."""

import tempfile
from pathlib import Path
from pydoc_data.topics import topics

import umbel as ub


def word_count(session: ub.Session, paths: str) -> ub.Dataset:
    return (
        session.read_text(paths)
        .flat_map(str.split)
        .map(lambda word: (word.lower(), 1))
        .reduce_by_key(lambda a, b: a + b)
    )


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        for name, text in topics.items():
            Path(folder, f"{name}.txt").write_text(text, encoding="utf-8")
        counts = word_count(ub.connect(), f"{folder}/*.txt")
        for word, count in counts.sort_by(lambda pair: (-pair[1], pair[0])).take(5):
            print(f"{count:6,}  {word}")
        print(f"{counts.count():,} different words")


if __name__ == "__main__":
    main()
