"""How fast output is masked: 20 secrets of 30 bytes in ordinary log text, in chunks of several sizes.

python bench/masking_bench.py
"""

import random
import string
import time

from infraxys.engine.masking import Masker

LINE = b"2026-01-01 12:00:00,123 INFO  [worker-7] module: Applied resource aws_instance.web[3] in 1.25 s (i-0abc)\n"
MINIMUM = 100  # MB/s, in chunks as they come from a pipe


def speed(masker: Masker, text: bytes, size: int) -> float:
    """Give MB/s for one stream."""
    chunks = [text[start : start + size] for start in range(0, len(text), size)]
    best = 0.0
    for _ in range(5):
        begin = time.perf_counter()
        for chunk in chunks:
            masker.feed("stdout", chunk)
        best = max(best, len(text) / 1e6 / (time.perf_counter() - begin))
    return best


def main() -> int:
    """Print what was measured; fails below the minimum."""
    chance = random.Random(1)
    letters = string.ascii_letters + string.digits + "+/!@"
    secrets = ["".join(chance.choice(letters) for _ in range(30)) for _ in range(20)]
    begin = time.perf_counter()
    masker = Masker(secrets)
    masker.prepare()
    print(f"prepare 20 secrets: {(time.perf_counter() - begin) * 1e3:.1f} ms")
    begin = time.perf_counter()
    one = Masker(["ifr_" + "0123456789abcdef" * 2 + "_" + "x" * 43 + "_abcdef"])
    one.prepare()
    print(f"prepare the token of a run: {(time.perf_counter() - begin) * 1e3:.2f} ms")
    text = LINE * 100_000
    found = {
        "20 secrets, 64 KiB": speed(masker, text, 65536),
        "20 secrets, 4 KiB": speed(masker, text, 4096),
        "20 secrets, a line": speed(masker, text[:1_000_000], len(LINE)),
        "20 secrets, coloured, 64 KiB": speed(masker, LINE.replace(b"INFO", b"\x1b[32mINFO\x1b[0m") * 30_000, 65536),
        "a token, 64 KiB": speed(one, text, 65536),
    }
    for name, value in found.items():
        print(f"{name:<32} {value:6.0f} MB/s")
    return 0 if found["20 secrets, 64 KiB"] >= MINIMUM else 1


if __name__ == "__main__":
    raise SystemExit(main())
