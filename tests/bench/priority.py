#!/usr/bin/env python3
"""CPU microseconds per command, ours beside redis-server, for the commands that are used most, and how they grow.

The commands are the sixty highest of `commands-priority.json` in redis-benchmarks-specification. Those that work on a collection
are measured at several sizes of it, at random places; what they take away is put back between the measurements. One client sends
fifty requests at once; what the server's threads ran meanwhile is read from /proc/PID/task/*/schedstat. The two servers are
measured one after the other in each round, in alternating order; the median of the rounds is printed. Python's standard
library is all that is needed.
"""

import argparse
import glob
import os
import random
import shutil
import socket
import statistics
import subprocess
import tempfile
import time
import typing

AT_ONCE = 50
VALUE = "v" * 100
SCRIPT = "return redis.call('get', KEYS[1])"
MARK = b"$4\r\nMARK\r\n"


class Case(typing.NamedTuple):
    """A command: the requests that build its data of a size, one request, and what puts back what that took away."""

    name: str
    request: typing.Callable
    build: typing.Callable = None
    again: typing.Callable = None
    grows: bool = False


def element(n, at=None):
    return f"element:{random.randrange(n) if at is None else at:09d}"


def key(_):
    return f"key:{random.randrange(10_000):09d}"


def strings(_):
    return (["SET", f"key:{at:09d}", VALUE] for at in range(10_000))


def counters(_):
    return (["SET", f"key:{at:09d}", "7"] for at in range(10_000))


def in_tens(word, name, n, of):
    for start in range(0, n, 10):
        yield [word, name] + [part for at in range(start, min(start + 10, n)) for part in of(at)]


def hash_of(n):
    return in_tens("HSET", "h", n, lambda at: (element(n, at), VALUE[:20]))


def numbers_of(n):
    return in_tens("HSET", "h", n, lambda at: (element(n, at), str(at)))


def set_of(n):
    return in_tens("SADD", "s", n, lambda at: (element(n, at),))


def zset_of(n):
    return in_tens("ZADD", "z", n, lambda at: (str(at), element(n, at)))


def list_of(n):
    return in_tens("RPUSH", "l", n, lambda at: (element(n, at),))


def stream_of(n):
    yield ["XGROUP", "CREATE", "x", "g", "$", "MKSTREAM"]
    for _ in range(n):
        yield ["XADD", "x", "*", "name", VALUE[:20]]


def lists_of_two(_):
    yield ["RPUSH", "a"] + ["v"] * 100
    yield ["RPUSH", "b"] + ["v"] * 100


def push(count):
    return lambda n: [["RPUSH", "l"] + [element(n) for _ in range(count)]]


