"""The README's Python runs as it stands there."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

README = Path(__file__).parents[1] / "README.md"
BLOCKS = [
    block for block in re.findall(r"```python\n(.*?)```", README.read_text(), re.DOTALL) if "R2R_VLNCE" not in block
]


@pytest.mark.parametrize("block", BLOCKS, ids=range(len(BLOCKS)))
def test_a_block_of_the_readme_runs(block, houses, tmp_path):
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "demo").symlink_to(houses)
    guarded = "if __name__ == '__main__':\n" + "".join(f"    {line}\n" for line in block.splitlines())
    (tmp_path / "block.py").write_text(guarded)
    result = subprocess.run([sys.executable, "block.py"], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    assert result.stdout.strip()


def test_the_readme_names_only_shipped_recipes_and_known_protocols():
    from navloop.configs.loader import list_recipes

    text = README.read_text()
    assert not re.search(r"[A-Z]+_OUTPUT", text)
    named = set(re.findall(r"navloop (?:houses|eval|train|pretrain|pipeline|loop|collect|replay) ([a-z]\w+)", text))
    assert len(named) > 12 and named <= set(list_recipes())
    # Asked in a process of its own: other tests may have entered protocols in this one.
    asked = [sys.executable, "-c", "import navloop; print(*navloop.list_protocols())"]
    protocols = subprocess.run(asked, capture_output=True, text=True, check=True).stdout.split()
    assert protocols and all(f"`{name}`" in text for name in protocols)
