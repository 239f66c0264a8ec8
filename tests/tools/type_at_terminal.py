#!/usr/bin/env python3
"""type_at_terminal.py "PROMPT=ANSWER"... -- COMMAND...

Runs COMMAND on a terminal of its own and answers each prompt, in order, when it appears. Prints what the terminal showed.
"""
import os
import pty
import select
import sys

LIMIT_SECONDS = 120

split = sys.argv.index("--")
answers = [a.split("=", 1) for a in sys.argv[1:split]]
pid, terminal = pty.fork()
if pid == 0:
    os.execv(sys.argv[split + 1], sys.argv[split + 1 :])

shown, read_from = "", 0
while True:
    if not select.select([terminal], [], [], LIMIT_SECONDS)[0]:
        sys.exit(f"nothing happened for {LIMIT_SECONDS} s; the terminal shows:\n{shown}")
    try:
        data = os.read(terminal, 4096)
    except OSError:  # what Linux says when the other side is closed
        data = b""
    if not data:
        break
    shown += data.decode("utf-8", "replace")
    if answers and answers[0][0] in shown[read_from:]:
        read_from = len(shown)
        os.write(terminal, answers.pop(0)[1].encode() + b"\n")

status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
print(shown)
sys.exit(f"never asked for {answers[0][0]}" if answers else status)
