"""The environment keeps gymnasium's contract, tells the truth in info, and gives the walk it saw."""

import itertools
import math
from dataclasses import replace

import gymnasium
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env

from navloop.envs.metrics import evaluate
from navloop.envs.navigation import NavigationEnv, Reward, text_space
from navloop.envs.protocols import get_protocol
from navloop.envs.simulator import Action
from navloop.envs.worlds import create_simulator, make_houses
from navloop.envs.wrappers import InstructionBytes, decode_instruction
from navloop.records import Instruction

SMALL = get_protocol("houses").with_resolution(32)


@pytest.fixture
def env(houses):
    env = make_houses(houses, "val_unseen", SMALL.with_depth())
    yield env
    env.close()


def walk(env, actions):
    return [env.step(action) for action in actions]


def test_gymnasium_accepts_the_environment(env):
    check_env(env)


def test_stable_baselines3_accepts_the_environment(env):
    checker = pytest.importorskip("stable_baselines3.common.env_checker", reason="stable-baselines3 is not installed")
    checker.check_env(InstructionBytes(env), warn=False)


def test_instructions_survive_as_bytes(env):
    wrapped = InstructionBytes(env)
    observation, _ = wrapped.reset(options={"episode": 2})
    assert wrapped.observation_space.contains(observation)
    assert decode_instruction(observation["instruction"]) == env.episode.instruction.text
    with pytest.raises(ValueError, match="more than 3; make InstructionBytes longer"):
        InstructionBytes(env, 3).reset()
    with pytest.raises(TypeError, match="expected a Dict with a text space"):
        InstructionBytes(wrapped)


def test_gym_make_finds_the_ids_without_a_further_import(houses, val_unseen):
    env = gymnasium.make("navloop.envs:navloop/Houses-v0", dataset=houses, split="val_seen", protocol=SMALL)
    assert env.reset(seed=0)[0]["rgb"].shape == (32, 32, 3)
    env.close()
    env = gymnasium.make("navloop/VLN-v0", episodes=val_unseen, scenes=houses / "scenes", protocol="r2r-ce")
    observation, _ = env.reset(seed=0)
    assert observation["rgb"].shape == (224, 224, 3)
    assert observation["depth"].shape == (256, 256, 1)
    env.close()


def test_factories_take_the_size_of_frames_and_depth_and_name_what_they_do_not_know(houses):
    env = gymnasium.make("navloop.envs:navloop/Houses-v0", dataset=houses, split="val_seen", pixels=32, depth=True)
    assert env.reset(seed=0)[0]["depth"].shape == (32, 32, 1)
    assert env.unwrapped.protocol == get_protocol("houses", 32, depth=True)
    env.close()
    env = make_houses(houses, "val_seen", SMALL, pixels=16, depth=True)
    assert env.protocol == SMALL.with_depth().with_resolution(16)
    env.close()
    for name, mend in {
        "pixel": "did you mean 'pixels'",
        "shufle": "did you mean 'shuffle'",
        "zoom": "known: .*depth",
    }.items():
        with pytest.raises(ValueError, match=rf"in world 'embedded' has no option '{name}'; {mend}"):
            make_houses(houses, "val_seen", **{name: 1})


def test_without_shuffling_every_seed_starts_with_the_first_episode(env):
    env.reset()
    for seed in (0, 7):
        assert env.reset(seed=seed)[1]["episode_id"] == env.episodes[0].episode_id
        assert env.reset()[1]["episode_id"] == env.episodes[1].episode_id


def test_actions_move_as_the_protocol_says(env):
    _, info = env.reset(options={"episode": 0})
    start, heading = info["position"], info["heading"]
    turn, step = env.protocol.body.turn, env.protocol.body.step
    info = env.step(Action.LEFT)[-1]
    assert math.cos(info["heading"] - heading - turn) == pytest.approx(1)
    info = env.step(Action.RIGHT)[-1]
    assert math.cos(info["heading"] - heading) == pytest.approx(1)
    np.testing.assert_array_equal(info["position"], start)
    info = env.step(Action.FORWARD)[-1]
    moved = np.linalg.norm(info["position"] - start)
    assert moved == pytest.approx(step) if not info["collided"] else moved < step


def test_the_last_info_is_the_evaluation_of_the_trajectory(env):
    rng = np.random.default_rng(3)
    env.reset(options={"episode": 1})
    steps = walk(env, [*rng.integers(1, 4, size=60), Action.STOP])
    result = evaluate(env.trajectory(), env.episode, env.protocol)
    info = steps[-1][-1]
    assert steps[-1][2] and not steps[-1][3]
    assert len(env.trajectory()) == 61
    told = {name: value for name, value in result.to_row().items() if name in info}
    assert {"success", "spl", "oracle_success", "path_length", "ndtw", "sdtw"} <= set(told)
    for name, value in told.items():
        assert info[name] == pytest.approx(value), name


