"""Pieces that belong together: the sofa group, the table with its chairs, the bed with its nightstands, the desk."""

from __future__ import annotations

from navloop.envs.houses.arrangement import Arrangement, Spot, Wall
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
