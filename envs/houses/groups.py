"""Pieces that belong together: the sofa group, the table with its chairs, the bed with its nightstands, kitchen runs."""

from __future__ import annotations

from navloop.envs.houses.arrangement import Arrangement, Rect, Spot, Wall
from navloop.envs.houses.furnisher import Furnisher, Piece


def sofa_group(house: Furnisher, floor: Arrangement) -> None:
    """Set a television and a sofa that faces it, with a coffee table on a rug between and armchairs beside."""
    stand, sofa = house.piece("tv stand"), house.piece("sofa")
    tables = [house.piece("coffee table"), None]
    for table in tables:
        for index in house.shuffled(range(4)):
            if _sofa_before(house, floor, floor.walls[index], (stand, sofa, table)):
                return
    small = house.piece("sofa", (1.55, None), like=sofa)
    if house.against(floor, small, front=0.5, where="middle") and house.chance(0.8):
        house.against(floor, stand, front=0.5, where="middle")


def _sofa_before(house: Furnisher, floor: Arrangement, wall: Wall, pieces: tuple[Piece, Piece, Piece | None]) -> bool:
    stand, sofa, table = pieces
    far = wall.depth - sofa.depth / 2 - 0.05
    distances = [far] if far < 4.2 else [3.5, 3.1, far]
    for s in house.stops(wall, max(stand.width, sofa.width), "middle")[:9]:
        for t in distances:
            if t - sofa.depth / 2 < stand.depth + 1.3:
                continue
            group = [(stand, wall.back(s, stand.mesh)), (sofa, wall.spot(s, t, sofa.mesh, 2))]
            if table is not None:
                middle = t - sofa.depth / 2 - 0.42 - table.depth / 2
                group.append((table, wall.spot(s, middle, table.mesh, 2)))
            if house.stand(floor, group):
                _dress_sofa(house, floor, wall, (s, t), group)
                return True
    return False


def _dress_sofa(
    house: Furnisher, floor: Arrangement, wall: Wall, at: tuple[float, float], group: list[tuple[Piece, Spot]]
) -> None:
    (stand, _), (sofa, _) = group[:2]
    s, t = at
    wide = min(1.3, stand.width - 0.1)
    house.top(floor, group[0], "television", (0.0, 0.0), (wide, None))
    front = t - sofa.depth / 2
    if house.chance(0.85):
        near = max(stand.depth + 0.5, front - 1.5)
        carpet = house.piece("rug", (min(2.4, sofa.width + 0.2), front + 0.2 - near))
        house.lay(floor, carpet, wall.spot(s, (near + front + 0.2) / 2, carpet.mesh))
    if len(group) > 2 and house.chance(0.6):
        house.top(floor, group[2], "vase" if house.chance(0.5) else "fruit bowl", (0.05, 0.0), (None, None))
    chair = house.piece("armchair")
    reach = (sofa.width + chair.depth) / 2 + 0.25
    for side in (1, -1) if house.chance(0.5) else (-1, 1):
        spot = wall.spot(s + side * reach, front - 0.45, chair.mesh, 1 if side > 0 else 3)
        if house.chance(0.8):
            house.stand(floor, [(chair, spot)])
    for side in (1, -1):
        beside = s + side * (sofa.width / 2 + 0.3)
        if house.chance(0.5):
            table = house.piece("side table")
            place = [(table, wall.spot(beside, t + 0.1, table.mesh, 2))]
            if house.stand(floor, place):
                house.top(floor, place[0], "table lamp", (0.0, 0.0), (None, None))
        else:
            lamp = house.piece("floor lamp")
            house.stand(floor, [(lamp, wall.spot(beside, t + 0.1, lamp.mesh, 2))])


_TUCK = 0.16  # Metres that chairs stand under their table.


def dining_group(house: Furnisher, floor: Arrangement) -> None:
    """Set a table with chairs in the middle of a room, the largest that fits."""
    chair = house.piece("dining chair")
    frames = [0, 1] if floor.walls[0].length >= floor.walls[1].length else [1, 0]
    for width in (2.0, 1.8, 1.5, 1.0, 0.85) if house.chance(0.8) else (1.1, 1.0, 0.85):
        table = house.piece("dining table", (width, None))
        for index in frames:
            wall = floor.walls[index]
            for shift in (
                (0.5, 0.5),
                (0.4, 0.5),
                (0.6, 0.5),
                (0.5, 0.4),
                (0.5, 0.6),
                (0.3, 0.4),
                (0.7, 0.6),
                (0.3, 0.65),
            ):
                s, t = wall.length * shift[0], wall.depth * shift[1]
                if _seat(house, floor, wall, (s, t), (table, chair)):
                    return


