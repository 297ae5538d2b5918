"""Which Python functions become expressions that any engine can run, and what happens otherwise."""

import umbel as ub

LINES = ["Ada ", " Bo", "cleo"]


def tidy(line: str) -> tuple[str, int]:
    """Each step has an equal expression, so this is lifted."""
    name = line.strip().lower()
    return name, len(name)


def letters(line: str) -> str:
    """A set and a sort have none, so Python runs this."""
    return "".join(sorted(set(line.strip())))


def main() -> None:
    lines = ub.connect().from_items(LINES)
    for function in (tidy, letters):
        mapped = lines.map(function)
        try:
            mapped.on("polars").explain()  # an engine can run only what was lifted
            print(f"{function.__name__} has an equal expression:")
        except ub.PlacementError:
            print(f"{function.__name__} needs Python:")
        print(" ", sorted(mapped.collect()))

    # Columns have 64 bits and Python's integers any number: where it matters, Python runs.
    large = ub.connect().from_items([2**62, 1]).map(lambda n: n * 4)
    print("beyond 64 bits:", sorted(large.collect()))


if __name__ == "__main__":
    main()
