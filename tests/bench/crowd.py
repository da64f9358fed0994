#!/usr/bin/env python3
"""What a node of a large cluster costs, with one real node: all the others are this script.

    crowd.py --nodes 1000                  a node of ours that knows 999 others, half of them replicas
    crowd.py --nodes 1000 --server redis-server

The others have an address of the loopback network each. They answer the node's pings, and ping it as often as it pings
them, telling of a tenth of all nodes each time, as Redis does. Prints the memory that each known node takes, and the
time of a processor and the packets in a second at rest. Processes are ended by their numbers.
"""
import argparse
import os
import random
import selectors
import shutil
import socket
import struct
import subprocess
import sys
import tempfile
import time

SLOTS = 16384
PORT = 7000
HEADER, GOSSIP = 2256, 104
PING, PONG, MEET = 0, 1, 2


def address(number):
    return f"127.1.{number // 250}.{number % 250 + 1}"


class Other:
    """A node that this script is."""

    def __init__(self, number, primaries, bus_port):
        self.ip, self.bus_port = address(number), bus_port
        self.name = f"{number:040x}".encode()
        self.primary = f"{number % primaries:040x}".encode() if number >= primaries else None
        share = SLOTS / primaries
        first, end = round(number % primaries * share), round((number % primaries + 1) * share)
        self.slots = (first, end - 1)
        self.flags = 2 if self.primary else 1
        self.epoch = number % primaries + 1
        bits = sum(1 << (slot & 7) << (slot // 8 * 8) for slot in range(first, end)).to_bytes(2048, "little")
        self.head = b"".join([
            struct.pack(">QQQ", primaries, self.epoch, 0), self.name, bits, self.primary or bytes(40), bytes(46),
            bytes(32), struct.pack(">HHH", 0, bus_port, self.flags), bytes(4),
        ])
        self.told = (self.name + bytes(4), self.ip.encode().ljust(46, b"\0") + struct.pack(">HHHHH", PORT, bus_port, self.flags, 0, 0))
        self.inbound = None

    def packet(self, kind, told, now_s):
        seen = struct.pack(">I", now_s)
        body = b"".join([one.told[0] + seen + one.told[1] for one in told])
        length = HEADER + len(body)
        return b"RCmb" + struct.pack(">IHHHH", length, 1, PORT, kind, len(told)) + self.head + body

    def line(self):
        role = f"slave {self.primary.decode()}" if self.primary else "master -"
        slots = "" if self.primary else f" {self.slots[0]}-{self.slots[1]}"
        return f"{self.name.decode()} {self.ip}:{PORT}@{self.bus_port} {role} 0 0 {self.epoch} connected{slots}\n"


class Crowd:
    """All others, and the connections with the node."""

    def __init__(self, others, bus_port, node_bus_port):
        self.others, self.node_bus_port = others, node_bus_port
        self.by_ip = {other.ip: other for other in others}
        self.selector = selectors.DefaultSelector()
        self.input, self.received = {}, 0
        self.listener = socket.socket()
        self.listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.listener.bind(("0.0.0.0", bus_port))
        self.listener.listen(2048)
        self.listener.setblocking(False)
        self.selector.register(self.listener, selectors.EVENT_READ, None)
        self.outbound = 0

    def add(self, connection, other):
        connection.setblocking(False)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.input[connection] = b""
        self.selector.register(connection, selectors.EVENT_READ, other)

    def say(self, connection, other, kind):
        told = random.sample(self.others, max(3, len(self.others) // 10))
        data = other.packet(kind, told, int(time.time()))
        try:
            # What the node does not take at once is lost with its packet: it would be asked for again.
            if connection.send(data) != len(data):
                raise SystemExit("the node does not read")
        except BlockingIOError:
            raise SystemExit("the node does not read") from None

    def ping(self, other):
        """Has a node ping the real one, by a connection of its own."""
        if other.inbound is None:
            other.inbound = socket.socket()
            other.inbound.bind((other.ip, 0))
            other.inbound.connect(("127.0.0.1", self.node_bus_port))
            self.add(other.inbound, other)
        self.say(other.inbound, other, PING)

    def run(self, for_s):
        end = time.monotonic() + for_s
        while (left := end - time.monotonic()) > 0:
            for key, _ in self.selector.select(left):
                if key.fileobj is self.listener:
                    connection, _ = self.listener.accept()
                    self.outbound += 1
                    self.add(connection, self.by_ip[connection.getsockname()[0]])
                    continue
                self.read(key.fileobj, key.data)

    def read(self, connection, other):
        try:
            data = connection.recv(1 << 20)
        except BlockingIOError:
            return
        if not data:
            raise SystemExit(f"the node has closed a link of {other.ip}")
        data = self.input[connection] + data
        while len(data) >= 8 and len(data) >= (length := int.from_bytes(data[4:8], "big")):
            packet, data = data[:length], data[length:]
            self.received += 1
            if int.from_bytes(packet[12:14], "big") in (PING, MEET):
                self.say(connection, other, PONG)
                # As often as the node pings, somebody pings it.
                self.ping(random.choice(self.others))
        self.input[connection] = data


def free_port():
    while True:
        port = random.randrange(12000, 20000)
        with socket.socket() as one, socket.socket() as other:
            try:
                one.bind(("127.0.0.1", port))
                other.bind(("0.0.0.0", port + 10000))
                return port
            except OSError:
                pass


def info(port, section):
    done = subprocess.run(["redis-cli", "-p", str(port), "INFO", section], capture_output=True, text=True, check=False)
    return dict(line.split(":", 1) for line in done.stdout.splitlines() if ":" in line)


def cpu_s(pid):
    """What all threads have run, to the nanosecond."""
    total = 0
    for thread in os.listdir(f"/proc/{pid}/task"):
        with open(f"/proc/{pid}/task/{thread}/schedstat", encoding="ascii") as stat:
            total += int(stat.read().split()[0])
    return total / 1e9


def rss(pid):
    with open(f"/proc/{pid}/statm", encoding="ascii") as statm:
        return int(statm.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def measure(arguments, folder):
    port, bus = free_port(), free_port()
    primaries = arguments.nodes // 2
    others = [Other(number, primaries, bus) for number in range(arguments.nodes)]
    # The first one is the real node.
    mine, others = others[0], others[1:]
    lines = [mine.line().replace(f"{mine.ip}:{PORT}@{bus} master", f"127.0.0.1:{port}@{port + 10000} myself,master")]
    lines += [other.line() for other in others]
    alone = [lines[0], f"vars currentEpoch {primaries} lastVoteEpoch 0\n"]
    sizes = {}
    for what, text in (("alone", alone), ("among all", lines + alone[1:])):
        with open(os.path.join(folder, "nodes.conf"), "w", encoding="ascii") as file:
            file.writelines(text)
        crowd = Crowd(others, bus, port + 10000)
        words = [arguments.server, "--port", str(port), "--bind", "127.0.0.1", "--cluster-enabled", "yes", "--save", "",
                 "--cluster-node-timeout", str(arguments.timeout), *arguments.more]
        process = subprocess.Popen(words, cwd=folder, stdout=subprocess.DEVNULL)
        try:
            begun = time.monotonic()
            while info(port, "server").get("tcp_port") != str(port):
                crowd.run(0.1)
                if time.monotonic() - begun > 30:
                    raise SystemExit("the node does not answer")
            if what == "among all":
                while crowd.outbound < len(others):
                    crowd.run(0.5)
                    if time.monotonic() - begun > 120:
                        raise SystemExit(f"the node has made {crowd.outbound} links only")
                for number, other in enumerate(others):
                    crowd.ping(other)
                    if number % 20 == 0:
                        crowd.run(0.05)
            crowd.run(arguments.warm)
            if arguments.wait:
                print(f"process {process.pid}", flush=True)
            received, cpu, at = crowd.received, cpu_s(process.pid), time.monotonic()
            crowd.run(arguments.rest)
            for_s = time.monotonic() - at
            memory = info(port, "memory")
            sizes[what] = int(memory["used_memory"]), rss(process.pid)
            print(f"{what}: {(cpu_s(process.pid) - cpu) / for_s * 1000:.2f} ms of CPU, {(crowd.received - received) / for_s:.1f} packets sent "
                  f"in a second; {sizes[what][0] / 1e6:.2f} MB used, {sizes[what][1] / 1e6:.2f} MB resident")
            if what == "among all":
                print(f"links take {int(memory.get('mem_cluster_links', 0))} bytes by INFO")
        finally:
            process.kill()
            process.wait()
            for connection in list(crowd.input):
                connection.close()
            crowd.listener.close()
            for other in others:
                other.inbound = None
    for number, name in enumerate(("used", "resident")):
        more = sizes["among all"][number] - sizes["alone"][number]
        print(f"each known node: {more / len(others):.0f} bytes {name}")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--server", default="target/release/redstart-server")
    parser.add_argument("--nodes", type=int, default=1000)
    parser.add_argument("--timeout", type=int, default=15000, help="cluster-node-timeout, in milliseconds")
    parser.add_argument("--warm", type=float, default=10, help="seconds before it is measured")
    parser.add_argument("--rest", type=float, default=20, help="seconds in which it is measured")
    parser.add_argument("--wait", action="store_true", help="print the process's number when it is measured")
    parser.add_argument("more", nargs="*", help="more words for the server, behind --")
    arguments = parser.parse_args()
    arguments.server = shutil.which(arguments.server) and os.path.abspath(shutil.which(arguments.server))
    if not arguments.server:
        sys.exit("no server: cargo build --release -p redstart-server")
    folder = tempfile.mkdtemp(prefix="redstart-crowd-")
    try:
        measure(arguments, folder)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main()
