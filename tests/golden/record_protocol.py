#!/usr/bin/env python3
"""Records how redis-server 7.0.15 reads requests, as goldens for common/src/resp/request.rs.

Usage: record_protocol.py [redis-server]   (writes protocol.tsv beside itself; the seed is fixed)

Each row: `open` or `stranger` (a password is set and not given), what was sent before the sending side was closed, and all
that came back. Bytes are hexadecimal; `61*70000` is a byte repeated; parts are joined by commas. The requests are
EVAL 'return ARGV' 0 ... and ECHO, so that what comes back shows the arguments as the server understood them.
"""
import os
import random
import socket
import subprocess
import sys
import tempfile

HERE = os.path.dirname(os.path.abspath(__file__))
ECHO = b"*2\r\n$4\r\nECHO\r\n$2\r\nhi\r\n"
EVAL = b"eval 'return ARGV' 0 "

OPEN = [
    ECHO,
    ECHO * 3,
    b"*0\r\n*-1\r\n\r\n\n  \r\n" + ECHO,
    b"*-9223372036854775808\r\n" + ECHO,
    b"echo hi\r\necho \"a b\"\necho 'c'\r\n",
    b"*2\r\n$4\r\nECHOxx$2\r\nhiyy" + ECHO,
    b"*2\rX$4\rY" + b"ECHO\r\n$2\r\nhi\r\n",
    b"*2\r\n$4\r\nECHO\r\n$0\r\n\r\n",
    b"*2\r\n$4\r\nECHO\r\n$5\r\n\0\r\n\xff*\r\n",
    b"*x\r\n", b"*\r\n", b"*01\r\n", b"*+1\r\n", b"*-0\r\n", b"* 1\r\n", b"*1 \r\n", b"*--1\r\n", b"*1\n\r\n",
    b"*2147483647\r\n", b"*2147483648\r\n", b"*9223372036854775808\r\n", b"*99999999999999999999999\r\n",
    b"*1\r\n\r\n", b"*1\r\n\n\r\n", b"*1\r\n!\r\n", b"*1\r\n1234\r\n", b"*1\r\n\xff\r\n", b"*1\r\n:1\r\n", b"*1\r\n*1\r\n",
    b"*1\r\n\x01\r\n", b"*1\r\n'\r\n", b"*1\r\n$\r\n", b"*1\r\n$-1\r\n", b"*1\r\n$+1\r\n", b"*1\r\n$1x\r\n", b"*1\r\n$00\r\n",
    b"*1\r\n$ 1\r\n", b"*1\r\n$536870912\r\n", b"*1\r\n$536870913\r\n", b"*1\r\n$9223372036854775807\r\n",
    b"*1\r\n$99999999999999999999\r\n", b"*1\r\n$4\r\nPIN", b"*1\r\n$4\r\nPING\r", b"*1\r", b"*1", b"*", b"ech", b"echo hi",
    ECHO + b"*1\r\n!\r\n" + ECHO,
    ECHO + b"echo \"hi\r\n" + ECHO,
    b"echo hi\0\r\n" + ECHO, b"\0\r\n" + ECHO, b"*1\0\r\n" + ECHO, b"*1\r\n$4\0\r\n" + ECHO,
    b"$4\r\n", b"echo 'a'b\r\n", b"echo \"a\"b\r\n", b"echo \"a\r\n", b"echo 'a\r\n", b"echo \"a\\\r\n", b"echo a\rb\n",
    b"echo a\r\r\n", b"\recho a\n", b"echo\x0ba\x0c\r\n", b"\x0b\x0cecho a\r\n",
    (b"a", 65536), (b"a", 65537), (b"a", 65536, b"\r\n"), (b"\0", 65537), (b"\0", 65536, b"\r\n"),
    (b"*1", 1, b"1", 65534), (b"*", 1, b"1", 65536), (b"*1\r\n$", 1, b"1", 65535), (b"*1\r\n$", 1, b"1", 65536),
    (b"*1\r\n", 1, b"x", 65536), (b"*1\r\n", 1, b"x", 65537), (b"*1\r\n", 1, b"\0", 65537),
]
STRANGER = [
    b"*10\r\n", b"*11\r\n", b"*2147483647\r\n", b"*2147483648\r\n", b"*1\r\n$16384\r\n", b"*1\r\n$16385\r\n",
    b"*1\r\n$536870913\r\n", b"*x\r\n", b"*1\r\n!\r\n", b"*2\r\n$4\r\nAUTH\r\n$20000\r\n",
]


def parts(row):
    if isinstance(row, bytes):
        return [(row, 1)]
    return [(row[at], row[at + 1] if at + 1 < len(row) else 1) for at in range(0, len(row), 2)]


def shown(row):
    return ",".join(data.hex() + ("*%d" % count if count > 1 else "") for data, count in parts(row))


def exchange(path, row):
    with socket.socket(socket.AF_UNIX) as sock:
        sock.connect(path)
        data = b"".join(data * count for data, count in parts(row))
        try:
            sock.sendall(data)
            sock.shutdown(socket.SHUT_WR)
        except OSError:
            pass
        answer = b""
        while chunk := sock.recv(65536):
            answer += chunk
        return answer


def word(rng):
    alphabet = [b"a", b"b", b"\\", b"\"", b"'", b"\\n", b"\\r", b"\\t", b"\\b", b"\\a", b"\\x41", b"\\xfF", b"\\xg1", b"\\x1",
                b"\\\"", b"\\'", b"\xc3", b"\t", b" ", b"\x0b"]
    bare = b"".join(rng.choice(alphabet) for _ in range(rng.randrange(6)))
    return rng.choice([bare, b'"' + bare + b'"', b"'" + bare + b"'", b"plain", b'""'])


def main():
    server = sys.argv[1] if len(sys.argv) > 1 else "redis-server"
    rng = random.Random(7015)
    lines = [EVAL + b" ".join(word(rng) for _ in range(rng.randrange(4))) + b"\r\n" for _ in range(400)]
    with tempfile.TemporaryDirectory() as folder, open(os.path.join(HERE, "protocol.tsv"), "w") as out:
        path = os.path.join(folder, "redis.sock")
        command = [server, "--port", "0", "--unixsocket", path, "--save", "", "--dir", folder]
        process = subprocess.Popen(command, stdout=subprocess.PIPE)
        try:
            while b"ready to accept" not in process.stdout.readline().lower():
                pass
            out.write("# client\tsent\tanswered\n")
            for row in OPEN + lines:
                out.write("open\t%s\t%s\n" % (shown(row), exchange(path, row).hex()))
            exchange(path, b"config set requirepass secret\r\n")
            for row in STRANGER:
                out.write("stranger\t%s\t%s\n" % (shown(row), exchange(path, row).hex()))
        finally:
            process.terminate()
            process.wait()


main()
