"""The memory of this machine is read as it is; what is missing is a value with a reason. The driver here is a C file."""

from __future__ import annotations

import os
import sys
import threading
from dataclasses import replace

import pytest
from fake_nvml import LOST, MISMATCH, NOT_LOADED, NOT_SUPPORTED, TIMEOUT, FakeNvml, card, load

from vwt_agents import devices
from vwt_agents.devices import Device, Reader, budget
from vwt_agents.devices.nvml import REOPEN_S
from vwt_agents.types import MIB


@pytest.fixture
def driver(tmp_path, monkeypatch) -> FakeNvml:
    return load(tmp_path, monkeypatch)


def gpus(found: devices.Found) -> list[Device]:
    assert found.devices[-1].name == "cpu"
    return list(found.devices[:-1])


def memory(found: devices.Found) -> dict[str, tuple[int, int, int]]:
    return {device.name: numbers(device) for device in gpus(found)}


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def test_a_gpus_memory_is_what_its_driver_says(driver):
    """Used is total less free: what the driver keeps for itself cannot be had either."""
    driver.play(card(1200, uuid="GPU-1"))
    found = devices.find()
    assert gpus(found) == [
        Device("gpu0", "gpu", 16303, 1200, 15103, "NVIDIA GeForce RTX 5080", uuid="GPU-1"),
    ]
    assert (found.reason, found.hint) == ("", "")
    assert driver.calls() == ["init", "shutdown"]


def test_gpus_are_numbered_in_the_drivers_order(driver):
    driver.play(card(100), card(200, total=24564), card(300))
    assert memory(devices.find()) == {
        "gpu0": (16303, 100, 16203),
        "gpu1": (24564, 200, 24364),
        "gpu2": (16303, 300, 16003),
    }


def test_a_gpu_that_is_lost_from_the_start_has_no_memory_and_a_problem(driver):
    driver.play(card(100, code=LOST), card(200))
    found = devices.find()
    lost, other = gpus(found)
    assert numbers(lost) == (0, 0, 0)
    assert numbers(other) == (16303, 200, 16103)
    assert found.reason == "gpu0: it does not answer: GPU is lost"
    assert "dmesg" in found.hint
    assert budget(lost, "auto", 1536).mib == 0
    assert budget(lost, 14000, 1536).arithmetic == "gpu0: 0 MiB: it does not answer: GPU is lost"


def test_what_others_take_is_seen_while_nvml_stays_open(driver):
    driver.play(card(100))
    with Reader() as reader:
        seen = []
        for used in (100, 4100, 9000, 300):
            driver.play(card(used))
            seen.append(memory(reader.read())["gpu0"][1])
    assert seen == [100, 4100, 9000, 300]
    assert driver.calls() == ["init", "shutdown"]


def test_a_gpu_lost_later_keeps_its_name_and_the_others_theirs(driver):
    """The driver counts those that are left anew; a name stays with its card."""
    clock = Clock()
    first, second, third = (card(number, uuid=f"GPU-{number}") for number in (100, 200, 300))
    with Reader(clock=clock) as reader:
        driver.play(first, second, third)
        reader.read()
        driver.play(first, card(200, uuid="GPU-200", code=LOST), third)
        lost = gpus(reader.read())[1]
        assert (lost.name, lost.free_mib, lost.problem) == ("gpu1", 0, "it does not answer: GPU is lost")
        driver.play(first, third)
        found = reader.read()
        assert memory(found) == {
            "gpu0": (16303, 100, 16203),
            "gpu1": (16303, 16303, 0),
            "gpu2": (16303, 300, 16003),
        }
        assert found.reason == "gpu1: it is not there any more"
        # looked for again now and then, and found once it is back
        assert driver.calls() == ["init"]
        clock.now += REOPEN_S
        reader.read()
        reader.read()
        assert driver.calls() == ["init", "shutdown", "init"]
        driver.play(first, second, third)
        assert [device.problem for device in gpus(reader.read())] == ["", "", ""]


