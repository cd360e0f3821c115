"""Writing the files that people write, as the original does, so that a change of one value is a change of one line."""

import json

from infraxys.spec.models import Model

# The original writes these so that JSON can stand inside HTML. They occur inside texts only.
_HTML_SAFE = str.maketrans({mark: f"\\u{ord(mark):04x}" for mark in "<>=&'\u2028\u2029"})


def dump(model: Model) -> bytes:
    """Write a file: what was read or set and no defaults, known keys in the original's order, others behind them.

    A file in the format of version 3.0 that was read is written with the same bytes. Legacy files are written in the
    new format.
    """
    value = model.model_dump(mode="json", by_alias=True, exclude_unset=True)
    return json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False).translate(_HTML_SAFE).encode()
