"""Connected components of a graph: a loop that ends when nothing changes any more."""

import umbel as ub

EDGES = [("a", "b"), ("b", "c"), ("d", "e"), ("f", "f"), ("g", "d"), ("c", "a")]


def components(session: ub.Session, edges: list[tuple[str, str]]) -> ub.Dataset:
    """(node, least node that it is connected with) for each node."""
    links = session.from_items(edges)
    both_ways = links.union(links.map(lambda e: (e[1], e[0]))).distinct()
    # Elements are (node, (least node known so far, whether that changed in this round)).
    nodes = both_ways.map(lambda e: e[0]).distinct().map(lambda n: (n, (n, True)))

    def spread(current: ub.Dataset) -> ub.Dataset:
        labels = current.map(lambda item: (item[0], item[1][0]))
        told = both_ways.join(labels).map(lambda item: (item[1][0], item[1][1]))
        least = told.union(labels).reduce_by_key(min)
        return least.join(labels).map(
            lambda item: (item[0], (item[1][0], item[1][0] != item[1][1]))
        )

    def changing(current: ub.Dataset) -> ub.Dataset:
        return current.map(lambda item: item[1][1]).reduce(lambda a, b: a or b)

    found = nodes.do_while(changing, spread, expected=4)
    return found.map(lambda item: (item[0], item[1][0]))


def main() -> None:
    groups = components(ub.connect(), EDGES).map(lambda item: (item[1], item[0])).group_by_key()
    for least, members in sorted(groups.collect()):
        print(f"{least}: {' '.join(sorted(members))}")


if __name__ == "__main__":
    main()
