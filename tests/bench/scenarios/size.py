"""Time and memory against the size of the tree. Acceptance 7 of the benchmarks.

A hook on the host side writes files of 4 KiB to 1 MiB, evenly distributed by the logarithm of their size, a fifth of the
bytes random and the rest text. Measured are a cold build to qcow2, the same with all layers, and a cold build to tar that
keeps no layers. A hook in cleanup.d keeps dibw from taking the whole output from its cache: what is measured is its making.
"""

import os

from workshop import Failed

SIZES = [200, 500, 1000, 2000, 4000]  # MB
HOOK = r'''#!/usr/bin/env python3
"""Fills $TARGET_ROOT/srv/tree with $DIB_BENCH_MB megabytes."""
import math
import os
import random

chance = random.Random(1)
words = [bytes(chance.choices(range(97, 123), k=chance.randint(2, 9))) for _ in range(500)]
text = b" ".join(chance.choices(words, k=700000))
noise = chance.randbytes(8 << 20)
left = int(os.environ["DIB_BENCH_MB"]) * 1000000
number = 0
while left > 0:
    size = min(left, int(math.exp(chance.uniform(math.log(4096), math.log(1 << 20)))))
    directory = f"{os.environ['TARGET_ROOT']}/srv/tree/{number // 200}"
    if number % 200 == 0:
        os.makedirs(directory)
    source = noise if chance.random() < 0.2 else text
    start = chance.randrange(len(source) - size)
    with open(f"{directory}/{number}", "wb") as file:
        file.write(source[start:start + size])
    left -= size
    number += 1
'''


class Size:
    name = "size"
    once = False

    def __init__(self, shop):
        self.shop = shop
        self.cache = shop.work / "size-cache"
        self.output = shop.work / "size"
        self.element = shop.work / "elements/bench-tree"

    def prepare(self):
        hook = self.element / "root.d/50-bench-tree"
        hook.parent.mkdir(parents=True, exist_ok=True)
        hook.write_text(HOOK)
        hook.chmod(0o755)
        nothing = self.element / "cleanup.d/50-bench-tree"
        nothing.parent.mkdir(exist_ok=True)
        nothing.write_text("#!/bin/bash\nexit 0\n")
        nothing.chmod(0o755)

    def round(self, number):
        for size in SIZES:
            attempt = self.shop.attempt
            attempt("size", number, f"{size} MB, qcow2, cold", lambda: self.build(size, "-t", "qcow2"))
            self.shop.remove_outputs(self.output)
            attempt("size", number, f"{size} MB, qcow2, all layers", lambda: self.build(size, "-t", "qcow2"))
            self.forget()
            attempt("size", number, f"{size} MB, tar, cold", lambda: self.build(size, "-t", "tar", "--no-cache"))
            self.forget()

    def build(self, size, *arguments):
        free = os.statvfs(self.shop.work)
        room, needed = free.f_bavail * free.f_frsize, int(size * (0.6e6 if self.cache.exists() else 1.8e6))
        if room < needed:
            raise Failed(f"{room / 1e9:.1f} GB are free below {self.shop.work}, {needed / 1e9:.1f} GB are needed")
        variables = {"DIB_BENCH_MB": str(size)}
        values = self.shop.build("size", [*arguments, "-n", "fake-os", "block-device-gpt", self.element], self.cache, self.output, variables)
        return values | {"mb": size}

    def forget(self):
        self.shop.remove_outputs(self.output)
        if self.cache.exists():
            self.shop.remove(self.cache)
