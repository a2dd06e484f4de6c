"""Layouts for layers that rename, merge or split axes, chosen so that no byte moves.

A reshape in Torch's order is the same reshape in the stored order wherever the axes that it merges
or splits are adjacent and in order: N×C×H×W stored as N, H, W, C becomes N×C×(H·W) stored as
N, (H·W), C.
"""

from __future__ import annotations

from collections.abc import Sequence

from porter.ir.graph import TensorType
from porter.ir.layout import Layout, channels_last, torch_order

Size = int | None
Group = tuple[list[int], list[int]]
"""Input axes, and the output axes that they become."""


def complete(core: Sequence[int], rank: int) -> Layout:
    """`core` in its order, with missing axes (new, or of size 1) inserted where they fit best."""
    candidates = [torch_order(rank)]
    if rank > 2:
        candidates += [channels_last(rank, rank - 2), channels_last(rank, rank - 1)]
    for layout in candidates:
        if [axis for axis in layout.order if axis in core] == list(core):
            return layout
    return Layout((*(axis for axis in range(rank) if axis not in core), *core))


def regrouped(
    layout: Layout, image: TensorType, output: TensorType, first: tuple[int, int] = (0, 0)
) -> Layout | None:
    """The layout of a reshape's output if it runs on the stored axes; None if it cannot.

    `first` says that so many leading axes of the input become so many leading axes of the output,
    whatever their sizes.
    """
    if layout.is_torch:
        return torch_order(output.rank)
    if layout.flat is not None:
        return unflattened(layout, layout.flat, image, output)
    old = [axis for axis in range(image.rank) if image.shape[axis] != 1]
    new = [axis for axis in range(output.rank) if output.shape[axis] != 1]
    lead: Group = ([a for a in old if a < first[0]], [a for a in new if a < first[1]])
    groups = [lead] if any(lead) else []
    groups += common_groups(old[len(lead[0]) :], new[len(lead[1]) :], image, output)
    stored = [axis for axis in layout.order if image.shape[axis] != 1]
    core: list[int] = []
    while stored:
        group = next((group for group in groups if group[0][:1] == stored[:1]), None)
        if group is None or stored[: len(group[0])] != group[0]:
            return None
        core += group[1]
        stored = stored[len(group[0]) :]
    fits = sorted(core) == sorted(axis for _, axes in groups for axis in axes)
    return complete(core, output.rank) if fits else None


def unflattened(
    layout: Layout, flat: tuple[int, ...], features: TensorType, output: TensorType
) -> Layout | None:
    """Features flattened channels-last, left as they are or reshaped to their image again."""
    if output.rank <= 2 and output.shape[-1] == features.shape[-1]:
        return Layout(torch_order(output.rank).order, flat)
    batch = output.shape[: output.rank - len(flat)]
    if output.shape[len(batch) :] == flat and len(batch) <= 1:
        return channels_last(output.rank, len(flat) - 1)
    return None


def common_groups(
    old: list[int], new: list[int], image: TensorType, output: TensorType
) -> list[Group]:
    """The finest groups with equal products, from both ends; free sizes stay in the middle."""
    counts = prefix_groups([image.shape[a] for a in old], [output.shape[a] for a in new])
    left, right = sum(i for i, _ in counts), sum(j for _, j in counts)
    old_rest, new_rest = old[left:], new[right:]
    last = prefix_groups(
        [image.shape[a] for a in reversed(old_rest)], [output.shape[a] for a in reversed(new_rest)]
    )
    middle = (
        len(old_rest) - sum(i for i, _ in last),
        len(new_rest) - sum(j for _, j in last),
    )
    if any(middle):
        counts.append(middle)
    counts += reversed(last)
    groups: list[Group] = []
    i = j = 0
    for merged, split in counts:
        groups.append((old[i : i + merged], new[j : j + split]))
        i, j = i + merged, j + split
    return groups


def prefix_groups(old: list[Size], new: list[Size]) -> list[tuple[int, int]]:
    """The number of axes on each side in each group, from the left up to the first free size."""
    groups: list[tuple[int, int]] = []
    i = j = 0
    while i < len(old) and j < len(new):
        end_i, end_j = i + 1, j + 1
        p, q = old[i], new[j]
        while p is not None and q is not None and p != q:
            if p < q:
                factor = old[end_i] if end_i < len(old) else None
                p, end_i = (None if factor is None else p * factor), end_i + 1
            else:
                factor = new[end_j] if end_j < len(new) else None
                q, end_j = (None if factor is None else q * factor), end_j + 1
        if p is None or q is None:
            break
        groups.append((end_i - i, end_j - j))
        i, j = end_i, end_j
    return groups
