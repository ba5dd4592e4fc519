"""However Python was called, programs in a sandbox run under the same one, in the same environment."""

from __future__ import annotations

import os
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

from vwt_agents.sandbox import layout
from vwt_agents.sandbox.base import Mount, python
from vwt_agents.sandbox.layout import Step, interpreter_links

BASE = Path(sys.base_prefix)
RUN = (
    "import anyio, sys\nfrom vwt_agents.sandbox.service import Sandbox\n"
    "async def go():\n    sandbox = await Sandbox.open(sys.argv[1])\n"
    "    done = await sandbox.run({'a.py': 'import sys; print(sys.prefix, sys.base_prefix)'}, 'a.py')\n"
    "    print(done.stdout.decode() or done, end='')\n"
    "print(sys.prefix, sys.base_prefix)\nanyio.run(go)\n"
)


def base_python():
    return next(one for one in (BASE / "bin").glob("python3.*[0-9]") if not one.is_symlink())


def venv(place: Path, link: Path) -> Path:
    (place / "bin").mkdir(parents=True)
    (place / "pyvenv.cfg").write_text(f"home = {link.parent}\n")
    (place / "bin/python").symlink_to("python3")
    (place / "bin/python3").symlink_to(link)
    return place / "bin/python"


def by_a_link(place):
    (place / "python").symlink_to(base_python())
    return place / "python"


def by_a_linked_folder(place):
    (place / "bin").symlink_to(BASE / "bin")
    return place / "bin" / base_python().name


def by_the_way_back_from_a_link(place):
    (place / "other").symlink_to(BASE / "lib")
    return f"{place}/other/../bin/{base_python().name}"


def by_a_relative_path(place):
    return os.path.relpath(by_a_link(place), "/")


def by_a_venv(place):
    return venv(place / "venv", base_python())


def by_a_venv_and_the_way_back(place):
    venv(place / "venv", base_python())
    return f"{place}/venv/bin/../bin/python"


def by_a_venv_behind_a_link(place):
    venv(place / "venv", base_python())
    (place / "link").symlink_to("venv")
    return place / "link/bin/python"


def by_a_venv_of_a_linked_python(place):
    return venv(place / "venv", by_a_linked_folder(place))


def by_a_venv_of_a_python_behind_many_links(place):
    (place / "far").mkdir()
    (place / "far/python3").symlink_to("python")
    (place / "far/python").symlink_to(f"../bin/{by_a_linked_folder(place).name}")
    return venv(place / "venv", place / "far/python3")


WAYS = [one for name, one in list(globals().items()) if name.startswith("by_")]


def called(python, backend):
    env = {**os.environ, "PYTHONPATH": os.pathsep.join([str(Path(__file__).parents[2]), sysconfig.get_path("purelib")])}
    return subprocess.run(
        [str(python), "-c", RUN, backend], cwd="/", env=env, capture_output=True, text=True, check=False
    )


@pytest.mark.parametrize("way", WAYS)
def test_a_program_runs_under_the_python_that_called_it(way, backend_name, tmp_path):
    packages = os.pathsep.join([str(Path(__file__).parents[2]), sysconfig.get_path("purelib")])
    argv = [str(way(tmp_path)), "-c", RUN, backend_name]
    done = subprocess.run(
        argv, cwd="/", env={**os.environ, "PYTHONPATH": packages}, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    outside, inside = done.stdout.splitlines()
    assert inside == outside


def test_a_python_that_takes_a_link_for_its_own_folder_runs_too(best, tmp_path):
    (tmp_path / "lib").symlink_to(BASE / "lib")
    done = called(f"{tmp_path}/lib/../bin/{base_python().name}", best)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == [f"{tmp_path} {tmp_path}", f"{BASE} {BASE}"]


def test_a_path_of_this_environment_is_left_as_it_is():
    assert python() == sys.executable


def test_links_that_a_mount_shows_or_that_lead_to_one_are_not_made_again(tmp_path, monkeypatch):
    for name in ("seen", "way", "other"):
        (tmp_path / name).mkdir()
    (tmp_path / "other/python").symlink_to("../seen/python")
    (tmp_path / "seen/python").symlink_to(tmp_path / "to/python")
    (tmp_path / "to").symlink_to("way")
    (tmp_path / "way/python").symlink_to("python")  # in a circle: whatever comes of it, it ends
    monkeypatch.setattr(layout, "python", lambda: str(tmp_path / "other/python"))
    mounts = [Mount(tmp_path / "seen", str(tmp_path / "seen")), Mount(tmp_path / "way", str(tmp_path / "to/lib"))]
    links = interpreter_links(mounts)
    assert links[0] == Step("symlink", f"{tmp_path}/other/python", "../seen/python")
    assert {link.path for link in links[1:]} == {f"{tmp_path}/way/python"}