def cases():
    def on(name, request, build, again=None):
        return Case(name, request, build, again, True)

    return [
        Case("GET", lambda n: ["GET", key(n)], strings),
        on("HGET", lambda n: ["HGET", "h", element(n)], hash_of),
        Case("EVALSHA", lambda n: ["EVALSHA", "SHA", "1", key(n)], strings),
        Case("HGETALL, 10 fields", lambda n: ["HGETALL", "h"], lambda n: hash_of(10)),
        Case("HGETALL, 1000 fields", lambda n: ["HGETALL", "h"], lambda n: hash_of(1000)),
        Case("MGET, 10 keys", lambda n: ["MGET"] + [key(n) for _ in range(10)], strings),
        Case("SET", lambda n: ["SET", key(n), VALUE], strings),
        Case("EXPIRE", lambda n: ["EXPIRE", key(n), "1000"], strings),
        on("HDEL", lambda n: ["HDEL", "h", element(n)], hash_of, lambda n: [["HSET", "h", element(n), VALUE[:20]]] * AT_ONCE),
        on("HMSET, 5 fields", lambda n: ["HMSET", "h"] + [part for _ in range(5) for part in (element(n), VALUE[:20])], hash_of),
        on("HMGET, 5 fields", lambda n: ["HMGET", "h"] + [element(n) for _ in range(5)], hash_of),
        on("HSET", lambda n: ["HSET", "h", element(n), VALUE[:20]], hash_of),
        Case("DEL", lambda n: ["DEL", key(n)], strings, lambda n: [["SET", key(n), VALUE] for _ in range(AT_ONCE)]),
        Case("EXISTS", lambda n: ["EXISTS", key(n)], strings),
        Case("PING", lambda n: ["PING"]),
        Case("MULTI, GET, EXEC", lambda n: [["MULTI"], ["GET", key(n)], ["EXEC"]], strings),
        on("ZADD", lambda n: ["ZADD", "z", str(random.randrange(n)), element(n)], zset_of),
        on("HINCRBYFLOAT", lambda n: ["HINCRBYFLOAT", "h", element(n), "0.5"], numbers_of),
        on("XREADGROUP", lambda n: ["XREADGROUP", "GROUP", "g", "c", "COUNT", "1", "STREAMS", "x", ">"], stream_of,
           lambda n: [["XADD", "x", "*", "name", VALUE[:20]]] * AT_ONCE),
        on("HINCRBY", lambda n: ["HINCRBY", "h", element(n), "3"], numbers_of),
        Case("INCRBYFLOAT", lambda n: ["INCRBYFLOAT", key(n), "0.5"], counters),
        on("ZRANGEBYSCORE, 10", lambda n: ["ZRANGEBYSCORE", "z", str(random.randrange(n)), "+inf", "LIMIT", "0", "10"], zset_of),
        Case("SETEX", lambda n: ["SETEX", key(n), "1000", VALUE], strings),
        on("ZSCORE", lambda n: ["ZSCORE", "z", element(n)], zset_of),
        Case("SMEMBERS, 100 members", lambda n: ["SMEMBERS", "s"], lambda n: set_of(100)),
        Case("PUBLISH", lambda n: ["PUBLISH", "channel", VALUE]),
        Case("HELLO", lambda n: ["HELLO"]),
        Case("TOUCH", lambda n: ["TOUCH", key(n)], strings),
        Case("INCR", lambda n: ["INCR", key(n)], counters),
        Case("EVAL", lambda n: ["EVAL", SCRIPT, "1", key(n)], strings),
        on("ZRANGE, 10", lambda n: ["ZRANGE", "z", str(at := random.randrange(n)), str(at + 9)], zset_of),
        Case("RPOPLPUSH", lambda n: ["RPOPLPUSH", "a", "a"], lists_of_two),
        Case("INCRBY", lambda n: ["INCRBY", key(n), "3"], counters),
        on("RPUSH", lambda n: ["RPUSH", "l", element(n)], list_of, lambda n: [["LTRIM", "l", "0", str(n - 1)]]),
        on("LLEN", lambda n: ["LLEN", "l"], list_of),
        on("SADD", lambda n: ["SADD", "s", element(2 * n)], set_of),
        on("ZCARD", lambda n: ["ZCARD", "z"], zset_of),
        Case("TTL", lambda n: ["TTL", key(n)], strings),
        Case("PEXPIRE", lambda n: ["PEXPIRE", key(n), "1000000"], strings),
        on("HEXISTS", lambda n: ["HEXISTS", "h", element(n)], hash_of),
        on("ZREMRANGEBYSCORE, 1", lambda n: ["ZREMRANGEBYSCORE", "z", str(at := random.randrange(n)), str(at)], zset_of,
           lambda n: [["ZADD", "z", str(at := random.randrange(n)), element(n, at)] for _ in range(AT_ONCE)]),
        on("LRANGE, 100 in front", lambda n: ["LRANGE", "l", "0", "99"], list_of),
        on("SISMEMBER", lambda n: ["SISMEMBER", "s", element(n)], set_of),
        on("ZREM", lambda n: ["ZREM", "z", element(n)], zset_of,
           lambda n: [["ZADD", "z", str(at := random.randrange(n)), element(n, at)] for _ in range(AT_ONCE)]),
        on("BRPOP", lambda n: ["BRPOP", "l", "1"], list_of, push(AT_ONCE)),
        on("XADD", lambda n: ["XADD", "x", "*", "name", VALUE[:20]], stream_of),
        Case("GETSET", lambda n: ["GETSET", key(n), VALUE], strings),
        on("HLEN", lambda n: ["HLEN", "h"], hash_of),
        on("LPOP", lambda n: ["LPOP", "l"], list_of, push(AT_ONCE)),
        Case("REPLCONF", lambda n: ["REPLCONF", "listening-port", "1"]),
        on("HSCAN, 10", lambda n: ["HSCAN", "h", str(random.randrange(n))], hash_of),
        Case("PSETEX", lambda n: ["PSETEX", key(n), "1000000", VALUE], strings),
        on("SPOP", lambda n: ["SPOP", "s"], set_of, lambda n: [["SADD", "s", element(n)] for _ in range(2 * AT_ONCE)]),
        Case("TIME", lambda n: ["TIME"]),
        Case("PEXPIREAT", lambda n: ["PEXPIREAT", key(n), "9999999999999"], strings),
        Case("PTTL", lambda n: ["PTTL", key(n)], strings),
        on("LPUSH", lambda n: ["LPUSH", "l", element(n)], list_of, lambda n: [["LTRIM", "l", "0", str(n - 1)]]),
        on("LREM, in front", lambda n: ["LREM", "l", "1", "there"], list_of, lambda n: [["LPUSH", "l", "there"]] * AT_ONCE),
        on("ZPOPMIN", lambda n: ["ZPOPMIN", "z"], zset_of,
           lambda n: [["ZADD", "z", str(at := random.randrange(n)), element(n, at)] for _ in range(AT_ONCE)]),
        on("ZREVRANGE, 10", lambda n: ["ZREVRANGE", "z", str(at := random.randrange(n)), str(at + 9)], zset_of),
        # What the list names at its end.
        on("RPOP", lambda n: ["RPOP", "l"], list_of, push(AT_ONCE)),
        on("HRANDFIELD", lambda n: ["HRANDFIELD", "h"], hash_of),
        on("LINDEX", lambda n: ["LINDEX", "l", str(random.randrange(n))], list_of),
        on("ZRANK", lambda n: ["ZRANK", "z", element(n)], zset_of),
    ]


