"""More programs that attack the machine they run on. Pure text: the battery runs them and knows what counts as an escape.

`TOGETHER` share one sandbox, each in a process of its own that ends with 99 when it got out. `ALONE` go for process 1, for
what is left when the sandbox ends, or for a limit, so each gets a sandbox of its own and says how its run has to end.
"""

# ruff: noqa: E501 - the lines are programs

PRELUDE = """
import ctypes, errno, fcntl, json, mmap, os, signal, socket, stat, struct, subprocess, sys, threading, time
libc = ctypes.CDLL(None, use_errno=True)
world = json.loads(sys.argv[1])
canary, outside, caller = world["canary"], world["outside"], world["caller"]
def escaped(): os._exit(99)
def reached(number, *args):
    "A system call that a filter should have refused got further than that."
    result = libc.syscall(number, *args)
    if result >= 0 or ctypes.get_errno() not in (errno.EPERM, errno.ENOSYS): escaped()
def opens(*paths, mode=os.O_RDONLY):
    for path in paths:
        try: os.close(os.open(path, mode | os.O_NONBLOCK))
        except OSError: continue
        escaped()
def writes(path, data):
    fd = os.open(path, os.O_WRONLY)
    try: os.write(fd, data)
    finally: os.close(fd)
def tries(*acts):
    for act in acts:
        try: act()
        except OSError: continue
        escaped()
def connects(family, address, kind=socket.SOCK_STREAM):
    try:
        with socket.socket(family, kind) as s:
            s.settimeout(1); s.connect(address)
    except OSError: return
    escaped()
x86 = os.uname().machine == "x86_64"
"""

