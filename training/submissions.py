"""From finished runs to a leaderboard's file: which episodes they were over, which agent, and whether all is there."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from navloop.configs.loader import load
from navloop.configs.schema import EvalConfig
from navloop.envs.episodes import EpisodeFile, read_episodes
from navloop.training.leaderboards import SubmissionError, read_submission, summarise, write_submission
from navloop.training.results import Evaluation, read_evaluation
from navloop.training.rows import Row


def submit_runs(runs: Sequence[Path], agent: str | None = None, output: Path | None = None) -> tuple[Path, str]:
    """Write the leaderboard's file of an agent, read it back to validate it, and return where it is and what is in it.

    Args:
        runs: Folders of evaluations; several for the languages of RxR, which become one file.
        agent: Whose rows; None where the runs have one agent.
        output: Of the file; None takes submission_<agent>.json (R2R) or .jsonl (RxR) in the first run.

    Raises:
        SubmissionError: If an episode is missing, the runs are of different protocols, or their episode files changed since.
        ValueError: If a folder holds no evaluation.
        OSError: If the file cannot be written.
    """
    evaluations = [read_evaluation(run) for run in runs]
    agent = agent or _only_agent(evaluations)
    labels = {evaluation.header.protocol for evaluation in evaluations}
    if len(labels) > 1:
        raise SubmissionError(f"the runs are of the protocols {', '.join(sorted(labels))}; submit those of one")
    walks: dict[str, tuple[EpisodeFile, list[Row]]] = {}
    for evaluation in evaluations:
        file = _episodes_of(evaluation)
        walks.setdefault(file.fingerprint, (file, []))[1].extend(_rows_of(evaluation, agent))
    files = [file for file, _ in walks.values()]
    path = output or runs[0] / f"submission_{agent}.{'json' if files[0].kind == 'r2r' else 'jsonl'}"
    write_submission(path, walks.values(), float(evaluations[0].header.protocol_fields["body.turn"]))
    return path, summarise(read_submission(path, files))


def check_submission(path: Path, episodes: Sequence[Path]) -> str:
    """Validate somebody's file and return what is in it.

    Raises:
        SubmissionError: If a leaderboard would refuse it, listing faults.
        EpisodeError: If an episode file cannot be read.
    """
    return summarise(read_submission(path, [read_episodes(file, ground_truth=None) for file in episodes]))


def _only_agent(evaluations: Sequence[Evaluation]) -> str:
    agents = list(dict.fromkeys(agent for evaluation in evaluations for agent in evaluation.rows))
    if len(agents) != 1:
        raise SubmissionError(f"the runs have {len(agents)} agents: {', '.join(agents)}; choose one with --agent")
    return agents[0]


def _rows_of(evaluation: Evaluation, agent: str) -> Sequence[Row]:
    if agent not in evaluation.rows:
        known = ", ".join(evaluation.rows) or "none"
        raise SubmissionError(f"{evaluation.folder}: has no agent {agent!r}, but {known}; choose one with --agent")
    return evaluation.rows[agent]


def _episodes_of(evaluation: Evaluation) -> EpisodeFile:
    config = load(str(evaluation.folder), kind="eval")
    assert isinstance(config, EvalConfig)
    file = read_episodes(Path(config.episodes), ground_truth=None)
    if file.fingerprint != evaluation.header.data["episodes"]:
        raise SubmissionError(
            f"{config.episodes}: is not the file that {evaluation.folder} was evaluated on "
            f"({file.fingerprint}, was {evaluation.header.data['episodes']}); bring it back or evaluate again"
        )
    return file
