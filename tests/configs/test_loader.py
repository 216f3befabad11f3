"""Recipes are read strictly, and every fault names its place and its mend."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from navloop.configs.fields import list_fields
from navloop.configs.kinds import KINDS, STAGES, TASKS
from navloop.configs.loader import RecipeError, dump, list_recipes, load
from navloop.configs.schema import EvalConfig, HousesConfig, ReportConfig

EVAL = "kind: eval\nscenes: s\nepisodes: e.json.gz\nprotocol: houses\nagents: [expert]\n"
names = st.from_regex(r"\A[A-Za-z0-9_-]{1,12}\Z")
# Texts that YAML would take for something else are the interesting ones.
words = st.one_of(
    st.text(min_size=1, max_size=20), st.sampled_from(["1e-3", "null", "yes", "2024-01-01", "0x1F", "~", "- a", "1_0"])
)
reports = st.builds(
    ReportConfig,
    agent=st.none() | words,
    maps=st.integers(0, 60),
    videos=st.integers(0, 20),
    video_size=st.integers(64, 540).map(lambda half: 2 * half),
    video_fps=st.integers(1, 60),
)
evals = st.builds(
    EvalConfig,
    name=names,
    seed=st.integers(0, 2**62),
    scenes=words,
    episodes=words,
    protocol=words,
    agents=st.lists(words, min_size=1, max_size=4, unique=True).map(tuple),
    max_episodes=st.none() | st.integers(1, 10**6),
    workers=st.integers(0, 256),
    report=reports,
)
houses = st.builds(HousesConfig, name=names, seed=st.integers(0, 2**62), train_houses=st.integers(0, 10**6))


def write(tmp_path, text):
    path = tmp_path / "recipe.yaml"
    path.write_text(text, encoding="utf-8")
    return path


@given(evals | houses)
def test_a_dumped_config_loads_as_itself(tmp_path_factory, config):
    path = write(tmp_path_factory.mktemp("recipe"), dump(config))
    assert load(path) == config
    assert load(path, kind=config.kind) == config


@pytest.mark.parametrize("name", list_recipes())
def test_every_shipped_recipe_loads_by_name(name):
    assert load(name).kind in (name.split("_")[0], "pretrain", "train", "pipeline")


@pytest.mark.parametrize("schema", [*KINDS.values(), *STAGES.values(), *TASKS.values()])
def test_every_field_is_described(schema):
    assert [field.path for field in list_fields(schema) if not field.description.endswith(".")] == []


@pytest.mark.parametrize(
    ("override", "path", "value"),
    [
        ("seed=7", "seed", 7),
        ("agents=expert,random", "agents", ("expert", "random")),
        ("agents=[expert, 'random']", "agents", ("expert", "random")),
        ("agents=1", "agents", ("1",)),
        ("max_episodes=5", "max_episodes", 5),
        ("max_episodes=null", "max_episodes", None),
        ("episodes=a=b", "episodes", "a=b"),
        ("protocol=null", "protocol", "null"),
        ("report.maps=0", "report.maps", 0),
        ("report.agent=random", "report.agent", "random"),
    ],
)
def test_an_override_is_read_by_the_type_of_its_field(tmp_path, override, path, value):
    found = load(write(tmp_path, EVAL), [override])
    for name in path.split("."):
        found = getattr(found, name)
    assert found == value


def test_sections_that_may_be_null_take_overrides(tmp_path):
    text = (
        "kind: pretrain\nstage: contrastive\nencoder: e\nclips: {manifest: [a]}\nengine: {batch: 2, lr: 1, steps: 1}\n"
    )
    path = write(tmp_path, text)
    assert load(path).images is None
    found = load(path, ["images.manifest=b,c", "images.batch=4", "images.augmentation.flip=0.5"])
    assert (found.images.manifest, found.images.batch, found.images.augmentation.flip) == (("b", "c"), 4, 0.5)
    again = write(tmp_path, dump(found))
    assert load(again) == found
    assert load(again, ["images=null"]) == load(path, ["images=null"]) == load(write(tmp_path, text))
    with pytest.raises(RecipeError, match=r"unknown key 'images.bach'; did you mean 'images.batch'\?"):
        load(path, ["images.bach=4"])
    with pytest.raises(RecipeError, match=r"the field images.batch is missing; it must be integer, at least 1"):
        load(path, ["images.manifest=b"])


def test_later_overrides_win(tmp_path):
    assert load(write(tmp_path, EVAL), ["seed=1", "seed=2"]).seed == 2


@pytest.mark.parametrize(
    ("text", "overrides", "message"),
    [
        (EVAL + "sed: 1\n", [], r"recipe.yaml, line 6: unknown key 'sed'; did you mean 'seed'\?"),
        (EVAL + "report:\n  map: 1\n", [], r"line 7: unknown key 'report.map'; did you mean 'report.maps'\?"),
        (EVAL + "maps: 1\n", [], r"unknown key 'maps'; did you mean 'report.maps'\?"),
        (EVAL, ["reprt.maps=1"], r"override 'reprt.maps=1': unknown key 'reprt.maps'; did you mean 'report.maps'\?"),
        (EVAL + "seed: -1\n", [], r"recipe.yaml, line 6: seed is -1; it must be integer, at least 0"),
        (EVAL + "seed: '1'\n", [], r"line 6: seed is '1'; it must be integer"),
        (EVAL + "seed: 1.0\n", [], r"line 6: seed is 1.0; it must be integer"),
        (EVAL + "seed: true\n", [], r"line 6: seed is True; it must be integer"),
        (EVAL + "seed: 2024-01-01\n", [], r"line 6: seed is '2024-01-01'; it must be integer"),
        (EVAL + "report: {video_size: 129}\n", [], r"report.video_size is 129; it must be integer, a multiple of 2, from 128 to 1080"),
        (EVAL + "world: matrix\n", [], r"world is 'matrix'; it must be one of embedded, habitat"),
        (EVAL + "agents: expert\n", [], r"line 6: 'agents' is already set on line 5"),
        (EVAL + "report:\n  maps: 1\n  maps: 2\n", [], r"line 8: 'maps' is already set on line 7"),
        (EVAL, ["workers=many"], r"override 'workers=many': workers is 'many'; it must be integer, from 0 to 256"),
        (EVAL, ["report=1"], r"report is a section; set one of report.agent, report.maps"),
        (EVAL, ["workers"], r"override 'workers': write it as key=value"),
        (EVAL, ["kind=houses"], r"the kind of a recipe is not for overriding"),
        (EVAL.replace("protocol: houses\n", ""), [], r"the field protocol is missing; it must be text"),
        ("seed: 1\n", [], r"does not say its kind; begin it with 'kind: eval'"),
        ("kind: evl\n", [], r"has the unknown kind 'evl'"),
        ("kind: houses\n", [], r"this recipe is for 'navloop houses', not for 'navloop eval'"),
        ("- a\n", [], r"a recipe is a list of 'key: value' lines"),
        ("", [], r"a recipe is a list of 'key: value' lines"),
        ("a: [1\n", [], r"recipe.yaml: not valid YAML: .*line 2"),
    ],
)  # fmt: skip
def test_a_fault_names_its_place_and_its_mend(tmp_path, text, overrides, message):
    with pytest.raises(RecipeError, match=message):
        load(write(tmp_path, text), overrides, kind="eval")


def test_all_faults_are_told_at_once(tmp_path):
    with pytest.raises(RecipeError) as error:
        load(write(tmp_path, EVAL + "seed: -1\nsed: 2\n"), ["workers=-3"])
    assert len(str(error.value).splitlines()) == 3


def test_a_missing_recipe_names_those_that_ship():
    with pytest.raises(RecipeError, match=r"recipe 'eval_dmo': no such file.*did you mean 'eval_demo'\?"):
        load("eval_dmo")
    with pytest.raises(RecipeError) as error:
        load("maskd_tiny", kind="pretrain")
    assert "did you mean 'masked_tiny'?" in str(error.value) and "imitation_tiny" not in str(error.value)


def test_a_list_of_sections_is_set_in_a_line():
    walks = load("imitation_tiny", ["walks=[{folder: out/walks, episodes: 'out/train.json.gz'}]"]).walks
    assert [(one.folder, one.episodes) for one in walks] == [("out/walks", "out/train.json.gz")]
    for wrong in ("[{folder: a}]", "[a, b]", "[{folder", "a"):
        with pytest.raises(RecipeError, match=r"walks"):
            load("imitation_tiny", [f"walks={wrong}"])


def test_python_objects_in_yaml_are_refused(tmp_path):
    with pytest.raises(RecipeError, match="not valid YAML"):
        load(write(tmp_path, EVAL + "seed: !!python/object/apply:os.getpid []\n"))
