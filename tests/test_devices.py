"""The memory of this machine is read as it is; what is missing is a value with a reason. The driver here is a C file."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys

import pytest

from vwt_agents import devices
from vwt_agents.devices import Device, budget
from vwt_agents.types import MIB

NVML = r"""
#include <stdio.h>
#include <string.h>
#include <stdlib.h>
typedef struct { unsigned long long total, free, used; } memory_v1;
typedef struct { unsigned int version; unsigned long long total, reserved, free, used; } memory_v2;
static int lost(void *device) { const char *which = getenv("FAKE_LOST"); return which && atoi(which) == (int)(long)device - 1; }
int nvmlInit_v2(void) { return getenv("FAKE_INIT") ? atoi(getenv("FAKE_INIT")) : 0; }
int nvmlInitWithFlags(unsigned int flags) { return nvmlInit_v2(); }
int nvmlShutdown(void) { fputs("shut down\n", stderr); return 0; }
int nvmlDeviceGetCount_v2(unsigned int *count) { *count = getenv("FAKE_COUNT") ? atoi(getenv("FAKE_COUNT")) : 2; return 0; }
int nvmlDeviceGetHandleByIndex_v2(unsigned int index, void **device) { *device = (void *)(long)(index + 1); return 0; }
int nvmlDeviceGetName(void *device, char *name, unsigned int length) {
    snprintf(name, length, "NVIDIA GeForce RTX 5080"); return lost(device) ? 15 : 0; }
int nvmlDeviceGetMemoryInfo(void *device, memory_v1 *memory) {
    memory->total = 16303ull << 20; memory->free = 15103ull << 20; memory->used = 800ull << 20; return lost(device) ? 15 : 0; }
int nvmlDeviceGetMemoryInfo_v2(void *device, memory_v2 *memory) {
    memory->total = 16303ull << 20; memory->free = 15103ull << 20; memory->used = 800ull << 20;
    memory->reserved = 400ull << 20; return lost(device) ? 15 : 0; }
const char *nvmlErrorString(int result) { return result == 15 ? "GPU is lost" : result == 9 ? "Driver Not Loaded" : "Unknown"; }
"""
LOOK = """
import json
from vwt_agents import devices
found = devices.find()
print(json.dumps([[[d.name, d.kind, d.total_mib, d.used_mib, d.free_mib, d.detail] for d in found.devices], found.reason]))
"""
GPU = ["gpu0", "gpu", 16303, 1200, 15103, "NVIDIA GeForce RTX 5080"]


@pytest.fixture(scope="module")
def driver(tmp_path_factory):
    compiler = shutil.which("cc")
    if compiler is None:
        pytest.skip("no C compiler here")
    folder = tmp_path_factory.mktemp("nvml")
    (folder / "nvml.c").write_text(NVML)
    library = folder / "libnvidia-ml.so.1"
    subprocess.run([compiler, "-shared", "-fPIC", "-o", library, folder / "nvml.c"], check=True)

    def look(**env: str):
        done = subprocess.run(
            [sys.executable, "-c", LOOK],
            env={**os.environ, "LD_LIBRARY_PATH": str(folder), **env},
            capture_output=True,
            text=True,
            check=True,
        )
        found, reason = json.loads(done.stdout)
        return found, reason, done.stderr

    return look


def test_a_gpus_memory_is_what_its_driver_says(driver):
    """Used is total less free: what the driver keeps for itself cannot be had either."""
    found, reason, stderr = driver()
    assert found[:-1] == [GPU, ["gpu1", *GPU[1:]]]
    assert found[-1][0] == "cpu"
    assert reason == ""
    assert "shut down" in stderr


def test_a_lost_gpu_is_left_out_with_a_reason(driver):
    found, reason, stderr = driver(FAKE_LOST="0")
    assert [device[0] for device in found] == ["gpu1", "cpu"]
    assert reason == "gpu0 does not answer: GPU is lost"
    assert "shut down" in stderr


def test_a_driver_that_is_not_loaded_is_a_reason(driver):
    found, reason, _ = driver(FAKE_INIT="9")
    assert [device[0] for device in found] == ["cpu"]
    assert "Driver Not Loaded" in reason


def test_a_driver_without_gpus_is_a_reason(driver):
    found, reason, _ = driver(FAKE_COUNT="0")
    assert [device[0] for device in found] == ["cpu"]
    assert "the driver knows none" in reason


def test_without_the_library_there_is_a_reason(monkeypatch):
    monkeypatch.setitem(sys.modules, "pynvml", None)
    found = devices.find()
    assert [device.name for device in found.devices] == ["cpu"]
    assert "nvidia-ml-py" in found.reason
    assert devices.discover() == found.devices


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
        ((16303, 1200), "auto", 0, 13567, "16303 MiB total - 1200 MiB used by others - 1536 MiB reserve = 13567 MiB"),
        ((16303, 5200), "auto", 4000, 13567, "1200 MiB used by others"),
        ((16303, 100), "auto", 4000, 14767, "0 MiB used by others"),
        ((1000, 0), "auto", 0, 0, "= 0 MiB"),
        ((16303, 1200), 14000, 0, 14000, "14000 MiB as set"),
        ((16303, 1200), 49152, 0, 16303, "it has only 16303 MiB"),
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
