"""What is fitted along walls: kitchens, laundries, bathrooms."""

from __future__ import annotations

from navloop.envs.houses.arrangement import Arrangement, Wall
from navloop.envs.houses.furnisher import Furnisher, Piece


def kitchen_run(house: Furnisher, floor: Arrangement) -> None:
    """Fill the best wall with fridge, sink, stove and counters, cabinets above; go on along a second wall."""
    room = {index: _longest_gap(floor, index)[1] for index in range(4)}
    shade = {i: sum(face.high - face.low for face in floor.faces[i] if face.kind == "window") for i in range(4)}
    best = sorted(range(4), key=lambda i: 0.5 * shade[i] - room[i] + house.rng.uniform(0, 0.4))
    wanted = ["fridge", "sink", "stove", "counter"]
    used: list[int] = []
    for index in best:
        if len(used) < 2 and (wanted or (_longest_gap(floor, index)[1] > 1.3 and house.chance(0.6))):
            asked = wanted or ["counter"]
            missing = _fill(house, floor, index, asked)
            used += [index] if len(missing) < len(asked) else []
            wanted = missing if wanted else []
    for category in [w for w in wanted if w != "counter"]:
        house.against(floor, house.piece(category), front=0.5)
    if used:
        _island(house, floor, floor.walls[used[0]])


def _longest_gap(floor: Arrangement, index: int) -> tuple[float, float]:
    """Return start and length of the longest stretch of a wall where counters can stand."""
    wall = floor.walls[index]
    taken = [wall.along(rect)[:2] for rect in (*floor.doors, *floor.solids, *floor.uses) if wall.along(rect)[2] < 0.6]
    edges, start = [], 0.02
    for low, high in sorted(taken):
        edges.append((start, low - start))
        start = max(start, high)
    edges.append((start, wall.length - 0.02 - start))
    return max(edges, key=lambda edge: edge[1])


_RUN = {"fridge": 0.75, "sink": 0.8, "stove": 0.63, "counter": 0.45}  # Metres that each needs at least.


def _fill(house: Furnisher, floor: Arrangement, index: int, wanted: list[str]) -> list[str]:
    """Stand a run along a wall; return what found no place."""
    start, length = _longest_gap(floor, index)
    chosen: list[str] = []
    left = length - 0.03
    for category in wanted:
        if _RUN[category] <= left:
            chosen.append(category)
            left -= _RUN[category] + 0.015
    row: list[str] = [c for c in ("fridge", "sink", "counter", "stove") if c in chosen]
    widths = {"sink": 0.8, "counter": 0.45}
    if "counter" in row:
        stretch = min(left, 2.4)
        extra = int(stretch / 0.65)
        widths["counter"] += max(0.0, min(0.4, (stretch - extra * 0.62) / (extra + 1)))
        # One beyond the stove, the others between stove and sink.
        row += ["counter"] * min(extra, 1)
        row[row.index("counter") : row.index("counter")] = ["counter"] * (extra - 1)
        left -= extra * (widths["counter"] + 0.015) + widths["counter"] - 0.45
    lean = start < 0.3 or (start + length < floor.walls[index].length - 0.3 and house.chance(0.5))
    first = start if lean else start + max(0.0, left)
    missing = _stand_row(house, floor, index, (row if house.chance(0.5) else row[::-1], widths, first))
    return [c for c in wanted if c not in chosen or c in missing]


def _stand_row(
    house: Furnisher, floor: Arrangement, index: int, plan: tuple[list[str], dict[str, float], float]
) -> list[str]:
    """Stand pieces side by side from a point of a wall on; return what found no place."""
    row, widths, s = plan
    wall = floor.walls[index]
    missing = []
    counter: Piece | None = None
    for category in row:
        piece = house.piece(category, (widths.get(category), None), counter if category == "counter" else None)
        counter = piece if category == "counter" else counter
        reach = piece.depth + 0.05
        use = wall.rect(s, s + piece.width, reach, min(reach + 0.6, wall.depth))
        if house.stand(floor, [(piece, wall.back(s + piece.width / 2, piece.mesh))], [use]):
            _hang_over(house, floor, index, (piece, s + piece.width / 2))
            s += piece.width + 0.015
        else:
            missing.append(category)
    return missing


