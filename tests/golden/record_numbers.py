#!/usr/bin/env python3
"""Records what redis-server 7.0.15 makes of numbers and patterns, as goldens for common/src/number and glob.

Usage: record_numbers.py [redis-server]   (writes its files beside itself; the seed is fixed)

incrbyfloat.tsv   old value, increment, and the reply of INCRBYFLOAT: the number or the error
doubles.tsv       a text given to ZADD as score, and how ZSCORE prints it, or the error
glob.tsv          case, pattern and text in hexadecimal, and whether they match (KEYS; COMMAND LIST folds case)
"""
import os
import random
import socket
import struct
import subprocess
import sys
import tempfile

HERE = os.path.dirname(os.path.abspath(__file__))


class Client:
    def __init__(self, path):
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.connect(path)
        self.file = self.sock.makefile("rb")

    def __call__(self, *args):
        args = [arg if isinstance(arg, bytes) else str(arg).encode() for arg in args]
        out = b"*%d\r\n" % len(args) + b"".join(b"$%d\r\n%s\r\n" % (len(a), a) for a in args)
        self.sock.sendall(out)
        return self.reply()

    def reply(self):
        line = self.file.readline()[:-2]
        kind, rest = line[:1], line[1:]
        if kind in b"+-":
            return line
        if kind == b":":
            return int(rest)
        if kind == b"$":
            return None if rest == b"-1" else self.file.read(int(rest) + 2)[:-2]
        return [self.reply() for _ in range(int(rest))]


def decimal(rng):
    shape = rng.randrange(9)
    sign = rng.choice(["", "", "", "-", "+"])
    if shape == 0:
        text = str(rng.randrange(10 ** rng.randrange(1, 20)))
    elif shape == 1:
        text = "%d.%s" % (rng.randrange(1000), rng.randrange(10 ** rng.randrange(1, 18)))
    elif shape == 2:
        text = "0." + "0" * rng.randrange(20) + str(rng.randrange(1, 10**6))
    elif shape == 3:
        text = "%de%d" % (rng.randrange(1, 10**6), rng.randrange(-30, 40))
    elif shape == 4:
        text = "%d.%02d" % (rng.randrange(10**6), rng.randrange(100))
    elif shape == 5:
        text = "".join(rng.choice("0123456789") for _ in range(rng.randrange(20, 60)))
        text += "." + "".join(rng.choice("0123456789") for _ in range(rng.randrange(1, 40)))
    elif shape == 6:
        # Halves of the last printed place: ties of the rounding to seventeen decimals.
        text = "%.60f" % (rng.randrange(1, 2**20) / 2 ** rng.randrange(17, 40))
    elif shape == 7:
        text = "0x%x.%xp%d" % (rng.randrange(2**32), rng.randrange(2**40), rng.randrange(-60, 60))
    else:
        low, high = rng.choice([(-4970, -4930), (-330, 330), (-60, 60), (-60, 60)])
        text = "%de%d" % (rng.randrange(1, 10**18), rng.randrange(low, high))
    return sign + text


EDGES = """
0 -0 +0 00 0.0 -0.0 .5 5. . + - e 1e 1e+ 1e- 1e5 1E5 1e+5 1e05 1e99999999999999999999 0e99999999999999999999
1e-99999999999999999999 0x 0x1 0X1P3 0x.8 0x8. 0x. 0x1p 0x1p- 0x1p-3 0x1.8p1 0x1g 0x1p99999999999 0x0p99999999999
0x1p-99999999999 0x1.fffffffffffff8p0 0x1.fffffffffffff7p0 0x1.00000000000008p0 0x1.000000000000080001p0
0x1p1023 0x1p1024 0x1.fffffffffffff8p1023 0x1p-1074 0x1p-1075 0x1.8p-1075 0x0.0000000000000000001p0 0x1p16383 0x1p16384
0x1p-16445 0x1p-16446 0x1.8p-16446 -0x1p-16446 0x10000000000000001p0 0x10000000000000000fp-4 0x18000000000000000001p0
inf -inf +inf INF Infinity -INFINITY infinit infi in nan -nan NAN nan(1) nan() 1_000 1,5 1d 1f 1L ٣
1e308 1.7976931348623157e308 1.7976931348623158e308 1.7976931348623159e308 1e309 -1e309 2.2250738585072014e-308
4.9406564584124654e-324 2.4703282292062327e-324 2.4703282292062328e-324 2.5e-324 1e-323 1e-324 1e-400 0.1e-323
1e4932 1.18973149535723176502e4932 1.18973149535723176509e4932 1.2e4932 1e4933 3.6e-4951 1.9e-4951 1.8e-4951 1e-4952
0.1 0.2 0.3 1.1 3.3 1e15 1e16 1e17 123456789012345678 1e21 1e-4 1e-5 0.0001 0.00001 100000000000000000 99999999999999999
9007199254740993 1234567890123456.25 1234567890123456.75 0.5 2.5 1e22 1e23 5e-7 18446744073709551615 18446744073709551616
9223372036854775807 -9223372036854775808 9223372036854775808 0.00000000000000001 0.000000000000000005 0.000000000000000015
0.000000000000000025 -0.000000000000000004 1.00000000000000000542101086242752217 1.000000000000000000054210108624275
""".split() + ["", " 1", "1 ", "\t1", "1\n", "1 2", "0" * 400 + "1", "1" + "0" * 400, "0." + "0" * 400 + "1"]
EDGES += ["9" * 5000, "0" * 5118 + "1", "0" * 5119 + "1", "1e" + "0" * 40 + "5"]


