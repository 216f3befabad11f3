"""The `navloop` command: one subcommand a kind of recipe, and the page about a run."""

from __future__ import annotations

import argparse
import errno
import sys
import textwrap
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import navloop
from navloop.configs.fields import FieldEntry, list_fields
from navloop.configs.kinds import KINDS, STAGES, Recipe
from navloop.configs.loader import list_recipes, load
from navloop.configs.pipeline import PipelineConfig
from navloop.configs.pretraining import PretrainConfig
from navloop.configs.replay import ReplayConfig
from navloop.configs.schema import EvalConfig, HousesConfig

if TYPE_CHECKING:
    from rich.console import Console

_ABOUT = {
    "houses": "generate a data set of houses and of tours through them",
    "pretrain": "train an encoder, one stage of it; run again to resume",
    "pipeline": "run recipes one after the other, from houses to a coordinated encoder; run again to resume",
    "eval": "measure agents on every episode of a split; run again to resume",
    "replay": "film the recorded walks of an episode file for training; run again to resume",
    "report": "write a page about an evaluation: tables, plots, maps, videos",
    "submit": "write, or check, the file that a leaderboard of R2R-CE or RxR-CE takes",
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command and return its exit code: 0 done, 1 a fault of navloop's, 2 a fault in what was given, 130 interrupted."""
    options = _parse(arguments)
    try:
        _COMMANDS[options.command](options)
    except KeyboardInterrupt:
        print(f"\ninterrupted; what is finished is kept. {_resume_hint(options)}", file=sys.stderr)
        return 130
    except (ValueError, OSError, RuntimeError) as error:
        if options.debug:
            raise
        print(f"navloop {options.command}: {_tell(error)}", file=sys.stderr)
        return 2 if isinstance(error, ValueError | OSError) or getattr(error, "is_input", False) else 1
    return 0


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """Parse, with KEY=VALUE wherever it stands: argparse itself takes none after an option."""
    parser = _parser()
    options, left = parser.parse_known_args(arguments)
    if not hasattr(options, "overrides") or any(word.startswith("-") or "=" not in word for word in left):
        return parser.parse_args(arguments)
    options.overrides = [*options.overrides, *left]
    return options


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="navloop", description="Agents that follow directions: houses, benchmarks, and the loop between them."
    )
    parser.add_argument("--version", action="version", version=f"navloop {navloop.__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for name, schema in KINDS.items():
        command = commands.add_parser(
            name,
            help=_ABOUT[name],
            description=_ABOUT[name].capitalize() + ".",
            epilog=_describe_fields(schema),
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        shipped = ", ".join(list_recipes(name))
        command.add_argument("recipe", metavar="RECIPE", help=f"YAML file, run folder, or one that ships: {shipped}")
        command.add_argument(
            "overrides",
            nargs="*",
            default=(),  # without it argparse calls them required
            metavar="KEY=VALUE",
            help="fields to set, such as seed=3",
        )
        place = "runs/NAME" if name in ("eval", "pretrain", "pipeline") else "data/NAME"
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
        _add_debug(command)
    report = commands.add_parser("report", help=_ABOUT["report"], description=_ABOUT["report"].capitalize() + ".")
    report.add_argument("run", type=Path, metavar="RUN", help="folder of an evaluation")
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
    return parser


def _add_debug(command: argparse.ArgumentParser) -> None:
    command.add_argument("--debug", action="store_true", help="show where in the code an error arose")


def _describe_fields(schema: type[Recipe]) -> str:
    lines = ["fields of the recipe:", *_field_lines(list_fields(schema))]
    if schema is PretrainConfig:
        shared = {field.path for field in list_fields(schema)}
        for name, stage in STAGES.items():
            own = (field for field in list_fields(stage) if field.path not in shared)
            lines += [f"fields of stage {name} besides:", *_field_lines(own)]
    return "\n".join(lines)


def _field_lines(fields: Iterable[FieldEntry]) -> list[str]:
    lines = []
    for field in fields:
        default = "required" if field.default is None else f"default {field.default}" if field.default else ""
        lines.append(f"  {field.path}  ({', '.join(part for part in (field.kind, default) if part)})")
        lines += textwrap.wrap(field.description, 96, initial_indent="      ", subsequent_indent="      ")
    return lines


def _houses(options: argparse.Namespace) -> None:
    config = load(options.recipe, options.overrides, kind="houses")
    assert isinstance(config, HousesConfig)
    from rich.console import Console  # commands load what they need, so that each starts at once

    from navloop.training.houses import export_for_habitat, make_houses

    folder, console = options.run_dir or Path("data") / config.name, Console(stderr=True)
    make_houses(config, folder, console)
    if options.export == "habitat":
        export_for_habitat(folder, console)


def _eval(options: argparse.Namespace) -> None:
    config = load(options.recipe, options.overrides, kind="eval")
    assert isinstance(config, EvalConfig)
    from rich.console import Console

    from navloop.training.evaluation import evaluate
    from navloop.training.tables import print_results

    options.run_dir = options.run_dir or Path("runs") / config.name
    console = Console(stderr=True)
    if options.conformance or options.conformance_only:
        _check_conformance(config, options.run_dir, console)
    if options.conformance_only:
        return
    evaluation = evaluate(config, options.run_dir, console)
    print_results(evaluation, Console(width=None if sys.stdout.isatty() else 100))
    console.print(
        f"rows and summary: {options.run_dir}; a page about them: navloop report {options.run_dir}", soft_wrap=True
    )


def _replay(options: argparse.Namespace) -> None:
    config = load(options.recipe, options.overrides, kind="replay")
    assert isinstance(config, ReplayConfig)
    from rich.console import Console

    from navloop.training.replaying import replay_walks

    options.run_dir = options.run_dir or Path("data") / config.name
    replay_walks(config, options.run_dir, Console(stderr=True))


def _pretrain(options: argparse.Namespace) -> None:
    config = load(options.recipe, options.overrides, kind="pretrain")
    assert isinstance(config, PretrainConfig)
    from rich.console import Console

    from navloop.training.pretraining import dry_run, pretrain

    if options.dry_run:
        dry_run(config, Console(width=None if sys.stdout.isatty() else 100))
        return
    pretrain(config, options.run_dir or Path("runs") / config.name, Console(stderr=True))


def _pipeline(options: argparse.Namespace) -> None:
    config = load(options.recipe, options.overrides, kind="pipeline")
    assert isinstance(config, PipelineConfig)
    from rich.console import Console

    from navloop.training.pipeline import print_pipeline, run_pipeline

    done = run_pipeline(config, options.run_dir or Path("runs") / config.name, Console(stderr=True))
    print_pipeline(done, Console(width=None if sys.stdout.isatty() else 100))


def _check_conformance(config: EvalConfig, run_dir: Path, console: Console) -> None:
    from rich.console import Console

    from navloop.training.conformance import check_conformance, print_conformance, require_conformance

    conformance = check_conformance(config, run_dir, console)
    print_conformance(conformance, Console(width=None if sys.stdout.isatty() else 100))
    console.print(f"findings: {run_dir / 'conformance.json'}", soft_wrap=True, highlight=False)
    require_conformance(conformance)


def _report(options: argparse.Namespace) -> None:
    from rich.console import Console

    from navloop.training.report import write_report

    page = write_report(options.run, options.against, options.output, Console(stderr=True))
    print(page)


def _submit(options: argparse.Namespace) -> None:
    from navloop.training.submissions import check_submission, submit_runs

    if options.episodes:
        if len(options.sources) > 1:
            raise ValueError(f"--episodes checks one file, {len(options.sources)} are given; give them one by one")
        print(f"{options.sources[0]}: {check_submission(options.sources[0], options.episodes)}")
        return
    path, words = submit_runs(options.sources, options.agent, options.output)
    print(f"{path}: {words}")


_COMMANDS = {
    "houses": _houses,
    "eval": _eval,
    "replay": _replay,
    "pretrain": _pretrain,
    "pipeline": _pipeline,
    "report": _report,
    "submit": _submit,
}


def _tell(error: Exception) -> str:
    if isinstance(error, OSError) and error.errno is not None:
        mends = {
            errno.ENOSPC: "; free some space and run the same command again to resume",
            errno.EDQUOT: "; free some space and run the same command again to resume",
        }
        where = f"{error.filename}: " if error.filename else ""
        return f"{where}{error.strerror}{mends.get(error.errno, '')}"
    return str(error)


def _resume_hint(options: argparse.Namespace) -> str:
    return (
        f"The same command resumes: navloop {' '.join(sys.argv[1:])}"
        if options.command in ("eval", "pretrain", "replay")
        else "Run the same command again."
    )


if __name__ == "__main__":
    raise SystemExit(main())
