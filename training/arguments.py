"""What the `navloop` command takes: a subcommand a command, with the fields of its recipes as help."""

from __future__ import annotations

import argparse
import textwrap
from collections.abc import Iterable, Sequence
from pathlib import Path

import navloop
from navloop.configs.fields import FieldEntry, entry_of, list_fields
from navloop.configs.kinds import COMMANDS, KINDS, TASKS, VARIANTS, Recipe
from navloop.configs.loader import list_recipes
from navloop.configs.perception import PerceptionEvalConfig
from navloop.configs.perception_tasks import TaskConfig
from navloop.training.store_arguments import ABOUT as STORES
from navloop.training.store_arguments import add_actions

_ABOUT = {
    "houses": "generate a data set of houses and of tours through them",
    "pretrain": "train an encoder, one stage of it; run again to resume",
    "train": "train an agent to follow directions, or a speaker; run again to resume",
    "pipeline": "run recipes one after the other, such as from houses to encoders or agents; run again to resume",
    "loop": "close the loop: record, describe, filter, retrain, and prove what it brought; run again to resume",
    "eval": "measure agents on every episode of a split, or an encoder on videos; run again to resume",
    "replay": "film the recorded walks of an episode file for training; run again to resume",
    "collect": "record an agent's walks with an expert's word at every step; run again to resume",
    "report": "write a page about an evaluation or a loop: tables, plots, maps, videos",
    "submit": "write, or check, the file that a leaderboard of R2R-CE or RxR-CE takes",
}


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """Parse, with KEY=VALUE wherever it stands: argparse itself takes none after an option."""
    parser = _parser()
    options, left = parser.parse_known_args(arguments)
    if not hasattr(options, "overrides") or any(word.startswith("-") or "=" not in word for word in left):
        options = parser.parse_args(arguments)
    else:
        options.overrides = [*options.overrides, *left]
    if options.command == "eval":
        _check_comparison(options)
    return options


