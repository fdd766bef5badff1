"""One run's lines of results, and the few statistics that the page needs. Used by `page`."""

import json
import statistics


class Results:
    def __init__(self, path):
        self.lines = []
        for line in path.read_text().splitlines():
            told = json.loads(line)
            if told["scenario"] == "machine":
                self.machine = told
            else:
                self.lines.append(told)

    def replace(self, path):
        """Takes the scenarios of a later run in the place of this one's; the page says so."""
        later = Results(path)
        scenarios = {told["scenario"] for told in later.lines} - {"load"}
        self.lines = [told for told in self.lines if told["scenario"] not in scenarios]
        self.lines += [told for told in later.lines if told["scenario"] in scenarios]
        self.machine["again"] = f"{', '.join(sorted(scenarios))}: {later.machine['when']}, commit {later.machine['commit']}"

    def all(self, scenario, what=None):
        return [told for told in self.lines if told["scenario"] == scenario and what in (None, told["what"])]

    def count(self, scenario, what=None):
        return len(self.all(scenario, what))

    def last(self, scenario, what):
        whole = [told for told in self.all(scenario, what) if "failed" not in told]
        return whole[-1] if whole else None

    def values(self, scenario, what, key):
        return [told[key] for told in self.all(scenario, what) if key in told]

    def ratios(self, scenario, what, base_scenario, base):
        """One to the other, for each round that has both."""
        below = {told["round"]: told["seconds"] for told in self.all(base_scenario, base) if "seconds" in told}
        above = {told["round"]: told["seconds"] for told in self.all(scenario, what) if "seconds" in told}
        return [above[number] / below[number] for number in sorted(above.keys() & below.keys())]

    def middle(self, scenario, what):
        """The measurement whose time is the median, or the one just below."""
        whole = sorted((told for told in self.all(scenario, what) if "seconds" in told), key=lambda told: told["seconds"])
        return whole[(len(whole) - 1) // 2] if whole else None

    def conversion(self):
        """The rows of the conversion's table by way, or nothing."""
        told = self.last("conversion", "table")
        return told["table"] if told else None

    def added(self, kind, how):
        """Seconds that 100 elements add to the same build without."""
        without = self.values("overhead", f"none, {how}", "seconds")
        with_them = self.values("overhead", f"{kind}, {how}", "seconds")
        return median(with_them) - median(without) if without and with_them else None

    def sizes(self, kind):
        """Megabytes and median seconds, by size."""
        times = {}
        for told in self.all("size"):
            if "mb" in told and told["what"].endswith(f"MB, {kind}"):
                times.setdefault(told["mb"], []).append(told["seconds"])
        return sorted((mb, median(took)) for mb, took in times.items())

    def peak(self, key, mb=None):
        """The largest of all measurements, or of those of one size of tree."""
        return max((told[key] for told in self.lines if key in told and (mb is None or told.get("mb") == mb)), default=0)


median = statistics.median


def seconds(value):
    return f"{value:.1f}" if value >= 10 else f"{value:.2f}"


def spread(values, digits=2):
    return f"{min(values):.{digits}f} to {max(values):.{digits}f}" if values else ""


def fit(points):
    """Seconds at zero, seconds for each unit, and how far a time is from the line at most, as a part of the time. The line has the least
    squares of exactly those parts (weights 1/seconds^2): noise grows with the time, and a plain fit would let the largest tree decide alone."""
    weights = [(x, y, 1 / (y * y)) for x, y in points]
    total = sum(w for _, _, w in weights)
    middle_x, middle_y = sum(w * x for x, _, w in weights) / total, sum(w * y for _, y, w in weights) / total
    each = sum(w * (x - middle_x) * (y - middle_y) for x, y, w in weights) / sum(w * (x - middle_x) ** 2 for x, _, w in weights)
    fixed = middle_y - each * middle_x
    return fixed, each, max(abs(fixed + each * x - y) / y for x, y in points)
