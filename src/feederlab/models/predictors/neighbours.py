"""Who may tell whom: neighbourhoods of the nodes that act."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import scipy.sparse as sp

from feederlab.errors import InputError, UnknownNameError
from feederlab.models.arrays import IntArray
from feederlab.models.feeder import Feeder

RULES = ("all", "zone", "line")


def links_text(neighbours: str | Mapping[int, Sequence[int]]) -> str:
    """Return `neighbours` as text: a rule, or links between buses written ``5-12/12-14``.

    Raises
    ------
    UnknownNameError, InputError
        For what is neither.
    """
    if not isinstance(neighbours, str):
        pairs = {(min(a, b), max(a, b)) for a, others in neighbours.items() for b in others if a != b}
        return "/".join(f"{a}-{b}" for a, b in sorted(pairs))
    if neighbours not in RULES:
        if "-" not in neighbours:
            raise UnknownNameError("neighbourhood", neighbours, RULES)
        _links(neighbours)
    return neighbours


def neighbourhoods(
    neighbours: str, nodes: IntArray, feeder: Feeder | None, zone: tuple[str, ...]
) -> dict[int, frozenset[int]]:
    """Return node -> nodes that it exchanges proposals and readings with, itself included, for each of `nodes`.

    neighbours : ``"all"``; ``"zone"``, those of its zone; ``"line"``, those to which branches lead without passing
    another one; or links between buses (`links_text`), which hold both ways.
    feeder : needed for ``"line"`` and links.

    Raises
    ------
    InputError
        For a link to a bus where nothing acts.
    """
    every = frozenset(int(n) for n in nodes)
    if neighbours == "all":
        return dict.fromkeys(every, every)
    if neighbours == "zone":
        return {a: frozenset(b for b in every if b == a or (zone[a] and zone[a] == zone[b])) for a in every}
    assert feeder is not None
    if neighbours == "line":
        return {a: _along_branches(feeder, a, every) for a in every}
    at = {int(bus): int(node) for bus, node in zip(feeder.bus_index, feeder.bus_node, strict=True)}
    found = {a: {a} for a in every}
    for pair in _links(neighbours):
        for bus in pair:
            if at.get(bus, -1) not in every:
                acting = sorted(int(feeder.node_bus[n]) for n in every)
                raise InputError(f"neighbours {neighbours!r}: nothing acts at bus {bus}; devices act at {acting}")
        a, b = at[pair[0]], at[pair[1]]
        found[a].add(b)
        found[b].add(a)
    return {a: frozenset(others) for a, others in found.items()}


def _along_branches(feeder: Feeder, start: int, every: frozenset[int]) -> frozenset[int]:
    f, t = feeder.branches.from_node, feeder.branches.to_node
    graph = sp.coo_array((np.ones(len(f)), (f, t)), shape=(feeder.n_nodes, feeder.n_nodes)).tocsr()
    graph = (graph + graph.T).tocsr()
    met, seen, ahead = {start}, {start}, [start]
    while ahead:
        node = ahead.pop()
        for other in graph.indices[graph.indptr[node] : graph.indptr[node + 1]].tolist():
            if other in seen:
                continue
            seen.add(other)
            if other in every:
                met.add(other)
            else:
                ahead.append(other)
    return frozenset(met)


def _links(text: str) -> list[tuple[int, int]]:
    links = []
    for part in text.split("/"):
        a, dash, b = part.strip().partition("-")
        if not dash or not a.isdecimal() or not b.isdecimal():
            raise InputError(f"neighbours {text!r}: {part!r} is no link; write pairs of buses such as 5-12/12-14")
        links.append((int(a), int(b)))
    return links


def watched_nodes(neighbours: str, agents: IntArray, slack: int, zone: tuple[str, ...]) -> IntArray:
    """Return the nodes whose voltages a neighbourhood of `agents` keeps in band: all that it sees but the slack.

    With ``"all"`` every node, with ``"zone"`` those of its zone, otherwise its agents' own.
    """
    if neighbours == "all":
        mine = np.ones(len(zone), dtype=bool)
    else:
        mine = np.isin(np.arange(len(zone)), agents)
        if neighbours == "zone" and zone[agents[0]]:
            mine |= np.array([name == zone[agents[0]] for name in zone], dtype=bool)
    mine[slack] = False
    return np.flatnonzero(mine)
