#!/usr/bin/env python3
"""Whole clusters on this machine, too large or too long for the test suite.

    cluster.py settle --nodes 60          starts so many nodes, makes a cluster of them by redis-cli, and measures
    cluster.py mixed --failovers 50 --slots 4000
                                          half real redis-server, half ours: failovers of all kinds, then slots that
                                          move by redis-cli, under writers who check what a replica had confirmed

Each prints what it measured and ends with an error when something is wrong. Processes are ended by their numbers.
"""
import argparse
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time

SLOTS = 16384


class Client:
    """A connection that speaks RESP2."""

    def __init__(self, port, timeout=5):
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=timeout)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.file = self.socket.makefile("rb")

    def call(self, *words):
        words = [word if isinstance(word, bytes) else str(word).encode() for word in words]
        parts = [b"*%d\r\n" % len(words)] + [b"$%d\r\n%s\r\n" % (len(word), word) for word in words]
        self.socket.sendall(b"".join(parts))
        return self.read()

    def read(self):
        line = self.file.readline()
        if not line.endswith(b"\r\n"):
            raise ConnectionError("closed")
        kind, rest = line[:1], line[1:-2]
        if kind == b"+":
            return rest.decode()
        if kind == b"-":
            return Exception(rest.decode())
        if kind == b":":
            return int(rest)
        if kind == b"$":
            if rest == b"-1":
                return None
            data = self.file.read(int(rest) + 2)
            return data[:-2]
        return [self.read() for _ in range(int(rest))]

    def close(self):
        self.file.close()
        self.socket.close()


