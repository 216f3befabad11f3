"""The `navloop` command: one subcommand a kind of recipe, and the page about a run."""

from __future__ import annotations

import argparse
import errno
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from navloop.configs.collect import CollectConfig
from navloop.configs.imitation import ImitationConfig
from navloop.configs.loader import load
from navloop.configs.loop import LoopConfig
from navloop.configs.perception import PerceptionEvalConfig
from navloop.configs.pipeline import PipelineConfig
from navloop.configs.planning import PlannerTrainConfig
from navloop.configs.pretraining import PretrainConfig
from navloop.configs.reinforcement import ReinforcementConfig
from navloop.configs.replay import ReplayConfig
from navloop.configs.schema import EvalConfig, HousesConfig
from navloop.configs.speaker import SpeakerTrainConfig
from navloop.training.arguments import parse

if TYPE_CHECKING:
    from rich.console import Console


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command and return its exit code: 0 done, 1 a fault of navloop's, 2 a fault in what was given, 130 interrupted."""
    options = parse(arguments)
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


def _houses(options: argparse.Namespace) -> None:
    config = load(options.recipe, options.overrides, kind="houses")
    assert isinstance(config, HousesConfig)
    from rich.console import Console  # commands load what they need, so that each starts at once

    from navloop.training.houses import export_for_habitat, make_houses

    folder, console = _run_dir(options, config.name, "data"), Console(stderr=True)
    make_houses(config, folder, console)
    if options.export == "habitat":
        export_for_habitat(folder, console)


def _eval(options: argparse.Namespace) -> None:
    if options.compare is not None:
        _compare(options)
        return
    config = load(options.recipe, options.overrides, kind=("eval", "perception"))
    _run_dir(options, config.name)
    if isinstance(config, PerceptionEvalConfig):
        _eval_perception(config, options)
        return
    assert isinstance(config, EvalConfig)
    from navloop.training.preparation import prepare_workers

    prepare_workers(config)  # while this process loads the rest
    from rich.console import Console

    from navloop.training.evaluation import evaluate
    from navloop.training.tables import print_results

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


def _eval_perception(config: PerceptionEvalConfig, options: argparse.Namespace) -> None:
    from rich.console import Console

    from navloop.training.perception.run import evaluate_perception
    from navloop.training.perception.table import print_perception

    if options.conformance or options.conformance_only:
        raise ValueError(
            "--conformance is about benchmarks of agents; this recipe measures an encoder (kind: perception)"
        )
    found = evaluate_perception(config, options.run_dir, Console(stderr=True))
    print_perception(found, Console(width=None if sys.stdout.isatty() else 100))


def _compare(options: argparse.Namespace) -> None:
    from rich.console import Console

    from navloop.training.comparison import pair_up, print_comparisons
    from navloop.training.comparison_files import write_comparisons
    from navloop.training.perception.comparison import is_perception

    if any(is_perception(run) for run in options.compare):
        _compare_perception(options)
        return
    pairs = pair_up(options.compare, options.agent or ())
    if options.to is not None:
        write_comparisons(options.to, pairs)
    print_comparisons(pairs, Console(width=None if sys.stdout.isatty() else 100))


def _compare_perception(options: argparse.Namespace) -> None:
    from rich.console import Console

    from navloop.training.perception.comparison import compare_perception, print_perception_comparison

    if len(options.compare) != 2 or options.agent or options.to:
        raise ValueError(
            "runs that measured encoders are compared two at a time, have no agents, and are not written with --to; name two folders"
        )
    found = compare_perception(*options.compare)
    print_perception_comparison(*found, Console(width=None if sys.stdout.isatty() else 100))


def _replay(options: argparse.Namespace) -> None:
    config = load(options.recipe, options.overrides, kind="replay")
    assert isinstance(config, ReplayConfig)
    from rich.console import Console

    from navloop.training.replaying import replay_walks

    _run_dir(options, config.name, "data")
    replay_walks(config, options.run_dir, Console(stderr=True))


def _collect(options: argparse.Namespace) -> None:
    config = load(options.recipe, options.overrides, kind="collect")
    assert isinstance(config, CollectConfig)
    from rich.console import Console

    from navloop.training.recorder import record_walks

    record_walks(config, _run_dir(options, config.name, "data"), Console(stderr=True))


def _pretrain(options: argparse.Namespace) -> None:
    config = load(options.recipe, options.overrides, kind="pretrain")
    assert isinstance(config, PretrainConfig)
    from rich.console import Console

    from navloop.training.pretraining import dry_run, pretrain

    if options.dry_run:
        dry_run(config, Console(width=None if sys.stdout.isatty() else 100))
        return
    pretrain(config, _run_dir(options, config.name), Console(stderr=True))


