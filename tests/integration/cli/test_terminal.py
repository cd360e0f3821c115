"""What others have written, on the terminal of a person (hostile.md D4, field.md G34)."""

import os
import pty
import re
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from factories.examples import examples
from factories.modules import INSTANCE
from infraxys.cli.terminal import SafeText, plain
from plugins.server import ROOT, ServerProcess

EVIL = {
    "title": "\x1b]0;evil\x07",
    "clipboard": "\x1b]52;c;ZXZpbA==\x1b\\",
    "link": "\x1b]8;;javascript:alert(1)\x1b\\text\x1b]8;;\x1b\\",
    "where is the cursor": "\x1b[6n\x1b[c\x05",
    "cursor up, line cleared": "\x1b[5A\x1b[2K",
    "other screen": "\x1b[?1049h\x1b[2J\x1b[H",
    "device string": '\x1bP$q"p\x1b\\\x1b_x\x1b\\',
    "one byte controls": "\x9b31m\x9d0;evil\x9c\x08\x08\x00\x0c",
    "directions": "\u202eabc\u2066",
    "reset": "\x1bc\x1b(0",
    "no end": "\x1b]0;never closed",
}


@pytest.mark.parametrize("name", EVIL)
def test_d4_only_colours_reach_a_terminal(name: str) -> None:
    data = f"before\x1b[1;31mred\x1b[0m\ta\r\n{EVIL[name]}after".encode()
    for cut in range(len(data)):
        text = SafeText()
        shown = text.feed(data[:cut]) + text.feed(data[cut:]) + text.feed(b"", is_last=True)
        assert shown.startswith("before\x1b[1;31mred\x1b[0m\ta\r\n")
        assert re.sub(r"\x1b\[[0-9;]*m|[\r\n\t]", "", shown).isprintable()
    assert plain(data.decode()).replace("\t", "").replace("\r\n", "").isprintable()


@examples(300)
@given(st.lists(st.one_of(st.binary(max_size=20), st.sampled_from([v.encode() for v in EVIL.values()])), max_size=20))
def test_d4_whatever_bytes_come_nothing_is_obeyed(chunks: list[bytes]) -> None:
    text = SafeText()
    shown = "".join(text.feed(chunk) for chunk in chunks) + text.feed(b"", is_last=True)
    assert "\x1b" not in re.sub(r"\x1b\[[0-9;:]*m", "", shown)
    assert not re.search("[\x00-\x08\x0b\x0c\x0e-\x1a\x1c-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]", shown)


def test_g34_a_log_on_a_terminal_is_inert_and_elsewhere_byte_exact(server: ServerProcess) -> None:
    evil = "".join(value for name, value in EVIL.items() if name != "no end") + "\x1b[32mgreen\n"
    code = f"import sys; sys.stdout.buffer.write({evil.encode()!r})"
    run = server.execute(INSTANCE, "code.py", argument={"code": code})
    words = [sys.executable, "-m", "infraxys", "run", "log", run["id"]]
    environment = {**server.environment, "INFRAXYS_DATA_DIR": str(server.data), "INFRAXYS_URL": server.url}
    piped = subprocess.run(words, capture_output=True, check=True, cwd=ROOT, env=environment, timeout=60)
    assert piped.stdout == evil.encode()
    ours, theirs = pty.openpty()
    process = subprocess.Popen(words, stdout=theirs, stderr=theirs, cwd=ROOT, env=environment)
    os.close(theirs)
    shown = b""
    try:
        while data := os.read(ours, 65536):
            shown += data
    except OSError:  # how a terminal ends
        pass
    os.close(ours)
    assert process.wait(60) == 0
    assert shown.endswith(b"\x1b[32mgreen\r\n\x1b[0m")
    assert re.sub(r"\x1b\[[0-9;]*m|\r\n", "", shown.decode()).isprintable()
