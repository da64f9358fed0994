#!/usr/bin/env python3
"""Our release binaries beside redis-server and nutcracker: CPU microseconds per request, in paired rounds.

The process under test has processor 0, the load generator processor 1. In each round the two programs are measured one
after the other, in alternating order; the ratio of a round is ours / theirs, and the median of the rounds is printed
with the smallest and the largest. Python's standard library is all that is needed.
"""

import argparse
import os
import resource
import shutil
import socket
import statistics
import subprocess
import tempfile
import time
import typing

TICKS = os.sysconf("SC_CLK_TCK")

KEYSPACE = 1_000_000
LIST, RANGE = "bench:list", "bench:range"
KEY, MEMBER = "key:__rand_int__", "element:__rand_int__"
MSET_10 = ["MSET"] + [KEY, "VALUE"] * 10
WORDS = {
    "SET": ["SET", KEY, "VALUE"],
    "GET": ["GET", KEY],
    "INCR": ["INCR", "counter:__rand_int__"],
    "LPUSH": ["LPUSH", LIST, "VALUE"],
    "RPOP": ["RPOP", LIST],
    "SADD": ["SADD", "bench:set", MEMBER],
    "HSET": ["HSET", "bench:hash", MEMBER, "VALUE"],
    "ZADD": ["ZADD", "bench:zset", "__rand_int__.RUN", MEMBER],
    "XADD": ["XADD", "bench:stream", "MAXLEN", "~", "100000", "*", "name", "VALUE"],
    "LRANGE, 100 elements": ["LRANGE", RANGE, "0", "99"],
    "MSET, 10 keys": MSET_10,
    "MGET, 10 keys": ["MGET"] + [KEY] * 10,
}


class Case(typing.NamedTuple):
    """What is measured: a command of WORDS, its pipeline depth, its share of --requests, its bytes of value."""

    command: str
    depth: int
    share: float
    value: int = 100

    def keys(self):
        """How many keys it is spread over: few large values, so that they all lie in memory."""
        return KEYSPACE if self.value <= 100 else 1000

    def name(self):
        size = "" if self.value == 100 else f", {self.value // 1024} KB"
        return f"{self.command}{size} P={self.depth}"


SHORT = ["SET", "GET", "INCR", "LPUSH", "RPOP", "SADD", "HSET"]
SERVER_CASES = [Case(command, 1, 1) for command in SHORT]
SERVER_CASES += [Case(command, 16, 4) for command in SHORT]
SERVER_CASES += [Case("ZADD", 16, 1), Case("XADD", 16, 2), Case("LRANGE, 100 elements", 16, 0.5), Case("MSET, 10 keys", 16, 0.5)]
# SET comes first: what it writes is what GET reads.
PROXY_CASES = [Case(command, depth, share) for depth, share in ((1, 1), (16, 4), (100, 4)) for command in ("SET", "GET")]
PROXY_CASES += [Case("MSET, 10 keys", 1, 0.5), Case("MGET, 10 keys", 1, 0.5)]
PROXY_CASES += [Case(command, 1, share, size) for size, share in ((4096, 0.5), (65536, 0.1)) for command in ("SET", "GET")]
MEMORY_CASES = [
    ("string, 32-byte value", lambda n: ["SET", f"key:{n:012d}", "v" * 32]),
    ("string with expiry", lambda n: ["SET", f"key:{n:012d}", "v" * 32, "EX", "100000"]),
    ("hash of 10", lambda n: ["HSET", f"key:{n:012d}"] + [w for i in range(10) for w in (f"f{i}", f"value{i:03d}")]),
    ("set of 10", lambda n: ["SADD", f"key:{n:012d}"] + [f"member{i:03d}" for i in range(10)]),
    ("zset of 10", lambda n: ["ZADD", f"key:{n:012d}"] + [w for i in range(10) for w in (str(i), f"member{i:03d}")]),
    ("list of 10", lambda n: ["RPUSH", f"key:{n:012d}"] + [f"element{i:03d}" for i in range(10)]),
    ("entry of one stream", lambda n: ["XADD", "stream", f"{n + 1}-1", "name", "v" * 32]),
    ("member of one zset", lambda n: ["ZADD", "zset", str(n), f"member:{n:09d}"]),
]


def free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def encode(words):
    parts = [f"*{len(words)}\r\n"]
    parts += [f"${len(word)}\r\n{word}\r\n" for word in words]
    return "".join(parts).encode()


