"""Provenance tells the code by its commit only where it is that checkout's own."""

import subprocess

import navloop
from navloop import provenance


def test_a_checkout_is_named_by_its_head(tmp_path, monkeypatch):
    def git(*arguments):
        name = ["-c", "user.name=n", "-c", "user.email=e@example.org"]
        return subprocess.run(
            ["git", *name, "-C", tmp_path, *arguments], check=True, capture_output=True, text=True
        ).stdout

    package = tmp_path / "core"
    package.mkdir()
    (package / "__init__.py").write_text("")
    monkeypatch.setattr(navloop, "__file__", str(package / "__init__.py"))
    assert set(provenance.provenance()["code"]) == {"navloop"}
    git("init", "-q")
    assert set(provenance.provenance()["code"]) == {"navloop"}  # inside a stranger's checkout, untracked
    git("add", "core")
    git("commit", "-qm", "first")
    code = provenance.provenance()["code"]
    assert code == {"navloop": navloop.__version__, "commit": git("rev-parse", "HEAD").strip(), "dirty": False}
    (package / "__init__.py").write_text("changed = True\n")
    assert provenance.provenance()["code"]["dirty"] is True


def test_versions_are_those_installed():
    import numpy
    import scipy

    versions = provenance.package_versions()
    assert versions["numpy"] == numpy.__version__
    assert versions["scipy"] == scipy.__version__
    assert "navloop" not in versions
