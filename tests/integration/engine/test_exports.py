"""Variables as the shell of an action reads them."""

import json
import os
import subprocess
import tempfile

from hypothesis import given
from hypothesis import strategies as st

from factories.examples import examples
from infraxys.engine.run_tree import shell_exports

VALUES = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=60)
NAMES = st.from_regex(r"\AA_[a-z0-9_]{0,8}\Z")
SHOW = "import json, os, sys; print(json.dumps({k: v for k, v in os.environ.items() if k.startswith('A_')}))"


@given(st.dictionaries(NAMES, VALUES, max_size=5))
@examples(15)
def test_any_value_arrives_unchanged_in_the_shell_and_in_what_it_executes(values: dict[str, str]) -> None:
    with tempfile.NamedTemporaryFile("wb") as file:
        file.write(shell_exports(values).encode())
        file.flush()
        script = (
            f'set -e; . {file.name}; for n in ${{!A_*}}; do printf "%s=%s\\0" "$n" "${{!n}}"; done; python3 -c "$SHOW"'
        )
        environment = {"PATH": os.environ["PATH"], "LANG": "C.UTF-8", "SHOW": SHOW}
        done = subprocess.run(["bash", "-c", script], env=environment, capture_output=True, check=True)
    *shell, executed = done.stdout.split(b"\0")
    assert dict(item.decode().split("=", 1) for item in shell) == values
    assert json.loads(executed) == values
