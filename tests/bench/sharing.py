#!/usr/bin/env python3
"""What the workers of the proxy lose by having a connection to each server each, rather than one for all of them.

Many clients with one request each at a time are spread over 1, 2 and 4 workers before two redis-servers. How many requests share a
write to a server is told by the servers: requests per read (`total_reads_processed` of INFO), for each of the proxy's writes is
one read there, or part of one. With one worker all requests of a turn share it. So the difference of CPU time between several
workers and one, proxy and servers together, is what sharing connections between workers could save at most, before what it
costs to hand requests and replies from thread to thread. Rounds alternate; medians are printed. Python's standard library is all
that is needed.
"""

import argparse
import os
import re
import resource
import statistics
import subprocess
import tempfile

from run import Program, call, free_port

WORKERS = (1, 2, 4)


def reads(servers):
    """Requests that the servers have taken, and reads in which they came."""
    taken = [0, 0]
    for server in servers:
        said = call(server.port, "INFO", "stats").decode()
        for place, name in enumerate(("total_commands_processed", "total_reads_processed")):
            taken[place] += int(re.search(rf"{name}:(\d+)", said).group(1))
    return taken


def measure(proxy, servers, clients, requests):
    """Requests a second, requests per read of the servers, and CPU microseconds per request of the proxy and of the servers."""
    commands, before = reads(servers)
    spent = proxy.cpu_seconds(), sum(server.cpu_seconds() for server in servers)
    command = ["taskset", "-c", "1", "redis-benchmark", "-h", "127.0.0.1", "-p", str(proxy.port), "-c", str(clients)]
    command += ["-r", "100000", "-n", str(requests), "-q", "--csv", "GET", "key:__rand_int__"]
    done = subprocess.run(command, capture_output=True, timeout=300, check=True)
    rate = float(done.stdout.decode().splitlines()[-1].split(",")[1].strip('"'))
    of_proxy = proxy.cpu_seconds() - spent[0]
    of_servers = sum(server.cpu_seconds() for server in servers) - spent[1]
    after = reads(servers)
    shared = (after[0] - commands) / (after[1] - before)
    return rate, shared, of_proxy / requests * 1e6, of_servers / requests * 1e6


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--target", default="target/release", help="folder of our binaries")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--requests", type=int, default=200000, help="requests of a run")
    parser.add_argument("--clients", type=int, nargs="+", default=[10, 50, 200, 1000])
    options = parser.parse_args()
    _, files = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (files, files))
    running = []
    with tempfile.TemporaryDirectory(prefix="redstart-bench-") as folder:

        def start(name, arguments, cpu, port):
            program = Program(name, arguments, port, cpu, folder)
            running.append(program)
            return program

        def redis():
            port = free_port()
            return start("redis-server", ["redis-server", "--port", str(port), "--save", "", "--appendonly", "no"], 1, port)

        def proxy(workers):
            servers, port = [redis(), redis()], free_port()
            path = os.path.join(folder, f"{workers}.yml")
            with open(path, "w", encoding="ascii") as file:
                file.write(f"bench:\n  listen: 127.0.0.1:{port}\n  redis: true\n  hash: fnv1a_64\n  preconnect: true\n  servers:\n")
                file.writelines(f"    - 127.0.0.1:{server.port}:1 server{at}\n" for at, server in enumerate(servers))
            words = [os.path.abspath(f"{options.target}/redstart-proxy"), "-c", path, "--workers", str(workers), "-s", "0"]
            return start("redstart-proxy", words, 0, port), servers

        try:
            stages = {workers: proxy(workers) for workers in WORKERS}
            print("| Clients | workers | requests/s | requests per read of a server | proxy, µs | servers, µs | sharing saves at most |")
            print("|---|---|---|---|---|---|---|", flush=True)
            for clients in options.clients:
                found = {workers: [] for workers in WORKERS}
                for number in range(options.rounds):
                    for workers in WORKERS if number % 2 == 0 else reversed(WORKERS):
                        found[workers].append(measure(*stages[workers], clients, options.requests))
                for workers in WORKERS:
                    rate, shared, of_proxy, of_servers = (statistics.median(values) for values in zip(*found[workers]))
                    parts = [1 - (one[2] + one[3]) / (it[2] + it[3]) for one, it in zip(found[1], found[workers])]
                    most = "" if workers == 1 else f"{statistics.median(parts):.0%} ({min(parts):.0%} to {max(parts):.0%})"
                    print(
                        f"| {clients} | {workers} | {rate:.0f} | {shared:.2f} | {of_proxy:.2f} | {of_servers:.2f} | {most} |",
                        flush=True,
                    )
        finally:
            for program in running:
                program.stop()


if __name__ == "__main__":
    main()