TOGETHER = {
    # ---- reads
    "reads through its own root link": "opens('/proc/self/root' + canary)",
    "reads through the root link of process 1": "opens('/proc/1/root' + canary, '/proc/1/cwd/..' + canary)",
    "climbs out of the folder it starts in": "opens('../' * 40 + canary.lstrip('/'))",
    "has a descriptor that is not its own": "[os.fstat(fd) and escaped() for fd in range(3, 256) if os.path.exists(f'/proc/self/fd/{fd}')]",
    "asks for a file by its handle": "x86 and reached(303, -100, b'/', bytes(256), bytes(8), 0)",
    "sees that a file is there": "os.stat(canary); escaped()",
    "reads shared memory of the machine": "opens('/dev/shm/' + world['shm'])",
    "opens a disk or memory of the machine": """
opens("/dev/mem", "/dev/kmem", "/dev/port", "/dev/kmsg", "/dev/vda", "/dev/sda", "/dev/nvme0n1", "/dev/fuse", "/dev/kvm")
for kind, number in ((stat.S_IFBLK, (254, 0)), (stat.S_IFBLK, (8, 0)), (stat.S_IFCHR, (1, 1))):
    os.mknod("node", kind | 0o600, os.makedev(*number)); opens("node"); os.unlink("node")
""",
    "reads the kernel's memory and log": """
opens("/proc/kcore", "/proc/kmsg", "/proc/sysrq-trigger", "/sys/kernel/debug/x")
if libc.klogctl(3, ctypes.create_string_buffer(64), 64) >= 0: escaped()
""",
    "reads the memory of process 1": "opens('/proc/1/mem', '/proc/1/maps', '/proc/1/environ', '/proc/1/fd/2', '/proc/1/exe')",
    "copies from the memory of process 1": "x86 and reached(310, 1, None, 0, None, 0, 0); x86 and reached(311, 1, None, 0, None, 0, 0)",
    "finds the accounts of the machine": "len(open('/etc/passwd').readlines()) > 2 and escaped(); opens('/etc/shadow', '/etc/machine-id')",
    "finds the name of the machine": "os.uname().nodename == world['host'] and escaped()",
    "finds another network interface": "len(socket.if_nameindex()) > 1 and escaped()",
    "finds the caller in the list of processes": """
for pid in filter(str.isdigit, os.listdir("/proc")):
    if b"pytest" in open(f"/proc/{pid}/cmdline", "rb").read(): escaped()
""",
    # ---- writes
    "appends to the standard library": "opens(os.__file__, json.__file__, sys.executable, mode=os.O_WRONLY)",
    "leaves a start-up file beside the packages": "opens(f'{sys.prefix}/lib/python3.{sys.version_info[1]}/site-packages/x.pth', mode=os.O_WRONLY | os.O_CREAT)",
    "rewrites the runner's own files": """
for name in os.listdir("/.vwt"):
    opens(f"/.vwt/{name}", mode=os.O_WRONLY)
for act in (lambda: os.rename("/.vwt", "/.old"), lambda: os.unlink("/.vwt/inside.pyc"), lambda: os.utime("/.vwt/inside.pyc"),
            lambda: os.chmod("/.vwt/inside.pyc", 0o777), lambda: os.symlink("/box", "/.vwt/x"), lambda: os.rename("/src", "/s")):
    try: act()
    except OSError: continue
    escaped()
""",
    "makes the root writable again": """
for place in (b"/", b"/usr", b"/dev"):
    if libc.mount(None, place, None, 32 | 4096, None) == 0: escaped()
""",
    "takes a mount away": "[libc.umount2(p, 2) == 0 and escaped() for p in (b'/usr', b'/proc', b'/dev', b'/src', b'/tmp')]",
    "mounts by the new interface": "reached(430, b'tmpfs', 0); reached(428, -100, b'/', 1); reached(442, -100, b'/', 0, bytes(32), 32)",
    "links a file of the machine into its folder": """
for file in (os.__file__, "/etc/hosts", "/bin/sh"):
    try: os.link(file, "linked", follow_symlinks=True)
    except OSError: continue
    opens("linked", mode=os.O_WRONLY); os.unlink("linked")
""",
    "writes settings of the kernel": """
names = ("kernel/core_pattern", "kernel/hostname", "kernel/ns_last_pid", "kernel/modprobe", "vm/overcommit_memory",
         "fs/binfmt_misc/register", "net/ipv4/ip_forward", "net/ipv4/tcp_wmem", "user/max_user_namespaces")
tries(*(lambda path=f"/proc/sys/{name}": writes(path, open(path, "rb").read()) for name in names))
tries(lambda: writes("/proc/sys/vm/drop_caches", b"1"))
""",
    "moves itself to another cgroup": """
for folder, _, files in os.walk("/sys/fs/cgroup"):
    opens(*(f"{folder}/{name}" for name in files if name in ("cgroup.procs", "tasks", "memory.max", "release_agent")), mode=os.O_WRONLY)
""",
    "maps itself to root": """
tries(lambda: writes("/proc/self/uid_map", b"0 0 1"), lambda: writes("/proc/self/gid_map", b"0 0 1"))
""",
    "hides from the killer of big processes": """
tries(lambda: writes("/proc/self/oom_score_adj", b"-1000"), lambda: writes("/proc/1/oom_score_adj", b"-1000"))
""",
    "changes times and modes outside": "tries(*(lambda p=p: os.utime(p) for p in (outside, canary)), lambda: os.chmod(outside, 0o700))",
    # ---- privileges and the kernel's doors
    "clones into a new namespace": """
for flag in (0x10000000, 0x20000000, 0x40000000, 0x20000, 0x08000000, 0x04000000, 0x02000000):
    pid = libc.syscall(56 if x86 else 220, flag | 17, None, None, None, None)
    if pid == 0: os._exit(0)
    if pid > 0: escaped()
""",
    "clones by the newer call": """
pid = libc.syscall(435, struct.pack("=11Q", 0x10000000, 0, 0, 0, 17, 0, 0, 0, 0, 0, 0), 88)
if pid == 0: os._exit(0)
if pid > 0: escaped()
""",
    "enters a namespace": """
for kind in ("user", "mnt", "net", "pid", "uts"):
    for pid in ("self", "1"):
        try: fd = os.open(f"/proc/{pid}/ns/{kind}", os.O_RDONLY)
        except OSError: continue
        if libc.setns(fd, 0) == 0: escaped()
reached(308, os.pidfd_open(os.getpid()), 0x10000000)
""",
    "asks in the numbers of x32": "x86 and (reached(0x40000000 | 272, 0x10000000), reached(0x40000000 | 101, 0, 0, 0, 0))",
    "asks in the numbers of 32 bits": """
if x86:
    code = mmap.mmap(-1, 4096, prot=7)
    code.write(b"\\x53\\xb8" + struct.pack("<I", 310) + b"\\xbb" + struct.pack("<I", 0x10000000) + b"\\xcd\\x80\\x5b\\xc3")
    call = ctypes.CFUNCTYPE(ctypes.c_int)(ctypes.addressof(ctypes.c_char.from_buffer(code)))
    if call() != -38: escaped()
""",
    "may gain privileges by a program": """
said = open("/proc/self/status").read()
if "NoNewPrivs:\\t1" not in said or "Seccomp:\\t2" not in said or "CapEff:\\t0000000000000000" not in said: escaped()
if os.getuid() == 0 or 0 in os.getgroups(): escaped()
""",
    "gives a file capabilities": """
open("capable", "w").close()
os.setxattr("capable", "security.capability", struct.pack("<5I", 0x02000001, 0xFFFFFFFF, 0, 0, 0)); escaped()
""",
    "changes its root": "libc.chroot(b'.') == 0 and escaped()",
    "reaches io_uring": "reached(425, 8, ctypes.create_string_buffer(120))",
    "reaches bpf and perf": "x86 and (reached(321, 0, bytes(64), 64), reached(298, bytes(120), 0, -1, -1, 0))",
    "reaches userfaultfd": "x86 and reached(323, 1)",
    "reaches the keys": "x86 and (reached(248, b'user', b'vwt', b'x', 1, -3), reached(250, 0, -3, 0), reached(249, b'user', b'x', None, 0))",
    "reaches modules and kexec": "x86 and (reached(313, 0, b'', 0), reached(175, None, 0, b''), reached(246, 0, 0, None, 0))",
    "sets the clock or reboots": "x86 and (reached(227, 0, bytes(16)), reached(164, bytes(16), None), reached(169, 0, 0, 0, None))",
    "watches the whole machine's files": "x86 and reached(300, 0, 0)",
    "turns address randomisation off": "x86 and reached(135, 0x0040000)",
    # ---- network and sockets
    "connects over IPv6": "connects(socket.AF_INET6, ('::1', world['port6']))",
    "connects to an abstract socket": "connects(socket.AF_UNIX, '\\0' + world['abstract'])",
    "connects to a socket file": "connects(socket.AF_UNIX, world['socket'])",
    "connects to the services of the machine": """
for path in ("/run/docker.sock", "/var/run/docker.sock", "/run/podman/podman.sock", "/run/dbus/system_bus_socket",
             "/run/systemd/private", "/tmp/.X11-unix/X0", "/.door/socket"):
    connects(socket.AF_UNIX, path)
""",
    "sends a datagram to the machine": "socket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendto(b'x', ('127.0.0.1', world['udp']))",
    "asks the cloud for its keys": "connects(socket.AF_INET, ('169.254.169.254', 80))",
    "resolves a name": "socket.getaddrinfo('example.com', 80); escaped()",
    "opens every odd family of sockets": """
for family in (*range(3, 10), *range(11, 16), *range(17, 46), 0x10000 + 40):
    for kind in (1, 2, 3, 5):
        fd = libc.socket(family, kind, 0)
        if fd >= 0: escaped()
        x86 and reached(53, family, kind, 0, ctypes.create_string_buffer(8))
""",
    "sends to a socket file from a pair of its own": """
one, two = socket.socketpair(type=socket.SOCK_DGRAM)
one.sendto(b"x", world["datagrams"]); escaped()
""",
    "opens a raw socket": "socket.socket(socket.AF_INET, socket.SOCK_RAW, 1); escaped()",
    "gives its interface an address": """
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
fcntl.ioctl(s, 0x8916, struct.pack("16sH2x4s8x", b"lo", 2, bytes([192, 0, 2, 7]))); escaped()
""",
    # ---- process 1 and other processes
    "renices process 1 through its user": "os.setpriority(os.PRIO_USER, 0, 19); escaped()",
    "slows the disk of process 1": "x86 and [libc.syscall(251, *a) == 0 and escaped() for a in ((3, 0, 3 << 13), (1, 1, 3 << 13))]",
    "pins process 1 to a core": "os.sched_setaffinity(1, {0}); escaped()",
    "makes process 1 idle": "os.sched_setscheduler(1, os.SCHED_IDLE, os.sched_param(0)); escaped()",
    "takes a descriptor of process 1": "[reached(438, os.pidfd_open(1), fd, 0) for fd in range(10)]",
    "signals the caller by its number": "caller not in (1, os.getpid(), os.getppid()) and (os.kill(caller, 0), escaped())",
    "compares itself with process 1": "x86 and reached(312, os.getpid(), 1, 2, 0, 0)",
    "writes to descriptors it guesses": """
for fd in range(3, 1024):
    try: os.write(fd, b"{'end': {'exit': 0}}\\n"); escaped()
    except OSError: pass
""",
    # ---- terminals
    "types into the caller's terminal": """
for name in ("/dev/tty", "/dev/console", "/dev/tty0", "/dev/vcs"): opens(name)
for fd in (0, 1, 2):
    try: fcntl.ioctl(fd, 0x5412, b"x"); escaped()
    except OSError: pass
""",
    "types by a request in disguise": """
_, slave = os.openpty()
libc.ioctl.argtypes = [ctypes.c_int, ctypes.c_ulong, ctypes.c_char_p]
for request in (0x5412, 0x100005412, 0xFFFFFFFF00005412, 0x541C, 0x10000541C):
    if libc.ioctl(slave, request, b"x") == 0: escaped()
""",
    # ---- what limits hold
    "opens more files than allowed": "held = [os.open('/dev/null', 0) for _ in range(300)]; escaped()",
    "starts more threads than allowed": """
for _ in range(60): threading.Thread(target=time.sleep, args=(9,), daemon=True).start()
escaped()
""",
    "makes a file larger than allowed": "os.truncate('f', 0) if os.path.exists('f') else open('f', 'w').close(); os.truncate('f', 1 << 40); escaped()",
    "fills the shared memory": """
with open("/dev/shm/x", "wb") as f:
    for _ in range(24): f.write(b"x" * (1 << 20)); f.flush()
escaped()
""",
    "fills the folder for temporary files": """
for n in range(5):
    with open(f"/tmp/x{n}", "wb") as f:
        for _ in range(20): f.write(b"x" * (1 << 20)); f.flush()
escaped()
""",
    "fills folders that should be sealed": """
for place in ("/", "/dev", "/etc", "/usr", "/.vwt", "/dev/pts", "/run", "/var", "/home"): opens(place + "/x", mode=os.O_WRONLY | os.O_CREAT)
""",
    "locks memory": "libc.mlockall(3) == 0 and mmap.mmap(-1, 64 << 20) and escaped()",
    "keeps memory in queues and segments": "x86 and (reached(68, 0, 0o1600), reached(64, 0, 9, 0o1600), reached(240, b'x', 0o102, 0o600, None), reached(447, 0), reached(29, 0, 1 << 20, 0o1600))",
    "keeps memory in locks that are nobody's": "x86 and reached(72, os.open('f', os.O_RDWR | os.O_CREAT), 37, struct.pack('=hhxxxxqqi', 1, 0, 0, 1, 0))",
    "keeps memory in pipes": "r, w = os.pipe(); x86 and reached(278, w, struct.pack('=QQ', ctypes.addressof(ctypes.create_string_buffer(9)), 1), 1, 2)",
    "leaves a core": "pid = os.fork() or os.abort(); os.waitpid(pid, 0); any('core' in n for n in os.listdir('.')) and escaped()",
    "lifts its limits again": """
import resource
for kind in (resource.RLIMIT_NPROC, resource.RLIMIT_NOFILE, resource.RLIMIT_FSIZE, resource.RLIMIT_CPU, resource.RLIMIT_CORE):
    soft, hard = resource.getrlimit(kind)
    if hard == resource.RLIM_INFINITY: escaped()
    try: resource.setrlimit(kind, (hard, hard + 1)); escaped()
    except (OSError, ValueError): pass
""",
}

