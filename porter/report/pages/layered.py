"""Layered drawing: positions for the nodes of a graph that runs from top to bottom.

Ranks are assigned by longest path; long edges get a joint in every rank that they cross; within a
rank, nodes are ordered by their parents' mean position (two sweeps), and placed there as far as
widths allow. A tall drawing is folded into columns, like text.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

Point = tuple[float, float]

JOINT_WIDTH = 14.0
SWEEPS = 2


@dataclass(frozen=True)
class Sizes:
    """Sizes of boxes and of the gaps between them, and the number of ranks in one column."""

    width: float = 194.0
    height: float = 40.0
    across: float = 16.0
    down: float = 30.0
    ranks: int = 24
    margin: float = 16.0


@dataclass(frozen=True)
class Placed:
    """Top left corners of the nodes, the points of every edge, and the size of the drawing."""

    corners: tuple[Point, ...]
    routes: tuple[tuple[Point, ...], ...]
    width: float
    height: float


def place(count: int, edges: Sequence[tuple[int, int]], sizes: Sizes | None = None) -> Placed:
    """Place nodes 0 … count-1; every edge leads from a lower to a higher number."""
    sizes = sizes or Sizes()
    ranks = ranked(count, edges)
    # Joints are numbered behind the nodes.
    where = dict(enumerate(ranks))
    chains: list[list[int]] = []
    for source, target in edges:
        chain = [source]
        for rank in range(ranks[source] + 1, ranks[target]):
            joint = len(where)
            where[joint] = rank
            chain.append(joint)
        chains.append([*chain, target])
    rows: list[list[int]] = [[] for _ in range(max(where.values(), default=-1) + 1)]
    for item, rank in where.items():
        rows[rank].append(item)
    above: dict[int, list[int]] = {item: [] for item in where}
    below: dict[int, list[int]] = {item: [] for item in where}
    for chain in chains:
        for upper, lower in itertools.pairwise(chain):
            above[lower].append(upper)
            below[upper].append(lower)
    widths = {item: sizes.width if item < count else JOINT_WIDTH for item in where}
    centres = arranged(rows, above, below, widths, sizes)
    return folded(count, rows, chains, centres, widths, sizes)


def ranked(count: int, edges: Sequence[tuple[int, int]]) -> list[int]:
    """The length of the longest path from a node without parents to each node."""
    ranks = [0] * count
    for source, target in sorted(edges, key=lambda edge: edge[1]):
        ranks[target] = max(ranks[target], ranks[source] + 1)
    return ranks


def arranged(
    rows: list[list[int]],
    above: dict[int, list[int]],
    below: dict[int, list[int]],
    widths: dict[int, float],
    sizes: Sizes,
) -> dict[int, float]:
    """The horizontal centre of every item."""
    centres: dict[int, float] = {item: 0.0 for row in rows for item in row}
    for row in rows:
        spread(row, centres, widths, sizes)
    for _ in range(SWEEPS):
        for row in rows[1:]:
            settle(row, above, centres, widths, sizes)
        for row in rows[-2::-1]:
            settle(row, below, centres, widths, sizes)
    for row in rows[1:]:
        settle(row, above, centres, widths, sizes)
    return centres


def settle(
    row: list[int],
    neighbours: dict[int, list[int]],
    centres: dict[int, float],
    widths: dict[int, float],
    sizes: Sizes,
) -> None:
    """Order a row by the mean of its neighbours and put it as close to them as widths allow."""
    for item in row:
        near = [centres[other] for other in neighbours[item]]
        if near:
            centres[item] = sum(near) / len(near)
    row.sort(key=lambda item: centres[item])
    targets = [centres[item] for item in row]
    spread(row, centres, widths, sizes, targets[0])
    shift = sum(a - centres[item] for a, item in zip(targets, row, strict=True)) / len(row)
    for item in row:
        centres[item] += shift


def spread(
    row: list[int],
    centres: dict[int, float],
    widths: dict[int, float],
    sizes: Sizes,
    start: float = 0.0,
) -> None:
    """Push items to the right until none overlaps the one before."""
    right = start - 1e9
    for item in row:
        half = widths[item] / 2
        centres[item] = max(centres[item], right + sizes.across + half)
        right = centres[item] + half


def folded(
    count: int,
    rows: list[list[int]],
    chains: list[list[int]],
    centres: dict[int, float],
    widths: dict[int, float],
    sizes: Sizes,
) -> Placed:
    """Columns beside each other, and the routes of the edges through them."""
    step, left = sizes.height + sizes.down, sizes.margin
    middles: dict[int, Point] = {}
    lanes: dict[int, float] = {}
    for start in range(0, len(rows), sizes.ranks):
        column = rows[start : start + sizes.ranks]
        items = [item for row in column for item in row]
        least = min(centres[item] - widths[item] / 2 for item in items)
        most = max(centres[item] + widths[item] / 2 for item in items)
        for rank, row in enumerate(column):
            y = sizes.margin + rank * step + sizes.height / 2
            for item in row:
                middles[item] = (left + centres[item] - least, y)
                lanes[item] = left - 2 * sizes.across
        left += most - least + 4 * sizes.across
    routes = tuple(route(chain, middles, lanes, count, sizes) for chain in chains)
    corners = tuple(
        (middles[item][0] - sizes.width / 2, middles[item][1] - sizes.height / 2)
        for item in range(count)
    )
    tallest = min(len(rows), sizes.ranks)
    height = 2 * sizes.margin + tallest * step - sizes.down
    return Placed(corners, routes, left - 3 * sizes.across, height + sizes.down)


def route(
    chain: list[int],
    middles: dict[int, Point],
    lanes: dict[int, float],
    count: int,
    sizes: Sizes,
) -> tuple[Point, ...]:
    """The points of one edge: out of its node below, through its joints, into its node above.

    `lanes` has the way up that lies left of an item's column.
    """
    points: list[Point] = []
    half = sizes.height / 2
    for position, item in enumerate(chain):
        x, y = middles[item]
        last = position == len(chain) - 1
        if position and lanes[item] != lanes[chain[position - 1]]:
            # To the next column: below the last rank, up between the columns, down from above.
            before, lane = points[-1], lanes[item]
            foot, head = before[1] + sizes.down / 2, y - half - sizes.down / 3
            points += [(before[0], foot), (lane, foot), (lane, head), (x, head)]
        if item >= count:
            points += [(x, y - half), (x, y + half)]
        elif last:
            points.append((x, y - half))
        else:
            points.append((x, y + half))
    return tuple(points)