def test_a_driver_that_goes_away_leaves_devices_with_a_problem(driver):
    clock = Clock()
    with Reader(clock=clock) as reader:
        driver.play(card(100))
        reader.read()
        driver.play("count 1", card(100))
        assert gpus(reader.read())[0].problem == "it is not there any more"
        driver.play(f"init {NOT_LOADED}")
        clock.now += REOPEN_S
        reader.read()
        assert gpus(reader.read())[0].free_mib == 0


def test_a_card_that_does_not_answer_once_is_as_it_was(driver):
    with Reader() as reader:
        driver.play(card(100))
        reader.read()
        driver.play(card(900), f"fails nvmlDeviceGetMemoryInfo {TIMEOUT}")
        assert gpus(reader.read()) == [Device("gpu0", "gpu", 16303, 100, 16203, "NVIDIA GeForce RTX 5080")]


def test_the_instances_of_a_divided_gpu_are_devices_and_it_is_none(driver):
    driver.play(
        card(900, total=40960, mig=1, uuid="GPU-A"),
        card(200, uuid="GPU-B"),
        "part 0 9856 100 7",
        "part 0 9856 100 7",  # a second compute instance in the memory of the first
        "part 0 19968 4000 9",
    )
    found = devices.find()
    assert memory(found) == {"gpu0:0": (9856, 100, 9756), "gpu0:1": (19968, 4000, 15968), "gpu1": (16303, 200, 16103)}
    assert [device.uuid for device in gpus(found)] == ["MIG-0", "MIG-2", "GPU-B"]
    assert gpus(found)[0].detail == "NVIDIA A100 MIG 1g.10gb"


def test_a_divided_gpu_that_is_lost_takes_its_instances_along(driver):
    with Reader() as reader:
        driver.play(card(total=40960, mig=1, uuid="GPU-A"), "part 0 9856 100 7", "part 0 9856 100 8")
        reader.read()
        driver.play(card(total=40960, mig=1, uuid="GPU-A", code=LOST), "part 0 9856 100 7", "part 0 9856 100 8")
        assert [(device.name, device.free_mib) for device in gpus(reader.read())] == [("gpu0:0", 0), ("gpu0:1", 0)]


def test_mig_without_instances_is_a_problem_that_says_so(driver):
    driver.play(card(total=40960, mig=1))
    assert "no instances" in gpus(devices.find())[0].problem


def test_a_gpu_without_memory_of_its_own_has_the_hosts(driver):
    driver.play(card(uuid="GPU-1"), f"fails nvmlDeviceGetMemoryInfo {NOT_SUPPORTED}")
    found = devices.find()
    gpu, host = found.devices
    assert gpu.shares_host
    assert (gpu.kind, gpu.total_mib, gpu.detail) == (
        "gpu",
        host.total_mib,
        "NVIDIA GeForce RTX 5080, memory shared with the CPU",
    )
    assert "10 % of it" in budget(gpu, "auto", 1536).arithmetic


def test_who_takes_the_most_is_named(driver, tmp_path):
    driver.play(card(5000), f"process 0 {os.getpid()} 3100", "process 0 77 900")
    (tmp_path / f"proc/{os.getpid()}").mkdir(parents=True)
    (tmp_path / f"proc/{os.getpid()}/comm").write_text("ollama\n")
    with Reader(root=tmp_path) as reader:
        assert gpus(reader.read(who=True))[0].taken_by == f"3100 MiB by process {os.getpid()} (ollama)"


def test_in_a_container_a_pid_has_no_name(driver, tmp_path):
    (tmp_path / ".dockerenv").touch()
    driver.play(card(5000), f"process 0 {os.getpid()} 3100")
    with Reader(root=tmp_path) as reader:
        assert gpus(reader.read(who=True))[0].taken_by == f"3100 MiB by process {os.getpid()}"


