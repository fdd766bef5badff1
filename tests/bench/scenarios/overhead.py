"""What elements cost that do nothing: 100 typed ones and 100 classic ones, beside the same build without. The first half of
acceptance 5 of the benchmarks.

All typed elements are one component under names of the same length: a component has its name in its manifest only.
"""

import os
import shutil

from workshop import Failed

COUNT = 100
FIRST = "no-op-000"
SOURCE = """//! The element `no-op-000`: a hook that does nothing.

use dibw_sdk::prelude::*;

#[derive(Config)]
struct NoOp {}

#[hooks]
impl Element for NoOp {
    fn install(&self, _cx: &Cx) -> Result {
        Ok(())
    }
}

element!(NoOp, needs! {});
"""


class Overhead:
    name = "overhead"
    once = False

    def __init__(self, shop):
        self.shop = shop
        self.cache = shop.work / "overhead-cache"
        self.output = shop.work / "overhead"
        self.typed = [shop.work / f"elements/typed/no-op-{n:03}.wasm" for n in range(COUNT)]
        self.classic = [shop.work / f"elements/classic/no-op-classic-{n:03}" for n in range(COUNT)]
        self.kinds = {"none": []}

    def prepare(self):
        for element in self.classic:
            hook = element / f"install.d/50-{element.name}"
            hook.parent.mkdir(parents=True, exist_ok=True)
            hook.write_text("#!/bin/bash\nexit 0\n")
            hook.chmod(0o755)
        self.kinds["classic"] = self.classic
        if self.shop.attempt("overhead", 0, "building the typed element", self.make_typed) is not None:
            self.kinds["typed"] = self.typed

    def make_typed(self):
        crate = self.shop.work / "no-op" / FIRST
        built = self.shop.work / "no-op/elements"
        if not list(built.rglob("*.wasm")):
            self.new_crate(crate, built)
        [component] = built.rglob("*.wasm")
        self.typed[0].parent.mkdir(parents=True, exist_ok=True)
        whole = component.read_bytes()
        if FIRST.encode() not in whole:
            raise Failed(f"{component} does not have its name in it")
        for element in self.typed:
            element.write_bytes(whole.replace(FIRST.encode(), element.stem.encode()))
        return {"bytes": len(whole)}

    def new_crate(self, crate, built):
        shop = self.shop
        if crate.exists():
            shutil.rmtree(crate)
        crate.parent.mkdir(parents=True, exist_ok=True)
        # What cargo and rustup keep in the caller's home is needed; the SDK is compiled already where the plugins are.
        caller = ("HOME", "CARGO_HOME", "RUSTUP_HOME", "CARGO", "RUSTC", "DIBW_PLUGIN_RUSTC")
        variables = {key: os.environ[key] for key in caller if key in os.environ} | {"http_proxy": ""}
        variables["CARGO_TARGET_DIR"] = str(shop.repository / "plugins/target")
        shop.run(["env", "-C", crate.parent, shop.dibw, "plugin", "new", FIRST, "--sdk", shop.repository / "sdk"], "no-op-new", variables)
        (crate / "src/lib.rs").write_text(SOURCE)
        shutil.copy(shop.repository / "plugins/Cargo.lock", crate)
        shop.run([shop.dibw, "plugin", "build", crate, "--out", built], "no-op-build", variables)

    def round(self, number):
        attempt = self.shop.attempt
        for kind, elements in self.kinds.items():
            # Components are compiled once for a version of dibw: what that costs is in the times of "first".
            shutil.rmtree(self.cache, ignore_errors=True)
            attempt("overhead", number, f"{kind}, first", lambda: self.build(elements))
            self.forget()
            attempt("overhead", number, f"{kind}, --no-cache", lambda: self.build(["--no-cache", *elements]))
            attempt("overhead", number, f"{kind}, cold", lambda: self.build(elements))
            attempt("overhead", number, f"{kind}, cached", lambda: self.build(elements))
            self.forget()

    def build(self, arguments):
        values = self.shop.build("overhead", ["-t", "tar", "-n", "fake-os", *arguments], self.cache, self.output)
        return {key: values[key] for key in ("seconds", "cpu", "largest_process_kib", "together_kib")}

    def forget(self):
        self.shop.remove_outputs(self.output)
        layers = self.cache / "layers"
        if layers.exists():
            self.shop.remove(layers)
