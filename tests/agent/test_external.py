"""Programs that act: the one of the documentation walks a benchmark, and whatever goes wrong with one is told with its own words."""

import os
import re
import shlex
import signal
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from navloop.agent.external import ExternalAgent, ExternalError
from navloop.agent.messages import Channel, MessageError, SilenceError
from navloop.configs.schema import EvalConfig
from navloop.envs.episodes import read_episodes
from navloop.envs.navigation import NavigationEnv
from navloop.envs.protocols import get_protocol
from navloop.envs.worlds import create_simulator
from navloop.training.evaluation import evaluate
from navloop.training.rollout import walk
from navloop.training.workers import WorkerError

DOCS = Path(__file__).parents[2] / "docs" / "agents.md"

SERVED = """
import sys, time
import numpy as np
from navloop.agent.external import serve

class Policy:
    cameras, weights = {cameras}, {weights!r}

    def reset(self, instruction, seed):
        print("told:", instruction)
        self.rng, self.steps = np.random.default_rng(seed), 0

    def act(self, frames):
        self.steps += 1
        {act}

serve(Policy())
"""


@pytest.fixture
def program(tmp_path):
    """Return a function that writes a program and returns its command."""

    def write(text):
        path = tmp_path / "policy.py"
        path.write_text(text)
        return [sys.executable, str(path)]

    return write


@pytest.fixture(autouse=True)
def impatient(monkeypatch):
    """Programs that hang are killed soon."""
    monkeypatch.setattr("navloop.agent.external.FAREWELL_SECONDS", 0.3)


def served(act, cameras='["rgb"]', weights=None):
    return SERVED.format(act=act, cameras=cameras, weights=weights)


def documented():
    (block,) = (one for one in re.findall(r"```python\n(.*?)```", DOCS.read_text(), re.DOTALL) if "sys.stdin" in one)
    return block


@pytest.fixture(scope="module")
def env(houses, val_unseen):
    protocol = get_protocol("houses").with_resolution(32).with_depth()
    made = NavigationEnv(
        create_simulator("embedded", houses / "scenes", protocol), read_episodes(val_unseen).episodes[:2], protocol
    )
    yield made
    made.close()


def first(env):
    return env.episodes[0].episode_id


def expected_actions(env, episode):
    """Walk as the documentation's program says it does, in this process."""
    observation, _ = env.reset(options={"episode": episode})
    taken = []
    while not taken or taken[-1] != 0:
        middle = observation["rgb"].shape[1] // 2
        left, right = observation["rgb"][:, :middle].mean(), observation["rgb"][:, middle:].mean()
        steps, words = len(taken) + 1, observation["instruction"].split()
        taken.append(0 if steps > len(words) else 1 if steps % 2 else 2 if left > right else 3)
        observation, *_ = env.step(taken[-1])
    return taken


def test_the_documented_program_walks_as_it_says(env, program):
    with ExternalAgent(program(documented())) as agent:
        assert agent.looks_at == {"rgb"}
        for episode in env.episodes:
            found = walk(env, agent, episode.episode_id, 0)
            assert found.actions.tolist() == expected_actions(env, episode.episode_id)


def test_a_benchmark_walks_programs_beside_other_agents(houses, val_unseen, program, tmp_path):
    command = shlex.join(program(documented()))
    config = EvalConfig(
        scenes=str(houses / "scenes"),
        episodes=str(val_unseen),
        protocol="houses",
        pixels=32,
        agents=(f"mine=command:{command}", "forward", f"mine=command:{command}+blank"),
        max_episodes=4,
        workers=2,
    )
    result = evaluate(config, tmp_path / "run")
    assert list(result.rows) == ["mine", "forward", "mine+blank"]
    assert result.header.cameras == {"mine": ["rgb"], "forward": [], "mine+blank": []}
    for row in result.rows["mine+blank"]:  # black is as dark on the left as on the right
        assert set(row.actions[1:-1:2].tolist()) == {3}
    assert any(2 in row.actions for row in result.rows["mine"])


def test_a_program_is_told_the_rules_once_unless_they_change(env, program):
    text = served("return 0").replace(
        "    def reset",
        """    def begin(self, rules):
        print("begun:", rules["body.turn"], rules["cameras.rgb.width"], rules["max_steps"], "position" in str(rules))

    def reset""",
    )
    with ExternalAgent(program(text)) as agent:
        for episode in env.episodes:
            walk(env, agent, episode.episode_id, 0)
        with pytest.raises(ExternalError) as fault:
            agent._ask({"type": "reset", "instruction": "", "seed": 0, "rules": {}}, {}, "ready")
    told = str(fault.value)
    assert told.count(f"begun: {env.protocol.body.turn} 32 {env.protocol.max_steps} False") == 1
    assert "KeyError: 'body.turn'" in told  # other rules are told again


def test_a_served_policy_gets_frames_instruction_and_seed(env, program):
    act = "return 0 if self.steps > 20 else int(self.rng.integers(1, 4)) if frames['rgb'].dtype == np.uint8 else 9"
    walks = []
    with ExternalAgent(program(served(act))) as agent:
        for seed in (5, 5, 6):
            walks.append(walk(env, agent, first(env), seed).actions.tolist())
    rng = np.random.default_rng(5)
    assert walks[0] == walks[1] == [int(rng.integers(1, 4)) for _ in range(20)] + [0]
    assert walks[2] != walks[0]


