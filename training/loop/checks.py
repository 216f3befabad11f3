"""Reads the recipes of a loop, and refuses those that do not go together, before anything runs."""

from __future__ import annotations

from pathlib import Path

from navloop.configs.imitation import ImitationConfig
from navloop.configs.loader import RecipeError
from navloop.configs.loop import LoopConfig
from navloop.configs.perception import PerceptionEvalConfig
from navloop.configs.perception_texts import RetrievalTaskConfig
from navloop.configs.replay import ReplayConfig
from navloop.configs.schema import EvalConfig, HousesConfig
from navloop.configs.speaker import SpeakerTrainConfig
from navloop.configs.stages import ContrastivePretrainConfig
from navloop.training.loop.plan import EyesPlan, Plan, read_first, read_part


def read_plan(config: LoopConfig) -> Plan:
    """Read every recipe that a loop runs.

    Raises:
        RecipeError: If one is wrong, or not of the kind that its place asks for, naming the place.
    """
    eyes = None
    if config.encoder is not None:
        general = config.encoder.general
        eyes = EyesPlan(
            first=read_part("encoder.first", config.encoder.first, ContrastivePretrainConfig),
            again=read_part("encoder.again", config.encoder.again, ContrastivePretrainConfig),
            films=read_part("encoder.films", config.encoder.films, ReplayConfig),
            retrieval=read_part("encoder.retrieval", config.encoder.retrieval, PerceptionEvalConfig),
            general=None if general is None else read_part("encoder.general", general, PerceptionEvalConfig),
        )
    plan = Plan(
        config=config,
        houses=read_part("houses", config.houses, HousesConfig),
        first=read_first(config),
        retrain=read_part("retrain", config.retrain, ImitationConfig),
        speaker=read_part("speaker", config.speaker, SpeakerTrainConfig),
        eval=read_part("judge", config.judge, EvalConfig),
        eyes=eyes,
    )
    _check(plan)
    return plan


def _check(plan: Plan) -> None:
    """Refuse recipes that do not go together."""
    _check_houses(plan)
    _check_agents(plan)
    _check_judge(plan)
    if plan.speaks:
        _check_speaker(plan)
    _check_encoder(plan)


def _check_houses(plan: Plan) -> None:
    config, houses = plan.config, plan.houses
    if config.sources.ground is not None and not houses.extra_houses:
        raise RecipeError(
            f"houses: {config.houses.recipe} has no extra_houses, and sources.ground needs houses that nobody has described; add "
            "extra_houses=N to houses.set, or set sources.ground to null"
        )
    for name in ("val_unseen_houses", "val_unseen_tours"):
        if not getattr(houses, name):
            raise RecipeError(
                f"houses: {config.houses.recipe} has no {name}, so there is nothing to measure on; add {name}=N to houses.set"
            )
    asks = {
        "judge.split is val_seen": config.judge.split == "val_seen",
        "first measures on them (its evaluate is above 0)": plan.first.evaluate > 0,
        "speaker measures on them (its evaluate is above 0)": plan.speaks and plan.speaker.evaluate > 0,
    }
    if not houses.val_seen_tours and any(asks.values()):
        why = " and ".join(words for words, asked in asks.items() if asked)
        raise RecipeError(
            f"houses: {config.houses.recipe} has no val_seen_tours, but {why}; add val_seen_tours=N to houses.set"
        )


def _check_agents(plan: Plan) -> None:
    config, first = plan.config, plan.first
    if plan.retrain.learning.steps is None:
        raise RecipeError(
            f"retrain: {config.retrain.recipe} learns by epochs, so that arms with more walks would take more steps; add "
            "learning.steps=N to retrain.set"
        )
    if plan.retrain.collection.stop_within != first.collection.stop_within:
        raise RecipeError(
            f"retrain: collection.stop_within is {plan.retrain.collection.stop_within}, and first's is {first.collection.stop_within}: new walks "
            "would stop elsewhere than old ones; set collection.stop_within alike in first.set and retrain.set"
        )
    if first.agent.perception.depth:
        raise RecipeError(
            f"first: {config.first.recipe} looks at a depth camera, and a loop records colour alone; add agent.perception.depth=false "
            "to first.set"
        )
    if plan.retrain.agent != first.agent:
        raise RecipeError(
            f"retrain: {config.retrain.recipe} says another agent than first, {config.first.recipe}, and it goes on with that one; set "
            "agent.* alike in first.set and retrain.set"
        )
    if first.walks or not first.collection.iterations:
        raise RecipeError(
            f"first: {config.first.recipe} learns from recorded walks, and the old walks of a loop are those that its first agent "
            "makes; leave out walks, and take collection.iterations above 0"
        )


