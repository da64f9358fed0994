#!/usr/bin/env python3
"""Our release binaries beside redis-server and nutcracker: CPU microseconds per request, in paired rounds.

The process under test has processor 0, the load generator processor 1. In each round the two programs are measured one
after the other, in alternating order; the ratio of a round is ours / theirs, and the median of the rounds is printed
with the smallest and the largest. Python's standard library is all that is needed.
"""

import argparse
import os
import shutil
import socket
import statistics
import subprocess
import tempfile
import time

TICKS = os.sysconf("SC_CLK_TCK")

SERVER_CASES = [
    # name, pipeline depth, redis-benchmark's arguments, share of --requests
    ("SET P=1", 1, ["-t", "set"], 1),
    ("GET P=1", 1, ["-t", "get"], 1),
    ("SET P=16", 16, ["-t", "set"], 4),
    ("GET P=16", 16, ["-t", "get"], 4),
    ("INCR P=16", 16, ["-t", "incr"], 4),
    ("LPUSH P=16", 16, ["-t", "lpush"], 4),
    ("RPOP P=16", 16, ["-t", "rpop"], 4),
    ("SADD P=16", 16, ["-t", "sadd"], 4),
    ("HSET P=16", 16, ["-t", "hset"], 4),
    ("ZADD P=16", 16, ["-t", "zadd"], 4),
    ("MSET_10 P=16", 16, ["-t", "mset"], 1),
    ("LRANGE_100 P=16", 16, ["LRANGE", "list100", "0", "99"], 1),
]

PROXY_CASES = [
    ("GET P=1", 1, ["-t", "get"], 1),
    ("SET P=1", 1, ["-t", "set"], 1),
    ("GET P=16", 16, ["-t", "get"], 4),
    ("GET P=100", 100, ["-t", "get"], 4),
    ("MGET of 10", 1, ["MGET"] + [f"k{number}" for number in range(10)], 0.5),
]

MEMORY_CASES = [
    ("string, 32-byte value", lambda n: ["SET", f"key:{n:012d}", "v" * 32]),
    ("string with expiry", lambda n: ["SET", f"key:{n:012d}", "v" * 32, "EX", "100000"]),
    ("hash of 10", lambda n: ["HSET", f"key:{n:012d}"] + [w for i in range(10) for w in (f"f{i}", f"value{i:03d}")]),
    ("set of 10", lambda n: ["SADD", f"key:{n:012d}"] + [f"member{i:03d}" for i in range(10)]),
    ("zset of 10", lambda n: ["ZADD", f"key:{n:012d}"] + [w for i in range(10) for w in (str(i), f"member{i:03d}")]),
    ("list of 10", lambda n: ["RPUSH", f"key:{n:012d}"] + [f"element{i:03d}" for i in range(10)]),
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


def load(port, depth, arguments, requests):
    """Runs redis-benchmark to its end."""
    command = ["taskset", "-c", "1", "redis-benchmark", "-h", "127.0.0.1", "-p", str(port), "-c", "50"]
    command += ["-d", "100", "-r", "100000", "-n", str(requests), "-P", str(depth), "-q"] + arguments
    done = subprocess.run(command, capture_output=True, timeout=300, check=False)
    said = done.stdout + done.stderr
    if done.returncode != 0 or b"rror" in said:
        raise SystemExit(f"{' '.join(command)}: {said[-400:].decode(errors='replace')}")


def cost(program, depth, arguments, requests):
    before = program.cpu_seconds()
    load(program.port, depth, arguments, requests)
    return (program.cpu_seconds() - before) / requests * 1e6


def compare(title, ours, theirs, cases, rounds, requests):
    print(f"\n### {title}, {rounds} rounds\n")
    print(f"| Case | {ours.name}, µs | {theirs.name}, µs | ratio (smallest to largest) |")
    print("|---|---|---|---|", flush=True)
    for name, depth, arguments, share in cases:
        count = max(int(requests * share), 10000)
        if arguments[0] == "LRANGE":
            for program in (ours, theirs):
                call(program.port, "DEL", "list100")
                call(program.port, "RPUSH", "list100", *["x" * 100] * 100)
        figures = {ours: [], theirs: []}
        for number in range(rounds):
            order = (ours, theirs) if number % 2 == 0 else (theirs, ours)
            for program in order:
                figures[program].append(cost(program, depth, arguments, count))
        ratios = [a / b for a, b in zip(figures[ours], figures[theirs]) if b > 0]
        a, b = statistics.median(figures[ours]), statistics.median(figures[theirs])
        print(
            f"| {name} | {a:.2f} | {b:.2f} | {statistics.median(ratios):.2f}"
            f" ({min(ratios):.2f} to {max(ratios):.2f}) |",
            flush=True,
        )


def fill(port, words_of, count):
    """Writes `count` commands in batches and waits for as many replies."""
    with socket.create_connection(("127.0.0.1", port), timeout=60) as connection:
        for first in range(0, count, 1000):
            batch = range(first, min(first + 1000, count))
            connection.sendall(b"".join(encode(words_of(number)) for number in batch))
            lines = 0
            while lines < len(batch):
                piece = connection.recv(65536)
                if not piece:
                    raise SystemExit("the connection was closed while filling")
                lines += piece.count(b"\n")


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

        def stop_all():
            while running:
                running.pop().stop()

        try:
            if options.only in (None, "server"):
                compare("Server", redstart(), redis(), SERVER_CASES, options.rounds, options.requests)
                stop_all()
            if options.only in (None, "proxy"):
                backends = [redis(cpu=1), redis(cpu=1)]
                proxies = []
                for name in ("redstart-proxy", "nutcracker"):
                    port = free_port()
                    path = os.path.join(folder, f"{name}.yml")
                    with open(path, "w", encoding="ascii") as file:
                        file.write(f"bench:\n  listen: 127.0.0.1:{port}\n  redis: true\n  hash: fnv1a_64\n")
                        file.write("  distribution: ketama\n  preconnect: true\n  servers:\n")
                        for number, backend in enumerate(backends):
                            file.write(f"    - 127.0.0.1:{backend.port}:1 server{number}\n")
                    if name == "nutcracker":
                        arguments = [nutcracker, "-c", path, "-s", str(free_port()), "-a", "127.0.0.1", "-m", "16384"]
                    else:
                        arguments = [f"{target}/redstart-proxy", "-c", path, "--workers", "1", "-s", "0"]
                    proxies.append(start(name, arguments, port=port))
                compare("Proxy", *proxies, PROXY_CASES, options.rounds, options.requests)
                stop_all()
            if options.only in (None, "memory"):
                memory(redstart, redis, options.keys)
        finally:
            for program in running:
                if program.process.poll() is None:
                    program.stop()


if __name__ == "__main__":
    main()