WORKS_OUTSIDE = (
    "reads through its own root link",
    "climbs out of the folder it starts in",
    "sees that a file is there",
    "reads shared memory of the machine",
    "finds the name of the machine",
    "changes times and modes outside",
    "connects over IPv6",
    "connects to an abstract socket",
    "connects to a socket file",
    "sends to a socket file from a pair of its own",
    "signals the caller by its number",
    "may gain privileges by a program",
    "opens more files than allowed",
    "starts more threads than allowed",
)
"""Those that get out of a plain process, so that the tests which say they do not can fail."""

# name -> (program, how the run may end: its `stopped`, or an exit code)
ALONE = {
    "interrupts process 1": (
        "for _ in range(50):\n    try: os.kill(1, signal.SIGINT)\n    except OSError: pass\ntime.sleep(0.3); print('still here')",
        {0},
    ),
    "sends process 1 every signal": (
        """
for number in range(1, 65):
    try: os.kill(1, number)
    except OSError: pass
time.sleep(0.3); print("still here")
""",
        {0},
    ),
    "kills process 1 by a descriptor": (
        "fd = os.pidfd_open(1)\nfor number in (2, 9, 15, 19):\n    try: signal.pidfd_send_signal(fd, number)\n    except OSError: pass\ntime.sleep(0.3); print('still here')",
        {0},
    ),
    "kills all it can": (
        "try: os.kill(-1, signal.SIGKILL)\nexcept OSError: pass\ntime.sleep(0.3); print('still here')",
        {0},
    ),
    "stops all it can": (
        "try: os.kill(-1, signal.SIGSTOP)\nexcept OSError: pass\ntime.sleep(0.3); print('still here')",
        {0},
    ),
    "keeps the output open after its end": (
        "if os.fork() == 0:\n    os.setsid(); time.sleep(60)\nprint('still here', flush=True); os._exit(0)",
        {0},
    ),
    "detaches eight deaf children": (
        """
for _ in range(8):
    if os.fork() == 0:
        os.setsid()
        if os.fork() == 0:
            libc.prctl(1, 0); libc.prctl(36, 1)
            signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
            os.execv(sys.executable, [sys.executable, "-c", "import time; time.sleep(60)", world["marker"]])
        os._exit(0)
print("still here", flush=True); os._exit(0)
""",
        {0},
    ),
    "forks faster than it can be killed": (
        "while True:\n    try: os.fork()\n    except OSError: pass",
        {"timeout"},
    ),
    "makes zombies faster than they are reaped": (
        "while True:\n    try:\n        if os.fork() == 0:\n            os.fork() and os._exit(0)\n            os._exit(0)\n    except OSError: pass",
        {"timeout"},
    ),
    "makes files without content": (
        "n = 0\nwhile True:\n    n += 1\n    os.mknod(f'{n}')",
        {"disk"},
    ),
    "makes folders in the shared memory": ("n = 0\nwhile True:\n    n += 1\n    os.mkdir(f'/dev/shm/{n}')", {"disk"}),
    "hides memory that a child has filled": (
        """
held = []
while True:
    held.append(mmap.mmap(-1, 16 << 20))
    if os.fork() == 0:
        held[-1].write(b"x" * (16 << 20)); os._exit(0)
    os.wait()
""",
        {"memory", 1},
    ),
    "hides memory that it has let go of": (
        """
held = []
while True:
    held.append(mmap.mmap(-1, 16 << 20)); held[-1].write(b"x" * (16 << 20)); held[-1].madvise(mmap.MADV_DONTNEED)
""",
        {"memory", 1},
    ),
    "hides its maps": (
        "libc.prctl(4, 0)\nheld = []\nwhile True: held.append(b'x' * (1 << 20)); time.sleep(0.002)",
        {"memory", 1},
    ),
    "hides memory in pipes": (
        """
class Part(ctypes.Structure): _fields_ = [("at", ctypes.c_void_p), ("size", ctypes.c_size_t)]
libc.mmap.restype = ctypes.c_void_p
huge, held = 2 << 20, []
while True:
    held.append(os.pipe())
    for _ in range(16):
        base = libc.mmap(None, ctypes.c_size_t(2 * huge), 3, 0x22, -1, 0)
        at = (base + huge - 1) // huge * huge
        libc.madvise(ctypes.c_void_p(at), ctypes.c_size_t(huge), 14); ctypes.memset(at, 1, huge)
        if libc.vmsplice(held[-1][1], ctypes.byref(Part(at, 1)), 1, 2) != 1: sys.exit(1)
        libc.munmap(ctypes.c_void_p(base), ctypes.c_size_t(2 * huge))
""",
        {1},
    ),
    "hides memory in mappings": (
        """
libc.mmap.restype = ctypes.c_void_p
base = libc.mmap(None, ctypes.c_size_t(65000 * 4096), 1, 0x4022, -1, 0)
for page in range(0, 64900, 2): libc.mprotect(ctypes.c_void_p(base + page * 4096), 4096, 0)
for _ in range(20):
    if os.fork() == 0: time.sleep(60)
time.sleep(60)
""",
        {"memory"},
    ),
    "hides memory in locks on files": (
        """
for n in range(200):
    fd = os.open(f"{n}", os.O_RDWR | os.O_CREAT)
    for at in range(1000): fcntl.lockf(fd, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, 2 * at)
time.sleep(60)
""",
        {"memory"},
    ),
    "stops itself": ("os.kill(os.getpid(), signal.SIGSTOP)", {"timeout"}),
    "hides memory in sockets": (
        """
for _ in range(20):
    if os.fork() == 0:
        held = []
        for _ in range(120):
            pair = socket.socketpair(); held.append(pair)
            for s in pair:
                s.setblocking(False); s.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 20)
                try:
                    while True: s.send(b"x" * 65536)
                except OSError: pass
        time.sleep(60)
time.sleep(60)
""",
        {"memory"},
    ),
    "spreads memory over many processes": (
        "for _ in range(16):\n    if os.fork() == 0:\n        held = b'x' * (24 << 20); time.sleep(60)\ntime.sleep(60)",
        {"memory"},
    ),
    "allocates past its address space": ("x = bytearray(3 << 30)", {1}),
    "writes without end to both streams": (
        "os.fork(); os.fork()\nwhile True: os.write(1, b'x' * 65536); os.write(2, b'\\x1b]0;x\\x07' * 999)",
        {"output"},
    ),
    "writes without end and closes nothing": ("while True: os.write(2, b'x' * 65536)", {"output"}),
    "burns every core": ("os.fork(); os.fork()\nwhile True: pass", {"timeout", "cpu"}),
    "never reads its input": ("time.sleep(0.2); print('still here')", {0}),
}