def _seat(
    house: Furnisher, floor: Arrangement, wall: Wall, at: tuple[float, float], pieces: tuple[Piece, Piece]
) -> bool:
    (s, t), (table, chair) = at, pieces
    reach = (table.depth + chair.depth) / 2 - _TUCK
    count = 1 if table.width < 1.3 else 2 if table.width < 1.9 else 3
    shares = [(i + 0.5) / count - 0.5 for i in range(count)]
    seats = [
        (s + share * (table.width - 0.1), t + side * reach, 2 if side > 0 else 0)
        for share in shares
        for side in (-1, 1)
    ]
    ends = (table.width + chair.depth) / 2 - _TUCK
    heads = [(s - ends, t, 3), (s + ends, t, 1)]
    for chosen in (seats + heads, seats, heads) if table.width < 1.9 else (seats,):
        group = [(table, wall.spot(s, t, table.mesh))]
        group += [(chair, wall.spot(a, b, chair.mesh, turn)) for a, b, turn in chosen]
        if house.stand(floor, group, tuck=_TUCK):
            if house.chance(0.7):
                carpet = house.piece("rug", (table.width + 1.1, table.depth + 1.3))
                house.lay(floor, carpet, wall.spot(s, t, carpet.mesh))
            house.top(floor, group[0], "fruit bowl" if house.chance(0.5) else "vase", (0.0, 0.0), (None, None))
            lamp = house.piece("pendant light", (None, 0.65))
            house.put(lamp, floor, wall.spot(s, t, lamp.mesh), floor.room.ceiling)
            return True
    return False


def bed_group(house: Furnisher, floor: Arrangement) -> None:
    """Set a bed with its head to a wall, nightstands and a rug beside it."""
    bed, stand = house.piece("bed"), house.piece("nightstand")
    area = (floor.bounds.x1 - floor.bounds.x0) * (floor.bounds.z1 - floor.bounds.z0)
    if area > 9 and _bed_in_middle(house, floor, (bed, stand)):
        return
    single = house.piece("bed", (0.95, None), like=bed)
    for where in ("corner", "any"):
        if found := house.against(floor, single, front=0.4, where=where):
            _lay_rug(house, floor, floor.walls[found[0]], found[1])
            house.against(floor, stand, front=0.0, walls=[found[0]])
            return


def _bed_in_middle(house: Furnisher, floor: Arrangement, pieces: tuple[Piece, Piece]) -> bool:
    bed, stand = pieces
    aside = (bed.width + stand.width) / 2 + 0.05
    for sides in ((-1, 1), (-1,), (1,)):
        for index in house.shuffled(range(4)):
            wall = floor.walls[index]
            for s in house.stops(wall, bed.width, "middle"):
                group = [(bed, wall.back(s, bed.mesh))]
                group += [(stand, wall.back(s + side * aside, stand.mesh)) for side in sides]
                use = wall.rect(s - bed.width / 2, s + bed.width / 2, bed.depth + 0.05, bed.depth + 0.55)
                if house.stand(floor, group, [use]):
                    for host in group[1:]:
                        house.top(floor, host, "table lamp", (0.0, 0.0), (None, None))
                    if house.chance(0.6):
                        carpet = house.piece("rug", (bed.width + 1.1, 1.4))
                        house.lay(floor, carpet, wall.spot(s, bed.depth - 0.35, carpet.mesh))
                    return True
    return False


def _lay_rug(house: Furnisher, floor: Arrangement, wall: Wall, beside: Spot) -> None:
    low, high, _ = wall.along(beside.rect)
    carpet = house.piece("rug", (0.7, 1.2))
    s = high + 0.5 if high + 1 < wall.length else low - 0.5
    house.lay(floor, carpet, wall.spot(s, 1.2, carpet.mesh))


def desk_group(house: Furnisher, floor: Arrangement) -> None:
    """Set a desk against a wall with its chair, computer and lamp."""
    for width in (1.5, 1.2, 1.0):
        desk, chair = house.piece("desk", (width, None)), house.piece("office chair")
        for index in house.shuffled(range(4)):
            wall = floor.walls[index]
            for s in house.stops(wall, desk.width, "any"):
                place = (desk, wall.back(s, desk.mesh))
                seat = (chair, wall.spot(s, desk.depth + 0.05 + chair.depth / 2, chair.mesh, 2))
                if house.stand(floor, [place, seat]):
                    house.top(floor, place, "computer", (0.0, 0.05), (None, None))
                    other = "table lamp" if house.chance(0.7) else "small plant"
                    house.top(floor, place, other, (width / 2 - 0.2, 0.12), (None, None))
                    return


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
    row = [c for c in ("fridge", "sink", "counter", "stove") if c in chosen]
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


def free_corner(house: Furnisher, floor: Arrangement, category: str) -> None:
    """Stand a piece in a corner that is free."""
    house.against(floor, house.piece(category), front=0.0, where="corner")


def middle_of(rect: Rect) -> tuple[float, float]:
    """Return the middle (x, z)."""
    return (rect.x0 + rect.x1) / 2, (rect.z0 + rect.z1) / 2