def test_rewards_add_up_to_the_distance_won_less_the_time(houses, val_unseen):
    env = make_houses(houses, "val_unseen", SMALL, reward=Reward(progress=2.0, success=0.0, slack=0.5))
    _, info = env.reset(seed=0)
    first = info["navigation_error"]
    steps = walk(env, [1, 1, 2, 1, 1, 3, 1])
    won = first - steps[-1][-1]["navigation_error"]
    assert sum(step[1] for step in steps) == pytest.approx(2 * won - 0.5 * 7)


def test_an_episode_is_cut_off_at_the_step_limit_and_is_then_over(houses, val_unseen):
    env = make_houses(houses, "val_unseen", SMALL)
    env.protocol = type(SMALL)(name="short", cameras=SMALL.cameras, max_steps=3)
    env.reset(seed=0)
    assert [step[2:4] for step in walk(env, [2, 2, 2])] == [(False, False), (False, False), (False, True)]
    with pytest.raises(RuntimeError, match="call reset"):
        env.step(2)


def test_a_seed_decides_the_shuffled_order_and_each_pass_has_every_episode_once(houses):
    env = make_houses(houses, "val_unseen", SMALL, shuffle=True)

    def order(seed):
        first = env.reset(seed=seed)[1]
        return [first["episode_id"]] + [env.reset()[1]["episode_id"] for _ in env.episodes[1:]]

    one, again, other = order(1), order(1), order(2)
    assert one == again != other
    assert sorted(one) == sorted(episode.episode_id for episode in env.episodes)
    scenes = [env.episodes[env._numbers[number]].scene_id for number in one]
    assert sum(a != b for a, b in itertools.pairwise(scenes)) == len(set(scenes)) - 1


def test_mistakes_are_named(env, houses):
    env.reset(seed=0)
    with pytest.raises(ValueError, match=r"action 9 is not in Discrete\(4\)"):
        env.step(9)
    for wrong in (1.5, "1", True, None):
        with pytest.raises(ValueError, match="is not in Discrete"):
            env.step(wrong)
    with pytest.raises(ValueError, match="no episode 'nowhere'"):
        env.reset(options={"episode": "nowhere"})
    for wrong in (1.5, True, ["1"]):
        with pytest.raises(ValueError, match=r"option 'episode' is .*; give an episode_id \(str\) or a place \(int\)"):
            env.reset(options={"episode": wrong})
    with pytest.raises(ValueError, match="reset has no option 'episode_id'; did you mean 'episode'"):
        env.reset(options={"episode_id": env.episodes[1].episode_id})
    with pytest.raises(ValueError, match="reset has no option 'split'; known: episode"):
        env.reset(options={"split": "train"})
    with pytest.raises(ValueError, match=r"no split 'test' here.*train, val_seen, val_unseen"):
        make_houses(houses, "test")
    with pytest.raises(ValueError, match="unknown world 'habitatt'"):
        create_simulator("habitatt", houses, SMALL)
    with pytest.raises(ValueError, match="no episodes"):
        NavigationEnv(env.simulator, [], SMALL)


def test_instructions_fit_the_space_in_any_script(env):
    env.reset(seed=0)
    texts = ["बाएँ मुड़ें और रुकें।", "ఎడమవైపు తిరగండి", "Turn left, then wait."]
    told = [replace(env.episode, instruction=Instruction(text=text)) for text in texts]
    space = text_space(told)
    assert all(space.contains(text) for text in texts)
    assert space.contains("Turn right!") and not space.contains("向左转")
    assert text_space([replace(env.episode, instruction=Instruction(text="x" * 1025))]).max_length == 2048
    assert all(env.observation_space["instruction"].contains(episode.instruction.text) for episode in env.episodes)


def test_render_gives_the_newest_frame_and_says_what_it_cannot(houses):
    env = gymnasium.make("navloop.envs:navloop/Houses-v0", dataset=houses, protocol=SMALL, render_mode="rgb_array")
    observation, _ = env.reset(seed=0)
    np.testing.assert_array_equal(env.render(), observation["rgb"])
    with pytest.raises(ValueError, match="render_mode is 'human'"):
        make_houses(houses, protocol=SMALL, render_mode="human")
    blind = make_houses(houses, protocol=SMALL.with_cameras([]))
    blind.reset(seed=0)
    with pytest.raises(RuntimeError, match="has no RGB camera to render"):
        blind.render()
