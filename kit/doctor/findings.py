"""What a look at one part of the machine gives: facts, a line for people, and perhaps a problem with its way out."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, kw_only=True)
class Problem:
    """Something that is not as it should be."""

    what: str  # a sentence
    remedy: str  # what to do, a sentence
    stops: bool = False  # runs fail because of it


@dataclass(frozen=True, kw_only=True)
class Finding:
    """What was found out about one topic."""

    topic: str  # a word, such as "memory"
    words: str  # a line for people
    facts: Mapping[str, Any] = field(default_factory=dict)  # the same for programs
    problems: tuple[Problem, ...] = ()
