"""Coverage-guided fuzzing of the template engine with atheris (not a dependency: `pip install atheris` first).

    python tests/fuzz/velocity_target.py -max_len=2000 -timeout=5 -rss_limit_mb=512 tests/fuzz/velocity_corpus

Each input is a template; the first byte says whether it renders in strict mode. Anything but a result or a
`VelocityError` is a finding. The folder has seeds, one construct each; new inputs of a run land there too, so run on a
copy. Without atheris, `python tests/fuzz/velocity_target.py --replay FILE...` runs the given inputs once.
"""

from __future__ import annotations

import sys
from pathlib import Path

from infraxys import velocity
from infraxys.velocity import JavaInteger, JavaString, Limits

LIMITS = Limits(steps=20_000, seconds=1.0, characters=2_000_000)


def run(data: bytes) -> None:
    """Render one input."""
    text = data[1:].decode("utf-8", "replace")
    context: dict[str, object] = {
        "s": "Hello World",
        "n": 7,
        "d": 2.5,
        "l": ["a", "b", ["c"]],
        "m": {"k": "v", "nest": {"deep": "x"}},
        "nul": None,
        "String": JavaString(),
        "Integer": JavaInteger(),
    }
    velocity.lint(text)
    try:
        velocity.compile(text).render(context, strict=bool(data[:1] > b"\x7f"), files={"f": text}, limits=LIMITS)
    except velocity.VelocityError as error:
        if error.line is None or not str(error):
            raise AssertionError("an error without a place") from error


def main() -> None:
    """Fuzz, or replay."""
    if sys.argv[1:2] == ["--replay"]:
        for name in sys.argv[2:]:
            run(Path(name).read_bytes())
        return
    import atheris  # noqa: PLC0415 - only here, see above

    atheris.instrument_all()
    atheris.Setup(sys.argv, run)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