def call(port, *words):
    """One command; gives the first bytes of its reply."""
    with socket.create_connection(("127.0.0.1", port), timeout=10) as connection:
        connection.sendall(encode(list(words)))
        return connection.recv(65536)


class Program:
    """A process on a processor of its own, ended with the block."""

    def __init__(self, name, arguments, port, cpu, folder):
        self.name, self.port = name, port
        self.log = open(os.path.join(folder, f"{name}-{port}.log"), "wb")
        self.process = subprocess.Popen(
            ["taskset", "-c", str(cpu)] + arguments, stdout=self.log, stderr=self.log, cwd=folder
        )
        deadline = time.monotonic() + 20
        while True:
            try:
                if call(port, "PING").startswith(b"+PONG"):
                    return
            except OSError:
                pass
            if self.process.poll() is not None or time.monotonic() > deadline:
                self.stop()
                raise SystemExit(f"{name} does not answer on port {port}: see {self.log.name}")
            time.sleep(0.02)

    def cpu_seconds(self):
        with open(f"/proc/{self.process.pid}/stat", encoding="ascii", errors="replace") as file:
            fields = file.read().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / TICKS

    def resident(self):
        with open(f"/proc/{self.process.pid}/statm", encoding="ascii") as file:
            return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")

    def stop(self):
        self.process.kill()
        self.process.wait()
        self.log.close()


def load(port, case, words, requests):
    """Runs redis-benchmark to its end."""
    command = ["taskset", "-c", "1", "redis-benchmark", "-h", "127.0.0.1", "-p", str(port), "-c", "50"]
    command += ["-r", str(case.keys()), "-n", str(requests), "-P", str(case.depth), "-q"] + words
    done = subprocess.run(command, capture_output=True, timeout=300, check=False)
    said = done.stdout + done.stderr
    if done.returncode != 0 or b"rror" in said:
        raise SystemExit(f"{' '.join(command)[:300]}: {said[-400:].decode(errors='replace')}")


