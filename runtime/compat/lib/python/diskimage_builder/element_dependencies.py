"""Which elements there are and which a build needs. The resolving is the program's: this asks `element-info`."""

import logging
import os
import re
import subprocess

from diskimage_builder import program

logger = logging.getLogger(__name__)


class MissingElementException(Exception):
    """An element is on no directory of the elements path."""


class AlreadyProvidedException(Exception):
    """Two elements provide the same, or an element is asked for that another provides."""


class MissingOSException(Exception):
    """No element provides an operating system."""


class InvalidElementDir(Exception):
    """An entry of the elements path is not a directory."""


def find_all_elements(paths=None):
    """The directory of every element on a path, by name. Earlier entries of the path override later ones."""
    paths = paths or os.environ.get("ELEMENTS_PATH")
    if not paths:
        raise Exception("$ELEMENTS_PATH must be set.")
    elements = {}
    for directory in reversed(paths.split(":")):
        if not os.path.isdir(directory):
            raise InvalidElementDir("ELEMENTS_PATH entry '%s' is not a directory " % directory)
        for entry in sorted(os.listdir(directory)):
            path = os.path.join(directory, entry)
            if not os.path.isdir(path):
                continue
            # A link is the element that it points to.
            name = os.path.basename(os.path.realpath(path))
            if name in elements:
                logger.warning("Element %s overrides %s", path, elements[name])
            elements[name] = path
    return elements


def get_elements(elements, paths=None):
    """The name and directory of every element that a build of `elements` consists of."""
    known = find_all_elements(paths)
    resolved = _element_info(elements, paths or os.environ["ELEMENTS_PATH"])
    return [(name, known[name]) for name in resolved if name in known]


def expand_dependencies(user_elements, element_dirs):
    """The names of the elements that a build of `user_elements` consists of."""
    return [name for name, _ in get_elements(user_elements, element_dirs)]


def _element_info(names, paths):
    finished = subprocess.run(
        ["element-info", *names],
        executable=program.find("element-info"),
        env=dict(os.environ, ELEMENTS_PATH=paths),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        universal_newlines=True,
        check=False,
    )
    if finished.returncode == 0:
        return finished.stdout.split()
    # Which element provides what another has already: said in a line of its own.
    for line in finished.stderr.splitlines():
        if " : already provided by" in line:
            logger.error("%s", line)
    raise _fault(finished.stderr)


def _fault(text):
    """The exception that a message of element-info stands for, with the message as the program words it."""
    kinds = [
        (r"Element '.*' not found", MissingElementException),
        (r"\S+ ?: already provided by.*", AlreadyProvidedException),
        (r"already provided by.*", AlreadyProvidedException),
        (r"Please include an operating system element", MissingOSException),
        (r"ELEMENTS_PATH entry '.*' is not a directory ?", InvalidElementDir),
    ]
    for pattern, kind in kinds:
        found = re.search(pattern, text)
        if found:
            return kind(found.group(0))
    return Exception("element-info: %s" % text.strip())