def _hang_over(house: Furnisher, floor: Arrangement, index: int, below: tuple[Piece, float]) -> None:
    piece, s = below
    if piece.category == "stove":
        hood = house.piece("range hood", (None, floor.room.ceiling - 1.56 - 0.06))
        house.hang(floor, index, s, hood, 1.56, gap=0.0)
    elif piece.category in ("sink", "counter"):
        upper = house.piece("kitchen cabinet", (piece.width, None))
        house.hang(floor, index, s, upper, 1.45, gap=0.0)


def _island(house: Furnisher, floor: Arrangement, wall: Wall) -> None:
    stool = house.piece("bar stool")
    for width in (1.8, 1.5, 1.2):
        island = house.piece("kitchen island", (width, None))
        for t in (2.1, 1.95):
            for share in (0.5, 0.42, 0.58):
                s = wall.length * share
                group = [(island, wall.spot(s, t, island.mesh, 2))]
                behind = t + (island.depth + stool.depth) / 2 + 0.04
                stools = [(stool, wall.spot(s + a * width / 4, behind, stool.mesh, 2)) for a in (-1, 1)]
                if t + island.depth / 2 + 1.1 < wall.depth and house.stand(floor, group + stools):
                    lamp = house.piece("pendant light", (None, 0.65))
                    for a in (-1, 1):
                        house.put(lamp, floor, wall.spot(s + a * width / 4, t, lamp.mesh), floor.room.ceiling)
                    return


def laundry_run(house: Furnisher, floor: Arrangement) -> None:
    """Set a washing machine and a dryer side by side, or either where there is place."""
    washer = house.piece("washing machine")
    dryer = house.piece("dryer", like=washer)
    for index in house.shuffled(range(4)):
        wall = floor.walls[index]
        for s in house.stops(wall, 1.24, "corner") + house.stops(wall, 1.24, "any"):
            pair = [(washer, wall.back(s - 0.31, washer.mesh)), (dryer, wall.back(s + 0.31, dryer.mesh))]
            use = wall.rect(s - 0.6, s + 0.6, 0.65, 1.15)
            if house.stand(floor, pair, [use]):
                return
    house.against(floor, washer, front=0.4)


def bath_group(house: Furnisher, floor: Arrangement) -> None:
    """Set toilet, washbasin with mirror, and a bathtub or shower against the walls."""
    _wash(house, floor)
    long = max(floor.walls[0].length, floor.walls[1].length)
    tries = [("bathtub", "corner"), ("shower", "corner"), ("bathtub", "any"), ("shower", "any")]
    for category, where in tries[1:] if long < 2.3 or house.chance(0.3) else tries:
        if house.against(floor, house.piece(category), 0.35, where):
            break
    house.against(floor, house.piece("toilet"), front=0.4)


def _wash(house: Furnisher, floor: Arrangement) -> None:
    size = min(floor.walls[0].length, floor.walls[1].length)
    choices = [house.piece("vanity", (0.9, None)) if size > 1.9 and house.chance(0.5) else house.piece("vanity")]
    for basin in (*choices, house.piece("pedestal sink")):
        blank = sorted(range(4), key=lambda i: sum(face.kind == "window" for face in floor.faces[i]))
        if found := house.against(floor, basin, 0.5, "middle", blank):
            wall = floor.walls[found[0]]
            low, high, _ = wall.along(found[1].rect)
            glass = house.piece("mirror", (min(0.8, basin.width - 0.05), 0.8))
            house.hang(floor, found[0], (low + high) / 2, glass, 1.15)
            mat = house.piece("bath mat")
            house.lay(floor, mat, wall.spot((low + high) / 2, basin.depth + 0.4, mat.mesh))
            return
