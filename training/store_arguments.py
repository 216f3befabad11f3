"""What `navloop store` takes: an action, the stores, and which of their walks."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path

ABOUT = "look into stores of walks, check, merge and split them, and take walks out or in"

_WHERE = """conditions on walks: COLUMN, one of = != >= <= > <, and a value, such as success=true, 'metrics/ndtw>=0.5', source=tours;
of several all must hold. original_instruction!=null means the relabelled ones: null is where a column says nothing. `navloop store show` names the columns. Put them in quotes: > and < mean something to the shell."""


def add_actions(store: argparse.ArgumentParser) -> Iterator[argparse.ArgumentParser]:
    """Give `navloop store` its actions, and yield the parser of each."""
    actions = store.add_subparsers(dest="action", required=True, metavar="ACTION")
    show = _add(actions, "show", "how many walks, of whom, and how good")
    _add_stores(show, 1)
    _add_where(show)
    yield show
    check = _add(actions, "check", "read every number and picture; exit code 2, and a list, if walks are damaged")
    _add_stores(check, 1)
    yield check
    join = _add(
        actions, "join", "join walks that lie singly, as a killed collection leaves them, into files that LeRobot reads"
    )
    _add_stores(join, 1)
    yield join
    merge = _add(
        actions,
        "merge",
        "copy walks of one or more stores into one, or with --where a part of one; films are not coded anew",
    )
    _add_stores(merge, "+")
    _add_into(merge)
    _add_where(merge)
    _add_never(merge)
    yield merge
    split = _add(
        actions, "split", "copy the walks of a store into several, such as one to learn from and one to measure on"
    )
    _add_stores(split, 1)
    split.add_argument(
        "--into", type=Path, required=True, metavar="FOLDER", help="of the new stores; run again to go on after a kill"
    )
    split.add_argument(
        "--shares",
        nargs="+",
        required=True,
        metavar="NAME=SHARE",
        help="of the walks, by the name of the new store: train=0.9 val=0.1",
    )
    split.add_argument(
        "--by", choices=("scene", "tour"), default="scene", help="what is in one of them alone (default: scene)"
    )
    split.add_argument("--seed", type=int, default=0, help="of the draw (default: 0)")
    _add_where(split)
    yield split
    export = _add(
        actions,
        "export",
        "write a list of videos with captions (.jsonl), an R2R-VLNCE episode file (.json.gz), or recordings for Rerun (a folder)",
    )
    _add_stores(export, 1)
    export.add_argument(
        "--to",
        type=Path,
        required=True,
        metavar="PATH",
        help="x.jsonl for `navloop pretrain`; x.json.gz or x.json, with ground truth beside it, for `replay`, `train`, `eval`; x, a "
        "folder with a recording a walk, for `rerun x`",
    )
    _add_where(export)
    yield export
    walks = _add(
        actions, "walks", "write walks as training by imitation reads them (`walks` of its recipes), frames decoded"
    )
    _add_stores(walks, 1)
    walks.add_argument(
        "--into",
        type=Path,
        required=True,
        metavar="FOLDER",
        help="gets walks/ and train.json.gz, the episodes with their words; run again to go on after a kill",
    )
    _add_where(walks)
    yield walks
    taken = _add(actions, "import", "write walks of a StreamVLN or InternNav annotations.json into a store")
    taken.add_argument("annotations", type=Path, metavar="FILE", help="annotations.json, beside its folders of frames")
    _add_into(taken)
    taken.add_argument("--turn", type=float, default=15.0, metavar="DEGREES", help="of LEFT and RIGHT (default: 15)")
    taken.add_argument("--step", type=float, default=0.25, metavar="METRES", help="of FORWARD (default: 0.25)")
    _add_never(taken)
    yield taken


def _add(
    actions: argparse._SubParsersAction[argparse.ArgumentParser], name: str, about: str
) -> argparse.ArgumentParser:
    return actions.add_parser(name, help=about, description=about.capitalize() + ".")


def _add_stores(action: argparse.ArgumentParser, count: int | str) -> None:
    action.add_argument("stores", nargs=count, type=Path, metavar="STORE", help="folder of a store")


def _add_into(action: argparse.ArgumentParser) -> None:
    action.add_argument(
        "--into",
        type=Path,
        required=True,
        metavar="STORE",
        help="a new one, or one to add to; run again to go on after a kill",
    )


def _add_where(action: argparse.ArgumentParser) -> None:
    action.add_argument("--where", nargs="+", metavar="CONDITION", help=_WHERE)


def _add_never(action: argparse.ArgumentParser) -> None:
    action.add_argument(
        "--never",
        nargs="+",
        type=Path,
        default=(),
        metavar="FILE",
        help="episode files, such as val_unseen.json.gz: a walk in one of their scenes is refused",
    )
