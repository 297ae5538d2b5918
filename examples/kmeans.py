"""k-means: a loop whose every round hands the current centres to all points as a broadcast."""

import random
from typing import Any

import umbel as ub

Point = tuple[float, float]


def nearest(point: Point, centres: list[tuple[int, Point]]) -> int:
    return min(centres, key=lambda c: (c[1][0] - point[0]) ** 2 + (c[1][1] - point[1]) ** 2)[0]


def add(left: tuple[float, float, int], right: tuple[float, float, int]) -> Any:
    return left[0] + right[0], left[1] + right[1], left[2] + right[2]


def mean(item: tuple[int, tuple[float, float, int]]) -> tuple[int, Point]:
    number, (x, y, count) = item
    return number, (x / count, y / count)


def kmeans(points: ub.Dataset, centres: ub.Dataset, rounds: int) -> ub.Dataset:
    """Move each centre to the mean of the points nearest to it, again and again.

    Args:
        points: (x, y) pairs.
        centres: (number, (x, y)) for each centre to begin with.
        rounds: how often to move them.
    """

    def improve(current: ub.Dataset) -> ub.Dataset:
        assigned = points.map(
            lambda p, centres: (nearest(p, centres), (p[0], p[1], 1)),
            broadcast={"centres": current},
        )
        return assigned.reduce_by_key(add).map(mean)

    return centres.repeat(rounds, improve)


def main() -> None:
    session = ub.connect()
    draw = random.Random(7)
    around = [(0.0, 0.0), (10.0, 0.0), (5.0, 8.0)]
    points = [(x + draw.gauss(0, 1), y + draw.gauss(0, 1)) for x, y in around for _ in range(400)]
    begin = [(number, points[number * 400]) for number in range(3)]
    found = kmeans(session.from_items(points), session.from_items(begin), rounds=5)
    for number, (x, y) in sorted(found.collect()):
        print(f"centre {number}: {x:5.2f} {y:5.2f}")


if __name__ == "__main__":
    main()
