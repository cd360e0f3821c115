#!/usr/bin/env python3
"""Check site.conf: with nginx itself where it is installed, otherwise for its structure."""

import pathlib
import re
import shutil
import subprocess
import sys
import tempfile

SITE = pathlib.Path("site.conf").resolve()


def check_with_nginx() -> int:
    """Let nginx read the file inside a minimal main configuration."""
    with tempfile.TemporaryDirectory() as folder:
        main = pathlib.Path(folder, "nginx.conf")
        main.write_text(f"pid {folder}/pid;\nerror_log stderr;\nevents {{}}\nhttp {{ include {SITE}; }}\n")
        return subprocess.run(["nginx", "-t", "-q", "-p", folder, "-c", str(main)], check=False).returncode


def find_mistakes(text: str) -> list[str]:
    """Every directive ends with `;` or opens a block, and every block is closed."""
    mistakes, depth = [], 0
    for number, line in enumerate(text.splitlines(), start=1):
        code = re.sub(r"#.*", "", line).strip()
        if code and code[-1] not in ";{}":
            mistakes.append(f"line {number}: '{code}' does not end with ';'")
        depth += code.count("{") - code.count("}")
        if depth < 0:
            mistakes.append(f"line {number}: '}}' closes nothing")
            depth = 0
    if depth:
        mistakes.append(f"{depth} block(s) are not closed")
    return mistakes


def main() -> int:
    text = SITE.read_text()
    print(text)
    if shutil.which("nginx"):
        status = check_with_nginx()
        print("nginx accepts it." if status == 0 else "nginx refuses it.")
        return status
    mistakes = find_mistakes(text)
    for mistake in mistakes:
        print(mistake, file=sys.stderr)
    print(f"{len(mistakes)} mistakes found." if mistakes else "The structure is right (nginx is not installed here).")
    return 1 if mistakes else 0


sys.exit(main())