def prepare(program, case, requests):
    """Brings what the case works on to the same state before each run."""
    if case.command in ("LPUSH", "RPOP"):
        call(program.port, "DEL", LIST)
    if case.command == "GET" and case.value > 100:
        value = "x" * case.value
        fill(program.port, lambda number: ["SET", f"key:{number:012d}", value], case.keys())
    if case.command == "RPOP":
        words = ["RPUSH", LIST] + ["x" * 100] * 100
        fill(program.port, lambda number: words, requests // 100 + 10)


def cost(program, case, requests, run):
    prepare(program, case, requests)
    words = [word.replace("VALUE", "x" * case.value).replace("RUN", f"{run:04d}") for word in WORDS[case.command]]
    before = program.cpu_seconds()
    load(program.port, case, words, requests)
    return (program.cpu_seconds() - before) / requests * 1e6


def populate(port):
    """Everything that the cases expect to be there."""
    step, value = 100, "x" * 100
    starts = range(0, KEYSPACE, step)

    def ids(number):
        return [f"{place:012d}" for place in range(starts[number], starts[number] + step)]

    for words_of in (
        lambda n: ["MSET"] + [word for i in ids(n) for word in ("key:" + i, value)],
        lambda n: ["MSET"] + [word for i in ids(n) for word in ("counter:" + i, "0")],
        lambda n: ["SADD", "bench:set"] + ["element:" + i for i in ids(n)],
        lambda n: ["HSET", "bench:hash"] + [word for i in ids(n) for word in ("element:" + i, value)],
        lambda n: ["ZADD", "bench:zset"] + [word for i in ids(n) for word in (i, "element:" + i)],
    ):
        fill(port, words_of, len(starts))
    call(port, "RPUSH", RANGE, *[value] * 450)


def compare(title, ours, theirs, cases, rounds, requests):
    print(f"\n### {title}, {rounds} rounds\n")
    print(f"| Case | {ours.name}, µs | {theirs.name}, µs | ratio (smallest to largest) |")
    print("|---|---|---|---|", flush=True)
    runs = 0
    for case in cases:
        count = max(int(requests * case.share), 10000)
        figures = {ours: [], theirs: []}
        for number in range(rounds):
            order = (ours, theirs) if number % 2 == 0 else (theirs, ours)
            for program in order:
                runs += 1
                figures[program].append(cost(program, case, count, runs))
        ratios = [a / b for a, b in zip(figures[ours], figures[theirs]) if b > 0]
        a, b = statistics.median(figures[ours]), statistics.median(figures[theirs])
        print(
            f"| {case.name()} | {a:.2f} | {b:.2f} | {statistics.median(ratios):.2f}"
            f" ({min(ratios):.2f} to {max(ratios):.2f}) |",
            flush=True,
        )


def fill(port, words_of, count):
    """Writes `count` commands in batches and waits for as many replies."""
    with socket.create_connection(("127.0.0.1", port), timeout=60) as connection:
        for first in range(0, count, 100):
            batch = range(first, min(first + 100, count))
            connection.sendall(b"".join(encode(words_of(number)) for number in batch))
            lines = 0
            while lines < len(batch):
                piece = connection.recv(65536)
                if not piece:
                    raise SystemExit("the connection was closed while filling")
                lines += piece.count(b"\n")


def idle_clients(proxies, count=5000):
    """What many clients cost that have spoken once."""
    print(f"\n### Proxy: resident MiB with {count} idle clients\n")
    print("| Program | fresh | with the clients |")
    print("|---|---|---|", flush=True)
    for program in proxies:
        fresh = program.resident()
        clients = [socket.create_connection(("127.0.0.1", program.port), timeout=10) for _ in range(count)]
        for client in clients:
            client.sendall(encode(["GET", "key"]))
        for client in clients:
            client.recv(100)
        print(f"| {program.name} | {fresh / 2**20:.1f} | {program.resident() / 2**20:.1f} |", flush=True)
        for client in clients:
            client.close()


def memory(start_ours, start_theirs, count):
    print(f"\n### Memory: resident bytes per key (or member), {count} of them\n")
    print("| Case | redstart-server | redis-server |")
    print("|---|---|---|", flush=True)
    for name, words_of in MEMORY_CASES:
        found = []
        for start in (start_ours, start_theirs):
            program = start()
            before = program.resident()
            fill(program.port, words_of, count)
            found.append((program.resident() - before) / count)
            program.stop()
        print(f"| {name} | {found[0]:.0f} | {found[1]:.0f} |", flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--target", default="target/release", help="folder of our binaries")
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--requests", type=int, default=100000, help="requests of a run at depth 1")
    parser.add_argument("--keys", type=int, default=200000, help="keys of the memory table")
    parser.add_argument("--only", choices=["server", "proxy", "memory"])
    options = parser.parse_args()
    _, files = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (files, files))
    target = os.path.abspath(options.target)
    nutcracker = shutil.which("nutcracker") or "/usr/sbin/nutcracker"
    running = []

    with tempfile.TemporaryDirectory(prefix="redstart-bench-") as folder:

        def start(name, arguments, cpu=0, port=None):
            port = port or free_port()
            program = Program(name, [str(port) if word == "PORT" else word for word in arguments], port, cpu, folder)
            running.append(program)
            return program

        def redis(cpu=0):
            return start("redis-server", ["redis-server", "--port", "PORT", "--save", "", "--appendonly", "no"], cpu)

        def redstart():
            return start("redstart-server", [f"{target}/redstart-server", "--port", "PORT"])

        def start_proxy(name):
            port, path = free_port(), os.path.join(folder, f"{name}.yml")
            with open(path, "w", encoding="ascii") as file:
                file.write(f"bench:\n  listen: 127.0.0.1:{port}\n  redis: true\n  hash: fnv1a_64\n")
                file.write("  distribution: ketama\n  preconnect: true\n  servers:\n")
                for number, backend in enumerate([redis(cpu=1), redis(cpu=1)]):
                    file.write(f"    - 127.0.0.1:{backend.port}:1 server{number}\n")
            if name == "nutcracker":
                return start(name, [nutcracker, "-c", path, "-s", str(free_port()), "-a", "127.0.0.1", "-m", "16384"], port=port)
            return start(name, [f"{target}/redstart-proxy", "-c", path, "--workers", "1", "-s", "0"], port=port)

        def stop_all():
            while running:
                running.pop().stop()

        try:
            if options.only in (None, "server"):
                servers = [redstart(), redis()]
                for server in servers:
                    populate(server.port)
                compare("Server", *servers, SERVER_CASES, options.rounds, options.requests)
                stop_all()
            if options.only in (None, "proxy"):
                proxies = [start_proxy(name) for name in ("redstart-proxy", "nutcracker")]
                compare("Proxy", *proxies, PROXY_CASES, options.rounds, options.requests)
                stop_all()
                idle_clients([start_proxy(name) for name in ("redstart-proxy", "nutcracker")])
                stop_all()
            if options.only in (None, "memory"):
                memory(redstart, redis, options.keys)
        finally:
            for program in running:
                if program.process.poll() is None:
                    program.stop()


if __name__ == "__main__":
    main()
