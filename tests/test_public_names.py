import subprocess
import sys
from inspect import getdoc

import pytest

import zerosum as zs

EVERYTHING = """
import sys, pkgutil, importlib
sys.modules["torchvision"] = None
import zerosum
names = [module.name for module in pkgutil.walk_packages(zerosum.__path__, "zerosum.")]
for name in names:
    if not name.endswith("__main__"):
        importlib.import_module(name)
for name in zerosum.__all__:
    getattr(zerosum, name)
print(len(names))
"""


def test_what_is_public_is_what_dir_shows():
    assert sorted(zs.__all__) == sorted(set(dir(zs)) - {"__version__"})
    assert len(zs.__all__) == len(set(zs.__all__))


@pytest.mark.parametrize("name", zs.__all__)
def test_every_public_name_is_there_and_explains_itself(name):
    public = getattr(zs, name)
    if isinstance(public, dict):
        assert public, "a table has rows"
    else:
        assert getdoc(public)
        assert public.__module__.startswith("zerosum.")
        assert public.__name__ == name


@pytest.mark.parametrize("name", ["trian", "_nothing", "errors_"])
def test_what_is_not_public_is_not_there(name):
    with pytest.raises(AttributeError, match=f"module 'zerosum' has no attribute '{name}'"):
        getattr(zs, name)


def test_everything_can_be_imported_at_once():
    names = {}
    exec("from zerosum import *", names)
    assert names.keys() - {"__builtins__"} == set(zs.__all__)


def test_the_version_is_that_of_the_package():
    from importlib.metadata import version

    assert zs.__version__ == version("zerosum")


def test_importing_zerosum_alone_imports_nothing_heavy():
    code = "import sys, zerosum; print({'torch', 'numpy', 'pydantic'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "set()\n"


def test_everything_works_without_torchvision():
    done = subprocess.run([sys.executable, "-c", EVERYTHING], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) > 20
