"""Cold builds of one image by diskimage-builder and by dibw, alternating, then dibw again: with nothing changed, with the last
install hook changed, and with one package more. Acceptance 1, 2 and 3 of the benchmarks.

Both get the same set of packages: each image's list is read in the warm-up, which also fills the proxy, and each tool is
given what only the other one installs, by a package-installs.yaml: `-p` would be a transaction after the install hooks.
"""

import hashlib
import json

from workshop import Failed, ask

ELEMENTS = ["debian-minimal", "vm", "block-device-gpt"]
# In neither image: a small one without dependencies, and one that brings libraries and something in /etc, on which more depends.
ADDED = {"one package more": "tree", "one package with libraries more": "htop"}


class Cold:
    name = "cold"
    once = False

    def __init__(self, shop):
        self.shop = shop
        self.cache = shop.work / "cold-cache"
        self.output = {"dib": shop.work / "dib", "dibw": shop.work / "dibw"}
        self.extra = {"dib": [], "dibw": []}
        self.hook = shop.work / "elements/bench-last/install.d/99-bench-last"

    def prepare(self):
        self.change_hook("warm-up")
        sets = {}
        for tool in ("dib", "dibw"):
            if self.shop.attempt("warm-up", 0, tool, getattr(self, tool)):
                sets[tool] = packages_of(self.shop, self.output[tool].with_suffix(".qcow2"))
        for what, package in ADDED.items():
            self.shop.attempt("warm-up", 0, what, lambda: self.again(["-p", package]))
        if len(sets) == 2:
            self.extra = {"dib": sorted(sets["dibw"] - sets["dib"]), "dibw": sorted(sets["dib"] - sets["dibw"])}
            self.shop.record(scenario="packages", round=0, what="given", dib=self.extra["dib"], dibw=self.extra["dibw"],
                             names=sorted(sets["dib"] | sets["dibw"]))

    def round(self, number):
        shop = self.shop
        self.change_hook(f"round {number}")
        # Who goes first changes, so that neither always has the warmer machine.
        order = ("dib", "dibw") if number % 2 else ("dibw", "dib")
        whole = [tool for tool in order if shop.attempt("cold", number, tool, getattr(self, tool))]
        if len(whole) == 2:
            sets = {tool: packages_of(shop, self.output[tool].with_suffix(".qcow2")) for tool in whole}
            shop.record(scenario="packages", round=number, what="in the images", count={t: len(s) for t, s in sets.items()},
                        only_dib=sorted(sets["dib"] - sets["dibw"]), only_dibw=sorted(sets["dibw"] - sets["dib"]))
        shop.remove_outputs(self.output["dib"])
        if "dibw" in whole:
            self.warm(number)
            shop.image.unlink(missing_ok=True)
            if self.output["dibw"].with_suffix(".qcow2").exists():
                self.output["dibw"].with_suffix(".qcow2").rename(shop.image)
        shop.remove_outputs(self.output["dibw"])
        shop.remove(self.cache)

    def warm(self, number):
        attempt = self.shop.attempt
        image = self.output["dibw"].with_suffix(".qcow2")
        before = sha256(image)
        values = attempt("warm", number, "nothing changed", self.again)
        if values:
            attempt("warm", number, "identical", lambda: same(before, sha256(image)))
        self.change_hook(f"round {number}, changed")
        attempt("warm", number, "last install hook changed", self.again)
        for what, package in ADDED.items():
            attempt("warm", number, what, lambda: self.again(["-p", package]))

    def dib(self):
        shop = self.shop
        cache = shop.work / "dib-cache"
        if cache.exists():
            shop.remove(cache)
        shop.remove_outputs(self.output["dib"])
        self.give("dib")
        variables = {"TMP_DIR": str(shop.work / "tmp"), "DIB_IMAGE_CACHE": str(cache), "ELEMENTS_PATH": str(shop.work / "elements")}
        values = shop.run([shop.shared / "bench/dib", shop.venv, "disk-image-create", "-o", self.output["dib"],
                           *ELEMENTS, "bench-last"], "cold-dib", variables)
        shop.remove(cache)
        return values | {"qcow2_bytes": self.output["dib"].with_suffix(".qcow2").stat().st_size}

    def dibw(self):
        if self.cache.exists():
            self.shop.remove(self.cache)
        self.shop.remove_outputs(self.output["dibw"])
        values = self.build("cold-dibw", [])
        return values | {"qcow2_bytes": self.output["dibw"].with_suffix(".qcow2").stat().st_size}

    def again(self, packages=None):
        return self.build("warm-dibw", packages or [])

    def build(self, log, packages):
        self.give("dibw")
        element = self.shop.work / "elements/bench-last"
        return self.shop.build(log, [*packages, *ELEMENTS, element], self.cache, self.output["dibw"])

    def give(self, tool):
        """The element that both build with asks for the packages that only the other tool's image has."""
        self.hook.parent.mkdir(parents=True, exist_ok=True)
        wanted = self.hook.parent.parent / "package-installs.yaml"
        wanted.unlink(missing_ok=True)
        if self.extra[tool]:
            wanted.write_text("".join(f"{name}:\n" for name in self.extra[tool]))

    def change_hook(self, text):
        self.hook.parent.mkdir(parents=True, exist_ok=True)
        self.hook.write_text(f"#!/bin/bash\nset -eu\necho '{text}' >/etc/bench-last\n")
        self.hook.chmod(0o755)


def same(one, other):
    if one != other:
        raise Failed(f"the artifact changed: sha256 {one[:12]}, then {other[:12]}")
    return {"sha256": one}


def sha256(path):
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def packages_of(shop, qcow2):
    """Names of the packages installed in a disk image, read by debugfs at the root partition's offset: nothing is mounted."""
    raw = shop.work / "packages.raw"
    shop.run(["qemu-img", "convert", "-O", "raw", qcow2, raw], "packages")
    names = set()
    try:
        table = json.loads(ask("sfdisk", "-J", raw))["partitiontable"]
        for partition in table["partitions"]:
            offset = partition["start"] * table.get("sectorsize", 512)
            status = ask("debugfs", "-R", "cat /var/lib/dpkg/status", f"{raw}?offset={offset}")
            for paragraph in status.split("\n\n"):
                fields = dict(line.split(": ", 1) for line in paragraph.splitlines() if ": " in line and line[0] != " ")
                if fields.get("Status") == "install ok installed":
                    names.add(fields["Package"])
    finally:
        shop.remove(raw)
    if not names:
        raise Failed(f"{qcow2}: no list of packages was found")
    return names