class Node:
    """A server in a folder of its own."""

    def __init__(self, program, port, folder, timeout_ms, more=()):
        self.program, self.port, self.timeout_ms, self.more = program, port, timeout_ms, more
        self.folder = os.path.join(folder, str(port))
        os.makedirs(self.folder)
        self.process = None

    def start(self):
        log = open(os.path.join(self.folder, "log"), "ab")
        words = [self.program, "--port", str(self.port), "--bind", "127.0.0.1", "--cluster-enabled", "yes"]
        words += ["--cluster-node-timeout", str(self.timeout_ms), "--save", "", "--appendonly", "yes"]
        words += ["--repl-diskless-sync-delay", "0", *self.more]
        self.process = subprocess.Popen(words, cwd=self.folder, stdout=log, stderr=log)
        log.close()

    def call(self, *words, timeout=5):
        client = Client(self.port, timeout)
        try:
            return client.call(*words)
        finally:
            client.close()

    def text(self, *words, timeout=5):
        reply = self.call(*words, timeout=timeout)
        if isinstance(reply, Exception):
            raise reply
        return reply.decode() if isinstance(reply, bytes) else str(reply)

    def answers(self):
        try:
            return self.call("PING", timeout=1) == "PONG"
        except OSError:
            return False

    def kill(self, how=signal.SIGKILL):
        self.process.send_signal(how)
        self.process.wait()

    def cpu_s(self):
        with open(f"/proc/{self.process.pid}/stat", encoding="ascii") as stat:
            fields = stat.read().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def rss_mb(self):
        with open(f"/proc/{self.process.pid}/statm", encoding="ascii") as statm:
            return int(statm.read().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6

    def info(self):
        lines = self.text("CLUSTER", "INFO").splitlines()
        return dict(line.split(":", 1) for line in lines if ":" in line)


def wait_for(what, patience_s, condition):
    """Waits until it holds, and answers for how long."""
    begun = time.monotonic()
    while True:
        try:
            why = condition()
        except (OSError, ValueError, KeyError, ConnectionError, Exception) as error:  # a node that is down, or busy
            why = repr(error)
        if why is True:
            return time.monotonic() - begun
        if time.monotonic() - begun > patience_s:
            raise SystemExit(f"in vain: {what}: {why}")
        time.sleep(0.05)


def free_ports(count):
    """Ports with a free one 10,000 above, where the bus is."""
    found, port = [], random.randrange(12000, 20000)
    while len(found) < count:
        port = 12000 if port >= 22000 else port + 1
        free = True
        for number in (port, port + 10000):
            with socket.socket() as probe:
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                try:
                    probe.bind(("127.0.0.1", number))
                except OSError:
                    free = False
        if free:
            found.append(port)
    return found


def cli(*words, ok=True, patience_s=600):
    done = subprocess.run(["redis-cli", *map(str, words)], capture_output=True, text=True, timeout=patience_s, check=False)
    if ok and done.returncode != 0:
        raise SystemExit(f"redis-cli {' '.join(map(str, words))}: {done.stdout[-2000:]}{done.stderr[-2000:]}")
    return done


def follows(node):
    """Whether it is a primary, or a replica whose primary is reached."""
    info = node.text("INFO", "replication")
    return "role:slave" not in info or "master_link_status:up" in info


def all_settled(nodes, primaries, replicas):
    """Whether all know all, hold the cluster to be up, and all replicas follow."""
    total = primaries + replicas
    for node in nodes:
        info = node.info()
        if info["cluster_state"] != "ok" or int(info["cluster_known_nodes"]) != total:
            return f"{node.port}: {info['cluster_state']}, {info['cluster_known_nodes']} nodes"
        lines = node.text("CLUSTER", "NODES").splitlines()
        flags = [line.split()[2].replace("myself,", "") for line in lines]
        if flags.count("master") != primaries or flags.count("slave") != replicas:
            return f"{node.port}: {flags}"
        if not follows(node):
            return f"{node.port}: its primary is not reached"
    return True


def settle(arguments, folder):
    ports = free_ports(arguments.nodes)
    more = ["--appendonly", "no"]
    nodes = [Node(arguments.server, port, folder, arguments.timeout, more) for port in ports]
    begun = time.monotonic()
    try:
        for node in nodes:
            node.start()
        for node in nodes:
            wait_for(f"{node.port} answers", 60, node.answers)
        started = time.monotonic()
        addresses = [f"127.0.0.1:{port}" for port in ports]
        cli("--cluster", "create", *addresses, "--cluster-replicas", "1", "--cluster-yes")
        created = time.monotonic()
        half = arguments.nodes // 2
        for what, holds in [
            ("all know all", lambda: all(int(node.info()["cluster_known_nodes"]) == len(nodes) for node in nodes)),
            ("the cluster is up for all", lambda: all(node.info()["cluster_state"] == "ok" for node in nodes)),
            ("all replicas follow", lambda: all(follows(node) for node in nodes)),
            ("all agree on roles", lambda: all_settled(nodes, half, half)),
        ]:
            wait_for(what, 300, holds)
            print(f"{time.monotonic() - begun:.1f} s: {what}")
        settled = time.monotonic()
        cpu_joining = sum(node.cpu_s() for node in nodes)
        print(f"{arguments.nodes} nodes: all answer after {started - begun:.1f} s, redis-cli is done after "
              f"{created - begun:.1f} s, settled after {settled - begun:.1f} s; {cpu_joining:.1f} s of CPU")
        messages = lambda: sum(int(node.info()["cluster_stats_messages_sent"]) for node in nodes)
        before, cpu, at = messages(), sum(node.cpu_s() for node in nodes), time.monotonic()
        time.sleep(arguments.rest)
        for_s = time.monotonic() - at
        cpu = (sum(node.cpu_s() for node in nodes) - cpu) / for_s / len(nodes)
        sent = (messages() - before) / for_s / len(nodes)
        memory = sum(node.rss_mb() for node in nodes) / len(nodes)
        print(f"at rest, a node: {cpu * 1000:.2f} ms of CPU and {sent:.1f} messages sent in a second, {memory:.1f} MB resident")
        if settled - begun > arguments.within:
            raise SystemExit(f"not within {arguments.within} s")
    finally:
        for node in nodes:
            if node.process:
                node.kill()


class Writers:
    """Clients who write numbers to keys of all slots, have a replica confirm them (WAIT), and read them back: none of
    these may ever be missing."""

    def __init__(self, ports, count):
        self.ports, self.is_over, self.wrong, self.done, self.lost = ports, False, [], 0, 0
        self.longest_s = 0.0
        self.threads = [threading.Thread(target=self.run, args=(number,)) for number in range(count)]

    def start(self):
        for thread in self.threads:
            thread.start()

    def stop(self):
        self.is_over = True
        for thread in self.threads:
            thread.join()

    def run(self, number):
        clients, random_ = {}, random.Random(number)
        # The last value of each key that a replica has too, and what was sent since: that may be there or not.
        last, open_ = {}, {}
        owner = {}
        gap_from, value = time.monotonic(), 0
        while not self.is_over:
            key = f"writer{number}:{random_.randrange(300)}"
            reads = random_.random() < 0.5 and key in last
            value += 1
            if not reads:
                open_.setdefault(key, []).append(value)
            reply = self.ask(clients, owner, key, ("GET", key) if reads else ("SET", key, value))
            now = time.monotonic()
            if reply is None:
                self.lost += 1
                continue
            self.longest_s = max(self.longest_s, now - gap_from)
            gap_from = now
            self.done += 1
            if reads:
                seen = int(reply) if reply != b"" else 0
                if seen != last[key] and seen not in open_.get(key, ()):
                    self.wrong.append((key, seen, last[key]))
            elif reply != "unsure":
                last[key] = value
                open_.pop(key, None)

    def ask(self, clients, owner, key, words):
        """The reply of the node that serves; nothing after an error whose effect is not known."""
        port, asking = owner.get(key) or random.choice(self.ports), False
        for _ in range(40):
            try:
                client = clients.get(port) or clients.setdefault(port, Client(port, 3))
                if asking:
                    client.call("ASKING")
                reply = client.call(*words)
                if words[0] == "SET" and reply == "OK" and client.call("WAIT", 1, 500) != 1:
                    reply = "unsure"
            except OSError:
                clients.pop(port, None)
                owner.pop(key, None)
                return None
            if not isinstance(reply, Exception):
                if not asking:
                    owner[key] = port
                return b"" if reply is None else reply
            text = str(reply)
            asking = text.startswith("ASK ")
            if asking or text.startswith("MOVED "):
                port = int(text.rsplit(":", 1)[1])
            elif text.startswith(("TRYAGAIN", "CLUSTERDOWN", "LOADING", "MASTERDOWN", "READONLY")):
                time.sleep(0.05)
                port = random.choice(self.ports)
            else:
                self.wrong.append((key, text))
                return None
        return None


def roles(nodes):
    """Pairs of a primary with slots and its replica, by what a node says that runs."""
    by_name, primary_of = {}, {}
    for line in nodes[0].text("CLUSTER", "NODES").splitlines():
        words = line.split()
        port = int(words[1].split("@")[0].rsplit(":", 1)[1])
        by_name[words[0]] = next(node for node in nodes if node.port == port)
        if words[3] != "-":
            primary_of[words[0]] = words[3]
    return [(by_name[primary], by_name[replica]) for replica, primary in primary_of.items()]


def mixed(arguments, folder):
    ports = free_ports(6)
    programs = [arguments.server, "redis-server"] * 3
    if arguments.only:
        programs = [arguments.server if arguments.only == "ours" else "redis-server"] * 6
    nodes = [Node(program, port, folder, arguments.timeout) for program, port in zip(programs, ports)]
    writers = None
    try:
        for node in nodes:
            node.start()
        for node in nodes:
            wait_for(f"{node.port} answers", 60, node.answers)
        addresses = [f"127.0.0.1:{port}" for port in ports]
        cli("--cluster", "create", *addresses, "--cluster-replicas", "1", "--cluster-yes")
        wait_for("all settle", 60, lambda: all_settled(nodes, 3, 3))
        writers = Writers(ports, arguments.writers)
        writers.start()
        kinds = ["kill", "stop", "plain", "FORCE", "TAKEOVER"]
        took = {kind: [] for kind in kinds}
        for number in range(arguments.failovers):
            kind = kinds[number % len(kinds)]
            pairs = roles(nodes)
            primary, replica = pairs[number // len(kinds) % len(pairs)]
            begun = time.monotonic()
            if kind == "kill":
                primary.kill()
            elif kind == "stop":
                primary.process.send_signal(signal.SIGSTOP)
            else:
                words = ["CLUSTER", "FAILOVER"] + ([kind] if kind != "plain" else [])
                # A replica that has just come may not be asked yet.
                wait_for(f"{kind} is taken", 20, lambda: replica.call(*words) == "OK" or "refused")
            wait_for(f"{number}: {replica.port} takes over ({kind})", 60,
                     lambda: "role:master" in replica.text("INFO", "replication") or "a replica")
            took[kind].append(time.monotonic() - begun)
            if kind == "kill":
                primary.start()
            elif kind == "stop":
                primary.process.send_signal(signal.SIGCONT)
            wait_for(f"all settle after {kind} {number}", 90, lambda: all_settled(nodes, 3, 3))
            # Votes for replicas of one primary are two node timeouts apart.
            time.sleep(arguments.timeout / 1000 * 0.5)
        for kind, times in took.items():
            if times:
                print(f"{kind}: {len(times)} failovers, {min(times):.2f} to {max(times):.2f} s until the replica leads")
        print(f"{writers.done} replies, {writers.lost} requests without one; {len(writers.wrong)} wrong; longest gap {writers.longest_s:.2f} s")
        if writers.wrong:
            raise SystemExit(f"wrong: {writers.wrong[:5]}")
        if arguments.slots:
            writers.wrong.clear()
            writers.longest_s = 0
            pairs = roles(nodes)
            source, target = pairs[0][0].text("CLUSTER", "MYID"), pairs[1][0].text("CLUSTER", "MYID")
            begun = time.monotonic()
            there = arguments.slots
            cli("--cluster", "reshard", addresses[0], "--cluster-from", source, "--cluster-to", target, "--cluster-slots", there,
                "--cluster-yes", patience_s=1200)
            print(f"{there} slots moved in {time.monotonic() - begun:.1f} s; {len(writers.wrong)} wrong values, longest gap "
                  f"{writers.longest_s:.2f} s")
            if writers.wrong:
                raise SystemExit(f"wrong: {writers.wrong[:5]}")
        writers.stop()
        wait_for("all settle", 60, lambda: all_settled(nodes, 3, 3))
        is_clean = lambda text: "[ERR]" not in text and "[WARNING]" not in text and "All 16384 slots covered" in text
        check = lambda: cli("--cluster", "check", addresses[0], ok=False).stdout
        wait_for("redis-cli --cluster check finds nothing", 30, lambda: is_clean(check()) or "it finds something")
        print("redis-cli --cluster check finds nothing")
    finally:
        if writers:
            writers.is_over = True
        for node in nodes:
            if node.process and node.process.poll() is None:
                node.process.send_signal(signal.SIGCONT)
                node.kill()


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--server", default="target/release/redstart-server")
    kinds = parser.add_subparsers(dest="kind", required=True)
    one = kinds.add_parser("settle")
    one.add_argument("--nodes", type=int, default=60)
    one.add_argument("--timeout", type=int, default=15000, help="cluster-node-timeout, in milliseconds")
    one.add_argument("--within", type=float, default=60, help="seconds")
    one.add_argument("--rest", type=float, default=10, help="seconds")
    two = kinds.add_parser("mixed")
    two.add_argument("--failovers", type=int, default=10)
    two.add_argument("--slots", type=int, default=200)
    two.add_argument("--writers", type=int, default=3)
    two.add_argument("--timeout", type=int, default=2000)
    two.add_argument("--only", choices=["ours", "real"])
    arguments = parser.parse_args()
    arguments.server = shutil.which(arguments.server) and os.path.abspath(shutil.which(arguments.server))
    if not arguments.server:
        sys.exit("no server: cargo build --release -p redstart-server")
    folder = tempfile.mkdtemp(prefix="redstart-cluster-")
    try:
        {"settle": settle, "mixed": mixed}[arguments.kind](arguments, folder)
    except SystemExit:
        print(f"what the nodes wrote lies in {folder}", file=sys.stderr)
        raise
    shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main()
