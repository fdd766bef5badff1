"""What no builder of this image gets below: mmdebstrap installing the same packages in one transaction into memory, and
nothing else. Stands beside acceptance 1 of the benchmarks.
"""

import json

from workshop import Failed


class Floor:
    name = "floor"
    once = True

    def __init__(self, shop):
        self.shop = shop

    def prepare(self):
        pass

    def round(self, number):
        packages = self.packages()
        tree = self.shop.work / "tmp/floor"
        tree.mkdir()
        try:
            self.shop.run(["mount", "-t", "tmpfs", "-o", "mode=0755", "bench-floor", tree], "floor-mount")
            release = self.shop.variables["DIB_RELEASE"]
            sources = [f"deb http://deb.debian.org/debian {release} main", f"deb http://deb.debian.org/debian {release}-updates main",
                       f"deb http://deb.debian.org/debian-security {release}-security main"]
            command = ["mmdebstrap", "--mode=root", "--variant=essential", "--format=directory", "--dpkgopt=force-unsafe-io",
                       f"--include={','.join(packages)}", release, tree / "root", *sources]
            self.shop.attempt("floor", number, "packages only", lambda: self.shop.run(command, "floor"))
        finally:
            self.shop.run(["umount", tree], "floor-umount")
            tree.rmdir()

    def packages(self):
        """Those of dibw's image in this run."""
        for line in self.shop.results.read_text().splitlines():
            told = json.loads(line)
            if told["scenario"] == "packages" and "names" in told:
                return told["names"]
        raise Failed("the scenario `cold` has not run, so the packages are not known")
