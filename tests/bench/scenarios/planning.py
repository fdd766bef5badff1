"""Planning a build of 500 elements that depend on one another. The second half of acceptance 5 of the benchmarks."""

COUNT = 500
TIMES = 10


class Planning:
    name = "planning"
    once = True

    def __init__(self, shop):
        self.shop = shop
        self.elements = shop.work / "elements/planned"

    def prepare(self):
        for number in range(COUNT):
            element = self.elements / f"planned-{number:03}"
            hook = element / "install.d" / f"{number % 90 + 10}-planned-{number:03}"
            hook.parent.mkdir(parents=True, exist_ok=True)
            hook.write_text("#!/bin/bash\nexit 0\n")
            hook.chmod(0o755)
            below = sorted({number - 1, number // 2} - {number, -1})
            (element / "element-deps").write_text("".join(f"planned-{other:03}\n" for other in below))
            (element / "package-installs.yaml").write_text(f"package-{number:03}:\n")

    def round(self, _number):
        variables = {"DIBW_ELEMENTS": f"{self.elements}:{self.shop.variables['DIBW_ELEMENTS']}"}
        command = [self.shop.dibw, "plan", "-t", "tar", "-o", self.shop.work / "planned", "fake-os", f"planned-{COUNT - 1:03}"]
        for number in range(1, TIMES + 1):
            self.shop.attempt("planning", number, f"{COUNT} elements", lambda: self.shop.run(command, "planning", variables))
