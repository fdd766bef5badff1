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


class Element:
    """An element: its name and directory, and what its files say."""

    def __init__(self, name, path):
        self.name = name
        self.path = path
        self.provides = _names(os.path.join(path, "element-provides"))
        self.depends = _names(os.path.join(path, "element-deps"))

    def __eq__(self, other):
        return isinstance(other, Element) and self.name == other.name

    def __hash__(self):
        return hash(self.name)

    def __str__(self):
        return self.name

    def __repr__(self):
        return self.name


def _names(path):
    try:
        with open(path, encoding="utf-8") as file:
            return {line.strip() for line in file if line.strip()}
    except FileNotFoundError:
        return set()


def find_all_elements(paths=None):
    """A dictionary of all elements by name. Earlier entries of the path override later ones."""
    paths = paths or os.environ.get("ELEMENTS_PATH")
    if not paths:
        raise Exception("$ELEMENTS_PATH must be set.")
    elements = {}
    for directory in reversed(paths.split(":")):
        if not os.path.isdir(directory):
            raise InvalidElementDir("ELEMENTS_PATH entry '%s' is not a directory " % directory)
        for name in sorted(os.listdir(directory)):
            path = os.path.realpath(os.path.join(directory, name))
            if not os.path.isdir(path):
                continue
            element = Element(os.path.basename(path), path)
            if element.name in elements:
                logger.warning("Element <%s> overrides <%s>", path, elements[element.name].path)
            elements[element.name] = element
    return elements


def expand_dependencies(user_elements, all_elements):
    """The set of elements that a build of `user_elements` consists of."""
    directories = []
    for element in all_elements.values():
        directory = os.path.dirname(element.path)
        if directory not in directories:
            directories.append(directory)
    names = _element_info(list(user_elements), ":".join(directories)).split()
    return {all_elements.get(name) or Element(name, _path_of(name, directories)) for name in names}


def get_elements(elements, paths=None):
    """A dictionary of the elements that a build of `elements` consists of, by name."""
    known = find_all_elements(paths)
    return {element.name: element for element in expand_dependencies(elements, known)}


def _path_of(name, directories):
    for directory in directories:
        path = os.path.join(directory, name)
        if os.path.isdir(path):
            return path
    raise MissingElementException("Element '%s' not found" % name)


def _element_info(names, paths):
    environment = dict(os.environ, ELEMENTS_PATH=paths)
    finished = subprocess.run(
        ["element-info", *names],
        executable=program.find("element-info"),
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        universal_newlines=True,
        check=False,
    )
    if finished.returncode == 0:
        return finished.stdout
    raise _fault(finished.stderr)


def _fault(text):
    """The exception that a message of element-info stands for, with the message as dibw words it."""
    kinds = [
        (r"Element '.*' not found", MissingElementException),
        (r".*already provided by.*", AlreadyProvidedException),
        (r"Please include an operating system element", MissingOSException),
        (r"ELEMENTS_PATH entry '.*' is not a directory ?", InvalidElementDir),
    ]
    for pattern, kind in kinds:
        found = re.search(pattern, text)
        if found:
            return kind(found.group(0))
    return Exception("element-info: %s" % text.strip())