@pytest.mark.parametrize(
    "lines",
    [("process 0 4242 -1",), (), ("process 0 4242 10", "fails nvmlDeviceGetComputeRunningProcesses_v3 3")],
    ids=["WSL", "nobody", "not supported"],
)
def test_where_the_driver_does_not_tell_nobody_is_named(driver, lines):
    driver.play(card(5000), *lines)
    assert gpus(devices.find())[0].taken_by == ""


def test_an_old_driver_is_asked_what_it_knows(tmp_path, monkeypatch):
    """It has neither the newer kinds of memory figures, nor of process lists, nor MIG."""
    driver = load(tmp_path, monkeypatch, "-DOLD")
    driver.play(card(1200, uuid="GPU-1"), "process 0 999999999 700")
    (gpu,) = gpus(devices.find())
    assert (numbers(gpu), gpu.taken_by) == ((16303, 1200, 15103), "700 MiB by process 999999999")


@pytest.mark.parametrize(
    ("scene", "reason", "hint"),
    [
        ("count 0", "the driver knows none", "install the NVIDIA driver"),
        (f"init {NOT_LOADED}", "Driver Not Loaded", "install the NVIDIA driver"),
        (f"init {MISMATCH}", "of different versions", "restart the machine"),
        ("count 999", "Unknown Error", "install the NVIDIA driver"),
    ],
)
def test_without_gpus_there_is_a_reason_and_what_to_do(driver, scene, reason, hint, tmp_path):
    driver.play(scene)
    with Reader(root=tmp_path) as reader:
        found = reader.read()
    assert gpus(found) == []
    assert reason in found.reason
    assert hint in found.hint


@pytest.mark.parametrize("scene", ["count 0", f"init {NOT_LOADED}"])
def test_a_container_without_its_gpus_is_told_how_to_get_them(driver, scene, tmp_path):
    (tmp_path / "run").mkdir()
    (tmp_path / "run/.containerenv").touch()
    driver.play(scene)
    with Reader(root=tmp_path) as reader:
        assert "--gpus all" in reader.read().hint


def test_without_the_library_there_is_a_reason(monkeypatch):
    monkeypatch.setitem(sys.modules, "pynvml", None)
    found = devices.find()
    assert gpus(found) == []
    assert "nvidia-ml-py" in found.reason


def test_nobody_waits_behind_a_look_that_hangs(driver, monkeypatch):
    """A driver that has lost its card may not come back; the last look that did stands."""
    driver.play(card(100))
    entered, gate = threading.Event(), threading.Event()
    with Reader() as reader:
        before = reader.read()

        def hang(**_how):
            entered.set()
            gate.wait(10)
            return before

        monkeypatch.setattr(reader._nvml, "look", hang)
        hung = threading.Thread(target=reader.read)
        hung.start()
        assert entered.wait(10)
        assert reader.read() == before
        reader.close()
        gate.set()
        hung.join()


def machine(root, files: dict[str, str]):
    meminfo = {"proc/meminfo": f"MemTotal: {16000 * 1024} kB\nMemFree: 10 kB\nMemAvailable: {12000 * 1024} kB\n"}
    for path, text in (meminfo | files).items():
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_text(text)
    return devices.cpu(root)


def numbers(device: Device) -> tuple[int, int, int]:
    return device.total_mib, device.used_mib, device.free_mib


def test_the_cpus_memory_is_what_can_be_had_without_swapping(tmp_path):
    assert numbers(machine(tmp_path, {})) == (16000, 4000, 12000)


def test_the_nearest_limit_of_the_control_groups_counts(tmp_path):
    device = machine(
        tmp_path,
        {
            "proc/self/cgroup": "0::/user/job\n",
            "sys/fs/cgroup/user/memory.max": f"{8000 * MIB}\n",
            "sys/fs/cgroup/user/memory.current": f"{3000 * MIB}\n",
            "sys/fs/cgroup/user/memory.stat": f"anon 1\ninactive_file {1000 * MIB}\n",
            "sys/fs/cgroup/user/job/memory.max": "max\n",
            "sys/fs/cgroup/user/job/memory.current": "5\n",
        },
    )
    assert numbers(device) == (8000, 2000, 6000)
    assert "control group" in device.detail