def test_frames_arrive_as_they_were_seen(env, program):
    sums = "d, r = frames['depth'], frames['rgb']; print(d.shape, d.dtype, r.shape, repr(float(d.sum())), int(r.sum())); raise SystemExit(3)"
    with ExternalAgent(program(served(sums, cameras="None"))) as agent:
        assert agent.looks_at is None
        observation, info = env.reset(options={"episode": first(env)})
        agent.reset(env, 0)
        with pytest.raises(ExternalError) as fault:
            agent.act(observation, info)
    depth, rgb = observation["depth"], observation["rgb"]
    told = f"(32, 32, 1) float32 (32, 32, 3) {float(depth.sum())!r} {int(rgb.sum())}"
    assert told in str(fault.value) and "exit code 3" in str(fault.value)
    assert f"told: {observation['instruction'].strip()}"[:40] in str(fault.value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("import sys; sys.exit('no weights here')", r"(?s)ended with exit code 1 before it answered.*no weights here"),
        ("print('Loading the model ...', flush=True); import time; time.sleep(60)", "sent 'Loading the model"),
        ("import os, signal; os.kill(os.getpid(), signal.SIGSEGV)", "ended by SIGSEGV"),
        ("import os; os.write(1, b'\\0\\0\\0\\2{]')", r"cannot be read .*b'\{\]'"),
        (
            "import os, json; m = json.dumps({'type': 'hello', 'version': 7}).encode(); os.write(1, len(m).to_bytes(4, 'big') + m); input()",
            "speaks version 7 of the protocol, this is version 1",
        ),
        ("import os; m = b'{\"type\": \"ready\"}'; os.write(1, len(m).to_bytes(4, 'big') + m)", "instead of 'hello'"),
    ],
)
def test_a_program_that_fails_at_the_start_is_told_with_its_words(program, text, message):
    command = program(text)
    with pytest.raises(ExternalError, match=message) as fault:
        ExternalAgent(command)
    assert command[1] in str(fault.value)


def test_a_program_that_does_not_answer_is_told(program):
    with pytest.raises(ExternalError, match=r"gave no answer to 'hello' within 1 s \(reply_seconds\)"):
        ExternalAgent(program("import time; time.sleep(60)"), patience=0.1)


def test_a_program_that_is_not_there_is_named():
    with pytest.raises(ExternalError, match="command 'no-such-program --flag' cannot be started"):
        ExternalAgent(["no-such-program", "--flag"])
    with pytest.raises(ExternalError, match="cannot be started"):
        ExternalAgent([])


@pytest.mark.parametrize(
    ("act", "message"),
    [
        ("return 4", "answered with the action 4; actions are 0 STOP, 1 FORWARD, 2 LEFT, 3 RIGHT"),
        ("return -1", "answered with the action -1"),
        ("raise KeyError('beam')", r"(?s)exit code 1 before it answered.*told: .*KeyError: 'beam'"),
        ("time.sleep(60)", "gave no answer to 'act' within 3 s"),
    ],
)
def test_a_program_that_fails_on_the_way_is_told(env, program, act, message):
    with ExternalAgent(program(served(act)), patience=3.0) as agent, pytest.raises(ExternalError, match=message):
        walk(env, agent, first(env), 0)


def test_a_benchmark_names_the_episode_that_a_program_fails_in(houses, val_unseen, program, tmp_path):
    command = shlex.join(program(served("return 1 if self.steps < 5 else 1 // 0")))
    config = EvalConfig(
        scenes=str(houses / "scenes"),
        episodes=str(val_unseen),
        protocol="houses",
        agents=(f"mine=command:{command}",),
        max_episodes=2,
        workers=1,
    )
    with pytest.raises(WorkerError, match=r"(?s)agent mine, episode \S+ .*exit code 1.*ZeroDivisionError") as fault:
        evaluate(config, tmp_path / "run")
    assert fault.value.is_input


def test_a_program_ends_with_its_agent_even_if_it_hangs(program):
    text = served("return 0").replace("serve(Policy())", "serve(Policy()); time.sleep(600)")
    agent = ExternalAgent(program(text))
    pid = agent._process.pid
    agent.close()
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)
    assert agent._process.returncode == -signal.SIGKILL


def pipes():
    ours, theirs = os.pipe(), os.pipe()
    return Channel(ours[0], theirs[1]), Channel(theirs[0], ours[1]), (*ours, *theirs)


dtypes = st.sampled_from([np.uint8, np.float32, np.int32])


@settings(max_examples=50)
@given(
    st.dictionaries(st.text(min_size=1), st.one_of(st.integers(), st.text(), st.none())),
    st.dictionaries(
        st.text(min_size=1), dtypes.flatmap(lambda d: arrays.arrays(d, arrays.array_shapes(min_dims=0, min_side=0)))
    ),
)
def test_what_is_sent_is_received(message, sent):
    near, far, held = pipes()
    message = {**{key: value for key, value in message.items() if key != "arrays"}, "type": "any"}
    near.send(message, sent, None)
    header, received = far.receive(time.monotonic() + 5)
    for end in held:
        os.close(end)
    assert header == message
    assert list(received) == list(sent)
    for name, array in sent.items():
        assert received[name].dtype == array.dtype and received[name].shape == array.shape
        np.testing.assert_array_equal(received[name], array)


@settings(max_examples=50)
@given(st.binary(min_size=4, max_size=400))
def test_no_bytes_bring_more_than_a_named_fault(data):
    _, far, held = pipes()
    os.write(held[3], data)
    try:
        far.receive(time.monotonic() + 0.02)
    except (MessageError, SilenceError) as fault:
        assert isinstance(fault, TimeoutError) or str(fault).startswith("sent ")
    finally:
        for end in held:
            os.close(end)


def test_a_frame_larger_than_the_pipe_does_not_wait_for_ever():
    near, _, held = pipes()
    with pytest.raises(SilenceError):
        near.send({"type": "act"}, {"rgb": np.zeros((1000, 1000, 3), np.uint8)}, time.monotonic() + 0.2)
    for end in held:
        os.close(end)