def _check_comparison(options: argparse.Namespace) -> None:
    """Refuse an evaluation without a recipe, and a comparison with one."""
    if options.compare is None and options.recipe is None:
        options.refuse("the following arguments are required: RECIPE")
    if options.compare is None and options.agent is not None:
        options.refuse("--agent goes with --compare; to choose whom to measure, write agents=NAME")
    if options.compare is None and options.to is not None:
        options.refuse("--to goes with --compare; an evaluation is written into its --run-dir")
    if options.compare is not None and options.recipe is not None:
        options.refuse(f"--compare sets finished runs side by side and takes no recipe ({options.recipe})")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="navloop", description="Agents that follow directions: houses, benchmarks, and the loop between them."
    )
    parser.add_argument("--version", action="version", version=f"navloop {navloop.__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for name, schema in KINDS.items():
        if name in COMMANDS:
            continue
        others = [kind for kind, user in COMMANDS.items() if user == name]
        command = commands.add_parser(
            name,
            help=_ABOUT[name],
            description=_ABOUT[name].capitalize() + ".",
            epilog="\n".join(_describe_fields(schema) + [line for kind in others for line in _describe_kind(kind)]),
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        shipped = ", ".join(recipe for kind in (name, *others) for recipe in list_recipes(kind))
        command.add_argument(
            "recipe",
            metavar="RECIPE",
            nargs="?" if name == "eval" else None,  # a comparison has none
            help=f"YAML file, run folder, or one that ships: {shipped}",
        )
        command.add_argument(
            "overrides",
            nargs="*",
            default=(),  # without it argparse calls them required
            metavar="KEY=VALUE",
            help="fields to set, such as name=mine",
        )
        place = "runs/NAME" if name in ("eval", "pretrain", "train", "pipeline", "loop") else "data/NAME"
        command.add_argument("--run-dir", type=Path, metavar="DIR", help=f"where it goes (default: {place})")
        if name == "houses":
            command.add_argument(
                "--export", choices=["habitat"], help="also write the data set for stock habitat-lab, into DIR/habitat"
            )
        if name == "pretrain":
            command.add_argument(
                "--dry-run",
                action="store_true",
                help="count parameters, estimate memory, print the schedule, and train nothing",
            )
        if name == "eval":
            command.add_argument(
                "--conformance",
                action="store_true",
                help="first walk the ground truth again, and stop (exit code 1) where scores would not be the benchmark's",
            )
            command.add_argument("--conformance-only", action="store_true", help="do that, and evaluate nobody")
            command.add_argument(
                "--compare",
                nargs="+",
                type=Path,
                metavar="RUN",
                help="instead: set the agents of two finished runs side by side, two agents of one, or the encoders of two",
            )
            command.add_argument(
                "--agent",
                nargs="+",
                metavar="NAME",
                help="whom to compare: an agent of both runs, or one of the first and one of the second (default: all of both); 'loop_*' is the "
                "mean of all of that name, such as the seeds of one recipe",
            )
            command.add_argument(
                "--to",
                type=Path,
                metavar="FILE",
                help="where to write the comparison of agents besides, as JSON: compared.json",
            )
            command.set_defaults(refuse=command.error)
        _add_debug(command)
    report = commands.add_parser("report", help=_ABOUT["report"], description=_ABOUT["report"].capitalize() + ".")
    report.add_argument("run", type=Path, metavar="RUN", help="folder of an evaluation or a loop")
    report.add_argument(
        "--against", type=Path, metavar="RUN", help="another evaluation of the same episodes to compare with"
    )
    report.add_argument("--output", type=Path, metavar="FILE", help="where the page goes (default: RUN/report.html)")
    _add_debug(report)
    submit = commands.add_parser("submit", help=_ABOUT["submit"], description=_ABOUT["submit"].capitalize() + ".")
    submit.add_argument(
        "sources",
        nargs="+",
        type=Path,
        metavar="RUN",
        help="folders of evaluations, or one file to check with --episodes",
    )
    submit.add_argument("--agent", metavar="NAME", help="whose walks (default: the only agent)")
    submit.add_argument("--output", type=Path, metavar="FILE", help="where it goes (default: RUN/submission_NAME.json)")
    submit.add_argument(
        "--episodes", nargs="+", type=Path, metavar="FILE", help="check a file against these episode files"
    )
    _add_debug(submit)
    store = commands.add_parser("store", help=STORES, description=STORES.capitalize() + ".")
    for action in add_actions(store):
        _add_debug(action)
    return parser


def _add_debug(command: argparse.ArgumentParser) -> None:
    command.add_argument("--debug", action="store_true", help="show where in the code an error arose")


def _describe_fields(schema: type[Recipe]) -> list[str]:
    lines = ["fields of the recipe:", *_field_lines(list_fields(schema))]
    shared = _field_lines(list_fields(schema))
    for kind, (variant, schemas) in VARIANTS.items():
        for name, special in schemas.items() if KINDS[kind] is schema else ():
            # One that it has in another way, with another default say, is told again.
            own = [f for f in list_fields(special) if f.path != variant and _field_lines([f])[0] not in shared]
            lines += [f"fields of {variant} {name} besides:", *_field_lines(own)]
    return lines


def _describe_kind(kind: str) -> list[str]:
    """Describe the recipes of a kind that has no command of its own."""
    lines = ["", f"or, in a recipe that says 'kind: {kind}',", *_describe_fields(KINDS[kind])]
    if KINDS[kind] is PerceptionEvalConfig:
        shared = {field.path for field in list_fields(TaskConfig)}
        lines += ["fields of every entry of tasks:", *_field_lines(list_fields(TaskConfig))]
        for name, task in TASKS.items():
            own = [field for field in list_fields(task) if field.path not in shared]
            lines += [f"fields of task {name} besides:", *_field_lines(own)] if own else [f"task {name} has no others"]
    return lines


def _field_lines(fields: Iterable[FieldEntry]) -> list[str]:
    lines = []
    for field in fields:
        default = "required" if field.default is None else f"default {field.default}" if field.default else ""
        lines.append(f"  {field.path}  ({', '.join(part for part in (field.kind, default) if part)})")
        lines += textwrap.wrap(field.description, 96, initial_indent="      ", subsequent_indent="      ")
        if (entry := entry_of(field.annotation)) is not None:
            lines += _field_lines(list_fields(entry, f"{field.path}.N."))
    return lines