def test_a_container_sees_its_limit_at_the_mount(tmp_path):
    files = {"memory.max": f"{4000 * MIB}", "memory.current": f"{1000 * MIB}"}
    device = machine(
        tmp_path,
        {"proc/self/cgroup": "0::/docker/1f\n", **{f"sys/fs/cgroup/{name}": text for name, text in files.items()}},
    )
    assert numbers(device) == (4000, 1000, 3000)


def test_the_limits_of_the_first_control_groups_count_too(tmp_path):
    base = "sys/fs/cgroup/memory"
    device = machine(
        tmp_path,
        {
            "proc/self/cgroup": "5:cpu,cpuacct:/\n3:memory:/job\n",
            f"{base}/memory.limit_in_bytes": "9223372036854771712",
            f"{base}/memory.usage_in_bytes": f"{9000 * MIB}",
            f"{base}/job/memory.limit_in_bytes": f"{2000 * MIB}",
            f"{base}/job/memory.usage_in_bytes": f"{500 * MIB}",
        },
    )
    assert numbers(device) == (2000, 500, 1500)


def test_without_proc_the_system_is_asked(tmp_path):
    device = devices.cpu(tmp_path)
    assert device.total_mib == os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // MIB
    assert 0 < device.free_mib <= device.total_mib


@pytest.mark.parametrize(
    ("device", "setting", "ours", "mib", "arithmetic"),
    [
        (
            (16303, 1200),
            "auto",
            0,
            13567,
            "gpu0: 16303 MiB total - 1536 MiB reserve = 14767 MiB, less 1200 MiB that others take now = 13567 MiB",
        ),
        ((16303, 5200), "auto", 4000, 13567, "less 1200 MiB that others take now"),
        ((16303, 100), "auto", 4000, 14767, "1536 MiB reserve = 14767 MiB"),
        ((1000, 0), "auto", 0, 0, "= 0 MiB"),
        ((16303, 15000), "auto", 0, 0, "less 15000 MiB that others take now = 0 MiB"),
        ((16303, 1200), 14000, 0, 14000, "14000 MiB as set"),
        ((16303, 3200), 14000, 0, 13103, "14000 MiB as set, of 16303 MiB, less 897 MiB that others take of it = 13103"),
        ((16303, 0), 49152, 0, 16303, "it has only 16303 MiB"),
    ],
)
def test_a_gpus_budget_is_what_others_and_the_reserve_leave(device, setting, ours, mib, arithmetic):
    total, used = device
    found = budget(Device("gpu0", "gpu", total, used, total - used, ""), setting, 1536, ours=ours)
    assert found.mib == mib
    assert arithmetic in found.arithmetic


@pytest.mark.parametrize(
    ("total", "free", "ours", "mib"),
    [(32000, 20000, 0, 16800), (8000, 6000, 0, 4464), (8000, 5000, 1000, 4464), (8000, 700, 0, 0)],
)
def test_the_cpus_budget_keeps_a_tenth_or_the_reserve(total, free, ours, mib):
    found = budget(Device("cpu", "cpu", total, total - free, free, ""), "auto", 1536, ours=ours)
    assert found.mib == mib
    assert f"= {mib} MiB" in found.arithmetic


def test_a_ceiling_is_what_is_left_once_others_have_gone():
    found = budget(Device("gpu0", "gpu", 16303, 5000, 11303, ""), "auto", 1536)
    assert (found.ceiling, found.occupied, found.mib) == (14767, 5000, 9767)


def test_the_arithmetic_names_who_takes_the_most():
    device = replace(Device("gpu0", "gpu", 16303, 4300, 12003, ""), taken_by="3100 MiB by process 4242 (ollama)")
    assert (
        "less 4300 MiB that others take now (3100 MiB by process 4242 (ollama)) ="
        in budget(device, "auto", 1536).arithmetic
    )