CONTROLS = {
    "shares memory between processes": """
import mmap, os
shared = mmap.mmap(-1, 4096)
if os.fork() == 0:
    shared[:2] = b"hi"; os._exit(0)
os.wait()
assert shared[:2] == b"hi"
""",
    "locks, queues and values of multiprocessing": """
import multiprocessing as m
def work(q, v, lock):
    with lock: v.value += 1
    q.put("done")
q, v, lock = m.Queue(), m.Value("i", 0), m.Lock()
p = [m.Process(target=work, args=(q, v, lock)) for _ in range(3)]
[x.start() for x in p]; assert [q.get() for _ in p] == ["done"] * 3; [x.join() for x in p]
assert v.value == 3
""",
    "shared memory by name": """
from multiprocessing.shared_memory import SharedMemory
a = SharedMemory(create=True, size=64); b = SharedMemory(a.name)
a.buf[0] = 7; assert b.buf[0] == 7; b.close(); a.close(); a.unlink()
""",
    "a thread pool, a process pool": """
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
for kind in (ThreadPoolExecutor, ProcessPoolExecutor):
    with kind(3) as pool: assert list(pool.map(abs, [-1, -2, -3])) == [1, 2, 3]
""",
    "a shell with pipes": "import subprocess; assert subprocess.check_output('echo a b | tr a-z A-Z | wc -w', shell=True).strip() == b'2'",
    "files, modes, times and links": """
import os, pathlib, shutil, tempfile
with tempfile.TemporaryDirectory() as d:
    a = pathlib.Path(d, "a"); a.write_text("x"); a.chmod(0o600); os.utime(a, (1, 1)); os.link(a, f"{d}/b"); os.symlink("a", f"{d}/c")
    shutil.copy2(a, f"{d}/d"); assert os.stat(f"{d}/d").st_mtime == 1
    shutil.copytree(d, "copy", symlinks=True)
""",
    "sqlite in memory and on disk": "import sqlite3; c = sqlite3.connect('a.db'); c.execute('pragma journal_mode=wal'); c.execute('create table t(x)'); c.commit()",
    "a web server of its own": """
import http.server, threading, urllib.request
s = http.server.ThreadingHTTPServer(("127.0.0.1", 0), http.server.SimpleHTTPRequestHandler)
threading.Thread(target=s.serve_forever, daemon=True).start()
assert urllib.request.urlopen(f"http://127.0.0.1:{s.server_port}/").status == 200; s.shutdown()
""",
    "socket files and pairs": """
import socket
s = socket.socket(socket.AF_UNIX); s.bind("sock"); s.listen(); c = socket.socket(socket.AF_UNIX); c.connect("sock")
c.send(b"x"); assert s.accept()[0].recv(1) == b"x"
""",
    "alarms and children's signals": "import signal; signal.signal(signal.SIGALRM, lambda *_: None); signal.setitimer(signal.ITIMER_REAL, 0.05); signal.pause()",
    "its own priority and core": "import os; os.nice(1); os.sched_setaffinity(0, os.sched_getaffinity(0))",
    "asyncio with a subprocess": """
import asyncio, sys
async def main():
    p = await asyncio.create_subprocess_exec(sys.executable, "-c", "print(1)", stdout=-1)
    assert (await p.communicate())[0] == b"1\\n"
asyncio.run(main())
""",
}