def outcome(reply):
    return reply.decode()


def record_sums(redis, rng):
    yield "# old value\tincrement\tINCRBYFLOAT answers"
    pairs = [(edge, "1") for edge in EDGES] + [("0", edge) for edge in EDGES]
    pairs += [(rng.choice(EDGES), rng.choice(EDGES)) for _ in range(150)]
    pairs += [(decimal(rng), decimal(rng)) for _ in range(700)]
    pairs += [("0", decimal(rng)) for _ in range(150)]
    for _ in range(120):
        # Neighbours that cancel, and numbers of very different size.
        base = decimal(rng)
        pairs.append((base, "-" + base.lstrip("+-")))
        pairs.append(("%d" % rng.randrange(2**60, 2**64), "%d.5" % rng.randrange(2**20)))
        pairs.append(("1e%d" % rng.randrange(10, 25), "-0.%d" % rng.randrange(1, 10**9)))
    for old, increment in pairs:
        if "\t" in old + increment or "\n" in old + increment:
            continue
        redis("SET", "k", old)
        yield "%s\t%s\t%s" % (old, increment, outcome(redis("INCRBYFLOAT", "k", increment)))


def record_doubles(redis, rng):
    yield "# text given to ZADD\tZSCORE answers"
    # A listpack keeps whole scores as integers, so that -0 would come back as 0.
    redis("CONFIG", "SET", "zset-max-listpack-entries", 0)
    texts = list(EDGES) + [decimal(rng) for _ in range(600)]
    texts += ["%.17g" % struct.unpack("<d", rng.randbytes(8))[0] for _ in range(300)]
    texts += [str(rng.randrange(2**62)) for _ in range(40)]
    for text in texts:
        if "\t" in text or "\n" in text:
            continue
        redis("DEL", "z")
        added = redis("ZADD", "z", text, "m")
        yield "%s\t%s" % (text, outcome(redis("ZSCORE", "z", "m") if added == 1 else added))


def pattern(rng, alphabet):
    parts = ["*", "**", "?", "[", "]", "[^", "-", "\\", "\\*", "^"] + list(alphabet)
    parts = [p.encode("latin-1") for p in parts]
    return b"".join(rng.choice(parts) for _ in range(rng.randrange(1, 9)))


def record_globs(redis, rng):
    yield "# case\tpattern\ttext\tmatches"
    yes = no = 0
    while yes + no < 1500:
        alphabet = "abcB\x80\xff-]" if rng.randrange(3) else "ab"
        text = "".join(rng.choice(alphabet) for _ in range(rng.randrange(1, 6))).encode("latin-1")
        glob = pattern(rng, alphabet)
        if glob == b"*":
            continue
        redis("FLUSHALL")
        redis("SET", text, "")
        hit = len(redis("KEYS", glob))
        if not hit and no > yes + 100:
            continue
        yes, no = yes + hit, no + 1 - hit
        yield "exact\t%s\t%s\t%d" % (glob.hex(), text.hex(), hit)
    names = ["get", "set", "zadd", "hset", "del", "ttl", "type", "lpop", "sadd", "ping"]
    forms = ["%c", "[%c]", "\\%c", "[a-%c]", "[%c-Z]", "[^%c]", "?", "*", "[x%c"]
    seen = 0
    while seen < 400:
        word = rng.choice(names)
        letters = [rng.choice([c, c, c.upper(), "z"]) for c in word]
        glob = "".join(form % c if "%" in (form := rng.choice(forms)) else form for c in letters)
        found = redis("COMMAND", "LIST", "FILTERBY", "PATTERN", glob)
        for name in names:
            hit = name.encode() in found
            if hit or name == word:
                seen += 1
                yield "folded\t%s\t%s\t%d" % (glob.encode().hex(), name.encode().hex(), hit)


def main():
    server = sys.argv[1] if len(sys.argv) > 1 else "redis-server"
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "redis.sock")
        command = [server, "--port", "0", "--unixsocket", path, "--save", "", "--dir", folder]
        process = subprocess.Popen(command, stdout=subprocess.PIPE)
        try:
            while b"ready to accept" not in process.stdout.readline().lower():
                pass
            redis = Client(path)
            for name, record in (
                ("incrbyfloat.tsv", record_sums),
                ("doubles.tsv", record_doubles),
                ("glob.tsv", record_globs),
            ):
                with open(os.path.join(HERE, name), "w", encoding="utf-8") as out:
                    for line in record(redis, random.Random(7015)):
                        out.write(line + "\n")
        finally:
            process.terminate()
            process.wait()


main()
