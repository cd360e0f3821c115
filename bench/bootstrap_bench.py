"""What the core library costs each action: the time of the whole bootstrap over that of an empty one."""

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests"))
from factories.bootstrap import SHELL, Bootstrap

LIMIT_MS = 15.0
EMPTY = 'set -eo pipefail; . "$ROOT/system/environment.sh"; cd "$INSTANCE_DIR"; . ./run.sh'


def main() -> int:
    """Measure in pairs, so that what else the machine does meets both. Exit 1 above the limit."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=200)
    rounds = parser.parse_args().rounds
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        attributes = {f"attribute_{number}": "value" * 10 for number in range(30)}
        bootstrap = Bootstrap(root).lay_out({"run.sh": ":"}, attributes=attributes)
        environment = {"PATH": os.environ["PATH"], "USER": "root", "LANG": "C.UTF-8", "ROOT": folder}
        empty = [*SHELL[:5], EMPTY, "bash"]
        full = [*SHELL, str(root / "core" / "bootstrap.sh"), "run.sh"]
        times: dict[str, list[float]] = {"empty": [], "full": []}
        for number in range(rounds):
            home = root / f"home-{number}"
            for part in ("keys", "generated.d"):  # as the sandbox has them
                (home / ".ssh" / part).mkdir(parents=True)
            for name, command in (("empty", empty), ("full", full)):
                began = time.perf_counter()
                subprocess.run(command, env={**environment, "HOME": str(home)}, stdin=subprocess.DEVNULL, check=True)
                times[name].append((time.perf_counter() - began) * 1000)
        assert (bootstrap.instance / "run.sh").exists()
    medians = {name: statistics.median(values) for name, values in times.items()}
    cost = statistics.median(full - empty for full, empty in zip(times["full"], times["empty"], strict=True))
    print(f"empty {medians['empty']:.2f} ms, full {medians['full']:.2f} ms, cost {cost:.2f} ms, limit {LIMIT_MS:g} ms")
    print(f"ratio to the limit {cost / LIMIT_MS:.2f}")
    return 0 if cost <= LIMIT_MS else 1


if __name__ == "__main__":
    raise SystemExit(main())
