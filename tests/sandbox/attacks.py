"""Programs that attack the machine they run on: each prints ESCAPED when it got out. Arguments: canary, port, writable folder."""  # noqa: E501

ATTACKS = {
    "reads a secret by its path": "open(canary).read(); escaped()",
    "lists the folder of the secret": "os.listdir(os.path.dirname(canary)); escaped()",
    "finds the caller's environment": """
for pid in ("self", "1", str(os.getppid())):
    try:
        if b"VWT_TEST_SECRET" in open(f"/proc/{pid}/environ", "rb").read(): escaped()
    except OSError: pass
""",
    "writes outside its folder": """
for place in (outside + "/x", "/usr/x", "/x", "/etc/x", "/dev/x", "/src/x", sys.prefix + "/x"):
    try: open(place, "w"); escaped()
    except OSError: pass
""",
    "changes the mode of a file outside": "os.chmod(canary, 0o777); escaped()",
    "connects to a port of the machine": "socket.create_connection(('127.0.0.1', port), 1); escaped()",
    "sends to the internet": """
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); s.sendto(b"x", ("192.0.2.1", 53)); escaped()
""",
    "opens a vsock": "socket.socket(40, socket.SOCK_STREAM); escaped()",
    "opens a raw packet socket": "socket.socket(17, socket.SOCK_RAW); escaped()",
    "kills the process that runs it": """
os.kill(os.getppid(), signal.SIGKILL); os.kill(1, signal.SIGKILL); os.kill(1, signal.SIGSTOP)
""",
    "sees processes of the machine": """
if [p for p in os.listdir("/proc") if p.isdigit() and int(p) not in (1, os.getpid())]: escaped()
""",
    "reads the report of process 1": "os.listdir('/proc/1/fd'); escaped()",
    "traces process 1": "libc.ptrace(16, 1, 0, 0) == 0 and escaped()",
    "lowers the limits of process 1": "import resource; resource.prlimit(1, resource.RLIMIT_NOFILE, (3, 3)); escaped()",
    "renices process 1": "os.setpriority(os.PRIO_PROCESS, 1, 19); escaped()",
    "makes a new user namespace": "libc.unshare(0x10000000) == 0 and escaped()",
    "mounts": "libc.mount(b'none', b'/tmp', b'tmpfs', 0, 0) == 0 and escaped()",
    "becomes root": "os.setuid(0); escaped()",
    "hides memory in a memfd": "os.memfd_create('x'); escaped()",
    "hides memory in a segment": "libc.shmget(0, 1 << 20, 0o1600) >= 0 and escaped()",
    "has capabilities left": """
if int([l for l in open("/proc/self/status") if l.startswith("CapBnd")][0].split()[1], 16): escaped()
""",
    "raises its own limits": """
import resource
resource.setrlimit(resource.RLIMIT_NPROC, (4096, 4096)); escaped()
""",
    "forks past its limit": """
count = 0
try:
    for _ in range(80):
        if os.fork() == 0: signal.pause()
        count += 1
except OSError: pass
if count > 30: escaped()
""",
    "fills the disk": """
try:
    with open("big", "wb") as f:
        for _ in range(64): f.write(b"x" * (1 << 20))
except OSError: pass
with open("more", "wb") as f:
    for _ in range(64): f.write(b"x" * (1 << 20))
escaped()
""",
}

PRELUDE = """
import ctypes, os, signal, socket, sys
libc = ctypes.CDLL(None, use_errno=True)
canary, port, outside = sys.argv[1], int(sys.argv[2]), sys.argv[3]
def escaped():
    print("ESCAPED", flush=True)
    os._exit(99)
"""

CONTROLS = {
    "threads": "import threading; t = [threading.Thread(target=print) for _ in range(30)]; [x.start() for x in t]; [x.join() for x in t]",  # noqa: E501
    "a pool of processes": "import multiprocessing as m\nwith m.Pool(2) as p: assert p.map(abs, [-1, -2]) == [1, 2]",
    "temporary files": "import tempfile\nwith tempfile.NamedTemporaryFile() as f: f.write(b'x')",
    "a subprocess": "import subprocess, sys; assert subprocess.check_output([sys.executable, '-c', 'print(1)']) == b'1\\n'",
    "asyncio over loopback": """
import asyncio
async def main():
    async def hello(r, w): w.write(b"hi"); await w.drain(); w.close()
    s = await asyncio.start_server(hello, "127.0.0.1", 0)
    r, w = await asyncio.open_connection(*s.sockets[0].getsockname())
    assert await r.read() == b"hi"
    w.close(); s.close()
asyncio.run(main())
""",
    "sqlite": "import sqlite3; c = sqlite3.connect('a.db'); c.execute('create table t(x)'); c.commit()",
    "its own account and home": "import getpass, os, pwd; assert pwd.getpwuid(os.getuid()).pw_name == getpass.getuser() == 'sandbox'",  # noqa: E501
    "signals to itself": "import signal, os; signal.signal(signal.SIGUSR1, lambda *_: None); os.kill(os.getpid(), signal.SIGUSR1)",  # noqa: E501
}
