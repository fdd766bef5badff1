"""Where the library and the elements that came with the build are."""

import os
import pathlib
import sys


def get_path(name):
    """The absolute path of `lib` or `elements`."""
    if name == "lib":
        return str(_library())
    if name == "elements":
        return _elements()
    raise ValueError("unknown path %r: there are `lib` and `elements`" % name)


def show_path(name):
    """Prints a path without a newline after it, for use in a shell's command substitution."""
    sys.stdout.write(get_path(name))


def _library():
    return pathlib.Path(__file__).resolve().parents[2]


def _elements():
    """As the program looks for them: where it is told, beside itself, or last on the elements path."""
    candidates = os.environ.get("DIBW_ELEMENTS", "").split(":")
    program = os.environ.get("DIBW_PROGRAM")
    if program:
        directory = pathlib.Path(program).resolve().parent
        candidates += [str(directory / place) for place in ("../share/dibw/elements", "../lib/dibw/elements", "../../elements")]
    candidates += reversed(os.environ.get("ELEMENTS_PATH", "").split(":"))
    for candidate in candidates:
        if candidate and os.path.isdir(candidate):
            return os.path.realpath(candidate)
    raise RuntimeError("no directory of elements: set DIBW_ELEMENTS or ELEMENTS_PATH")