def _check_judge(plan: Plan) -> None:
    first, judge = plan.first.episodes, plan.eval
    for name in ("world", "protocol", "pixels"):
        ours, theirs = getattr(first, name), getattr(judge, name)
        if theirs is not None and name in judge.model_fields_set and ours != theirs:
            raise RecipeError(
                f"judge: {name} is {theirs}, and the agents of first learn with episodes.{name}={ours}; what they are judged by would be "
                f"another task: set {name}={ours} in judge.set, or episodes.{name} in first.set"
            )


def _check_speaker(plan: Plan) -> None:
    config, speaker = plan.config, plan.speaker
    for name in ("start", "eyes"):
        if getattr(speaker, name) is not None:
            raise RecipeError(
                f"speaker: {config.speaker.recipe} says {name}, but a loop's speaker begins anew with the first agent's eyes; add "
                f"{name}=null to speaker.set"
            )
    if speaker.evaluate and speaker.select == config.judge.split:
        # val_unseen is what is left to measure on at the end, where val_seen judges.
        mend = "evaluate=0" if speaker.select == "val_seen" else "select=val_seen or evaluate=0"
        raise RecipeError(
            f"speaker: {config.speaker.recipe} keeps the checkpoint that is best on {speaker.select} (select), and judge.split is "
            f"{config.judge.split}: what judges must not choose who describes; add {mend} to speaker.set"
        )


def _check_encoder(plan: Plan) -> None:
    config = plan.config
    for name in ("similarity", "similar_share"):
        if plan.eyes is None and getattr(config.filters, name) is not None:
            raise RecipeError(
                f"filters.{name} asks an encoder that was trained with words, and encoder is null; set one of them"
            )
    if plan.eyes is None:
        return
    _check_learning(plan)
    _check_measuring(plan.eyes)
    houses, most = plan.houses, plan.eyes.films.max_walks
    tours = houses.val_unseen_houses * houses.val_unseen_tours
    films = tours if most is None else min(tours, most)
    if not any(isinstance(task, RetrievalTaskConfig) for task in plan.eyes.retrieval.tasks):
        raise RecipeError(
            f"encoder.retrieval: {plan.eyes.retrieval.name} has no task of kind retrieval, by which a loop tells what an encoder forgot; take "
            "perception_retrieval, or add such a task"
        )
    for number, task in enumerate(plan.eyes.retrieval.tasks):
        gallery = getattr(task, "gallery", None)
        if gallery is not None and gallery > films:
            raise RecipeError(
                f"encoder.retrieval: tasks.{number}.gallery is {gallery}, but {films} validation tours are filmed (val_unseen_houses "
                f"{houses.val_unseen_houses}, val_unseen_tours {houses.val_unseen_tours}, encoder.films.max_walks {most}); add "
                f"tasks.{number}.gallery=N, at most {films}, to encoder.retrieval.set"
            )


def _check_learning(plan: Plan) -> None:
    """Refuse encoders that arms could not go on with alike, or not at all."""
    config, eyes, sees = plan.config.encoder, plan.eyes, plan.first.agent.perception
    assert config is not None and eyes is not None
    if eyes.again.engine.steps is None:
        raise RecipeError(
            f"encoder.again: {config.again.recipe} learns by epochs, so that arms with more films would take more steps; add engine.steps=N "
            "to encoder.again.set"
        )
    for name, encoder in (("encoder.again", eyes.again.encoder), ("first", sees.encoder)):
        if encoder not in (None, eyes.first.encoder):
            raise RecipeError(
                f"{name}: the encoder is {encoder}, and encoder.first trains {eyes.first.encoder}; they must be one, set "
                f"{'encoder' if name == 'encoder.again' else 'agent.perception.encoder'}={eyes.first.encoder} in {name}.set"
            )


def _check_measuring(eyes: EyesPlan) -> None:
    """Refuse what encoders could not be measured on, before they have learned for hours."""
    learned = eyes.again.clips.size
    for name, recipe in (("retrieval", eyes.retrieval), ("general", eyes.general)):
        if recipe is not None and recipe.clips.size not in (None, learned):
            raise RecipeError(
                f"encoder.{name}: clips.size is {recipe.clips.size}, and encoders learn from clips of {learned} pixels; add "
                f"clips.size={learned} to encoder.{name}.set"
            )
    absent = [] if eyes.general is None else [name for name in eyes.general.clips.manifest if not Path(name).exists()]
    if absent:
        raise RecipeError(
            f"encoder.general: {absent[0]}: no such list of videos; set clips.manifest in encoder.general.set, or leave it out"
        )