def _pipeline(options: argparse.Namespace) -> None:
    config = load(options.recipe, options.overrides, kind="pipeline")
    assert isinstance(config, PipelineConfig)
    from rich.console import Console

    from navloop.training.pipeline import run_pipeline
    from navloop.training.pipeline_tables import print_pipeline

    done = run_pipeline(config, _run_dir(options, config.name), Console(stderr=True))
    print_pipeline(config, done, Console(width=None if sys.stdout.isatty() else 100))


def _loop(options: argparse.Namespace) -> None:
    config = load(options.recipe, options.overrides, kind="loop")
    assert isinstance(config, LoopConfig)
    from rich.console import Console

    from navloop.training.loop.report import write_loop_report
    from navloop.training.loop.run import run_loop
    from navloop.training.loop.table import print_loop

    _run_dir(options, config.name)
    found = run_loop(config, options.run_dir, Console(stderr=True))
    print_loop(config, found, Console(width=None if sys.stdout.isatty() else 100))
    print(f"page: {write_loop_report(options.run_dir, console=Console(stderr=True))}")


def _check_conformance(config: EvalConfig, run_dir: Path, console: Console) -> None:
    from rich.console import Console

    from navloop.training.conformance import check_conformance, print_conformance, require_conformance

    conformance = check_conformance(config, run_dir, console)
    print_conformance(conformance, Console(width=None if sys.stdout.isatty() else 100))
    console.print(f"findings: {run_dir / 'conformance.json'}", soft_wrap=True, highlight=False)
    require_conformance(conformance)


def _train(options: argparse.Namespace) -> None:
    config = load(options.recipe, options.overrides, kind="train")
    from rich.console import Console

    folder, console = _run_dir(options, config.name), Console(stderr=True)
    if isinstance(config, SpeakerTrainConfig):
        from navloop.training.speaking import train_speaker

        train_speaker(config, folder, console)
        console.print(f"speaker: {folder}", soft_wrap=True, highlight=False)
        return
    if isinstance(config, ReinforcementConfig):
        from navloop.training.reinforcement import train_by_reinforcement

        train_by_reinforcement(config, folder, console)
    elif isinstance(config, PlannerTrainConfig):
        from navloop.training.planner.training import train_by_oracle

        train_by_oracle(config, folder, console)
    else:
        assert isinstance(config, ImitationConfig)
        from navloop.training.imitation import train_by_imitation

        train_by_imitation(config, folder, console)
    from navloop.training.courses import JUDGED
    from navloop.training.entrants import find_agent

    place, which = find_agent(folder), ""
    if (place / JUDGED).is_file():
        judged = json.loads((place / JUDGED).read_text())
        which = f", that of iteration {judged['number']} with SPL {100 * judged['spl']:.1f} on {judged['split']}"
    told = f"agent: {place}{which}; to measure it: navloop eval RECIPE agents={folder}; curves: tensorboard --logdir {folder}"
    console.print(told, soft_wrap=True, highlight=False)


def _report(options: argparse.Namespace) -> None:
    from rich.console import Console

    from navloop.training.loop.summary import is_loop

    if is_loop(options.run):
        from navloop.training.loop.report import write_loop_report  # loads torch

        if options.against is not None:
            raise ValueError("--against compares evaluations; a loop compares its own arms, leave it out")
        print(write_loop_report(options.run, options.output, Console(stderr=True)))
        return
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


def _store(options: argparse.Namespace) -> None:
    from rich.console import Console

    from navloop.training.store.command import run_store

    run_store(options, Console(width=None if sys.stdout.isatty() else 100))


_COMMANDS = {
    "houses": _houses,
    "eval": _eval,
    "replay": _replay,
    "collect": _collect,
    "pretrain": _pretrain,
    "train": _train,
    "pipeline": _pipeline,
    "loop": _loop,
    "report": _report,
    "submit": _submit,
    "store": _store,
}


def _run_dir(options: argparse.Namespace, name: str, below: str = "runs") -> Path:
    """Return where a command writes: --run-dir; the run folder that was named as recipe, which it goes on with; else one called as the recipe."""
    if options.run_dir is None:
        recipe = Path(options.recipe)
        renamed = any(override.startswith("name=") for override in options.overrides)
        options.run_dir = recipe if recipe.is_dir() and not renamed else Path(below) / name
    found: Path = options.run_dir
    return found


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
        if options.command in ("eval", "pretrain", "train", "replay", "collect", "pipeline", "loop")
        else "Run the same command again."
    )


if __name__ == "__main__":
    raise SystemExit(main())
