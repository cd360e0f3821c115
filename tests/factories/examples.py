"""How many examples the tests of properties try.

All of them in a run of the whole suite; a fifth while one works on a part of it, which is to take seconds.
"""

import os
from typing import Any

from hypothesis import settings

THOROUGH = "INFRAXYS_TEST_THOROUGH"
USUAL = 100  # of tests that do not say
SHARE = 5


def examples(number: int, **options: Any) -> settings:
    """Give the settings of a test that tries so many in a run of everything."""
    return settings(max_examples=scaled(number), deadline=None, **options)


def scaled(number: int) -> int:
    """Give how many are tried in this run."""
    return number if os.environ.get(THOROUGH) else max(number // SHARE, 10)


def choose_examples() -> None:
    """Choose how many are tried where a test does not say."""
    settings.register_profile("chosen", max_examples=scaled(USUAL))
    settings.load_profile("chosen")