def encode(requests):
    out = []
    for words in requests:
        out.append(b"*%d\r\n" % len(words))
        for word in words:
            word = word.encode()
            out.append(b"$%d\r\n%s\r\n" % (len(word), word))
    return b"".join(out)


def pinned(processor):
    return lambda: os.sched_setaffinity(0, {processor})


class Server:
    """A server on processor 0, and the client that asks it."""

    def __init__(self, executable):
        self.folder = tempfile.mkdtemp()
        with socket.socket() as listener:
            listener.bind(("127.0.0.1", 0))
            port = listener.getsockname()[1]
        words = [executable, "--port", str(port), "--save", "", "--dir", self.folder, "--appendonly", "no"]
        self.process = subprocess.Popen(words, stdout=subprocess.DEVNULL, preexec_fn=pinned(0))
        for _ in range(200):
            try:
                self.socket = socket.create_connection(("127.0.0.1", port))
                break
            except OSError:
                time.sleep(0.05)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        sha = self.ask(encode([["SCRIPT", "LOAD", SCRIPT]]))
        self.sha = sha.split(b"\r\n")[1].decode()

    def ask(self, bytes_):
        """Sends requests and reads all that they answer."""
        self.socket.sendall(bytes_ + b"*2\r\n$4\r\nECHO\r\n" + MARK)
        got = bytearray()
        while not got.endswith(MARK):
            piece = self.socket.recv(1 << 20)
            if not piece:
                raise EOFError("the server has gone")
            got += piece
        return bytes(got[: -len(MARK)])

    def ran_ns(self):
        total = 0
        for path in glob.glob(f"/proc/{self.process.pid}/task/*/schedstat"):
            with open(path) as file:
                total += int(file.read().split()[0])
        return total

    def end(self):
        self.socket.close()
        self.process.kill()
        self.process.wait()
        shutil.rmtree(self.folder)


def build(server, case, size):
    server.ask(encode([["FLUSHALL"]]))
    requests = []
    for request in case.build(size) if case.build else ():
        requests.append(request)
        if len(requests) == 1000:
            server.ask(encode(requests))
            requests = []
    if requests:
        server.ask(encode(requests))


def measure(server, case, size, count):
    """Microseconds of a request."""
    random.seed(size)
    ran = 0
    for at in range(count // AT_ONCE + 1):
        requests = []
        for _ in range(AT_ONCE):
            request = case.request(size)
            requests += request if isinstance(request[0], list) else [request]
        requests = [[server.sha if word == "SHA" else word for word in words] for words in requests]
        bytes_ = encode(requests)
        before = server.ran_ns()
        answer = server.ask(bytes_)
        # It is asleep again, and its time is counted.
        time.sleep(0.0002)
        if at > 0:
            ran += server.ran_ns() - before
        elif b"-ERR" in answer or b"-WRONGTYPE" in answer:
            raise ValueError(f"{case.name}: {answer[:200]}")
        if case.again:
            server.ask(encode(case.again(size)))
    return ran / (count // AT_ONCE * AT_ONCE) / 1000


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--ours", default="target/release/redstart-server")
    parser.add_argument("--theirs", default=shutil.which("redis-server"))
    parser.add_argument("--sizes", default="1000,10000,100000", help="elements of collections; 1000000 takes minutes")
    parser.add_argument("--count", type=int, default=4000, help="requests of a measurement")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only", default="", help="names that contain this")
    wanted = parser.parse_args()
    os.sched_setaffinity(0, {1 % os.cpu_count()})
    sizes = [int(size) for size in wanted.sizes.split(",")]
    print("| Command | " + " | ".join(f"{size:,}" for size in sizes) + " |")
    print("|---" * (len(sizes) + 1) + "|", flush=True)
    for case in cases():
        if wanted.only.lower() not in case.name.lower():
            continue
        cells = []
        for size in sizes if case.grows else sizes[:1]:
            took = {"ours": [], "theirs": []}
            servers = {"ours": Server(wanted.ours), "theirs": Server(wanted.theirs)}
            try:
                for server in servers.values():
                    build(server, case, size)
                for round_ in range(wanted.rounds):
                    for name in sorted(servers, reverse=round_ % 2 == 1):
                        took[name].append(measure(servers[name], case, size, wanted.count))
            finally:
                for server in servers.values():
                    server.end()
            ours, theirs = (statistics.median(took[name]) for name in ("ours", "theirs"))
            ratio = statistics.median(one / other for one, other in zip(took["ours"], took["theirs"]))
            cells.append(f"{ratio:.2f}: {ours:.2f} / {theirs:.2f}")
        print(f"| {case.name} | " + " | ".join(cells) + " |", flush=True)


if __name__ == "__main__":
    main()
