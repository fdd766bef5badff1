"""Raw to qcow2 by `tests/bench/conversion`, on the image of the last cold build, or on one that is built for it. Acceptance 4 of the benchmarks."""

import os

from workshop import Failed

ELEMENTS = ["debian-minimal", "vm", "block-device-gpt"]


class Conversion:
    name = "conversion"
    once = True

    def __init__(self, shop):
        self.shop = shop
        self.output = shop.work / "conversion"

    def prepare(self):
        pass

    def round(self, _number):
        self.shop.attempt("conversion", 1, "raw image", self.make_image)
        if self.output.with_suffix(".raw").exists():
            self.shop.attempt("conversion", 1, "table", self.convert)
        self.shop.remove_outputs(self.output)
        self.shop.image.unlink(missing_ok=True)
        if (cache := self.shop.work / "conversion-cache").exists():
            self.shop.remove(cache)

    def make_image(self):
        if self.shop.image.exists():
            self.shop.run(["qemu-img", "convert", "-O", "raw", self.shop.image, self.output.with_suffix(".raw")], "conversion-image")
        else:
            self.shop.build("conversion-image", ["-t", "raw", *ELEMENTS], self.shop.work / "conversion-cache", self.output)
        stat = self.output.with_suffix(".raw").stat()
        return {"bytes": stat.st_size, "stored": stat.st_blocks * 512}

    def convert(self):
        script = self.shop.repository / "tests/bench/conversion"
        if not script.exists():
            raise Failed("tests/bench/conversion is not there")
        # It compiles an example first: cargo wants the caller's home.
        caller = ("HOME", "CARGO_HOME", "RUSTUP_HOME", "CARGO_TARGET_DIR", "RUSTC")
        variables = {key: os.environ[key] for key in caller if key in os.environ} | {"http_proxy": ""}
        self.shop.run([script, self.output.with_suffix(".raw"), self.shop.rounds], "conversion", variables)
        return {"table": read_table(self.shop.log.read_text())}


def read_table(text):
    """The script's table: by way, its columns as numbers."""
    lines = text.splitlines()
    heads = [line.split() for line in lines if line.startswith("way ")]
    if not heads:
        raise Failed("tests/bench/conversion printed no table")
    columns = ["seconds", "cpu", "bytes", "of_c", "size"]
    rows = {}
    for line in lines:
        words = line.split()
        if len(words) == 6 and words[0].split("-")[0] in ("qemu", "ours"):
            rows[words[0]] = dict(zip(columns, map(float, words[1:])))
    if not any(line.startswith("qemu-img check and compare: all of ours are whole") for line in lines):
        raise Failed("qemu-img found the images different or damaged")
    return rows
