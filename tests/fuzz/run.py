"""A program: spoils files at random and has every reader read them, in processes of their own.

    python tests/fuzz/run.py CASES [READER ...]

It prints a JSON object: for every reader how many cases were tried, the memory that they took in MB, and the findings: raw
errors, other content than was written, crashes, and cases of more than 10 seconds of processor time. The same arguments try
the same cases.
"""

from __future__ import annotations

import contextlib
import json
import os
import random
import resource
import select
import signal
import sys
import tempfile
import traceback
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE), str(HERE.parent)]

from readers import Reader, prepare, try_one  # noqa: E402

SECONDS = 10
"""The processor time of a case; a busy machine may take much longer."""
WAITED = 120
MOST_MEMORY = 2**30
MOST_FINDINGS = 50


def work(name: str, reader: Reader, folder: Path, first: int, cases: int, say: Any) -> None:
    """Try cases; say before each which it is, then what was found, and at the end how much memory was taken."""
    path = folder / reader.file if "/" in reader.file else folder / "tried" / name / reader.file
    path.parent.mkdir(parents=True, exist_ok=True)
    wanted = {}
    for seed in reader.seeds:
        path.write_bytes(seed)
        wanted[seed] = reader.read(path)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for case in range(first, cases):
        say(case=case)
        signal.setitimer(signal.ITIMER_PROF, SECONDS)  # SIGPROF ends the process
        if found := try_one(reader, path, random.Random(f"{name} {case}"), wanted):
            say(found=found)
    signal.setitimer(signal.ITIMER_PROF, 0)
    path.write_bytes(reader.seeds[0])
    say(memory=(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024)


def watched(name: str, reader: Reader, folder: Path, first: int, cases: int) -> tuple[int, int, dict[int, str]]:
    """The cases from ``first`` in a process of its own: the case after the last, memory and findings."""
    here, there = os.pipe()
    if not (child := os.fork()):
        os.close(here)

        def say(**what: Any) -> None:
            os.write(there, f"{json.dumps(what)}\n".encode())

        with contextlib.redirect_stdout(None):
            try:
                work(name, reader, folder, first, cases, say)
            except BaseException:
                say(found=f"the trial itself failed: {traceback.format_exc()[-800:]}")
                say(memory=0)
        os._exit(0)
    os.close(there)
    case, memory, findings, left = first, None, {}, b""
    while True:
        if not select.select([here], [], [], WAITED)[0]:
            findings[case] = f"no end within {WAITED} s"
            os.kill(child, signal.SIGKILL)
        if not (got := os.read(here, 2**16)):
            break
        *lines, left = (left + got).split(b"\n")
        for what in map(json.loads, lines):
            case, memory = what.get("case", case), what.get("memory", memory)
            if "found" in what:
                findings[case] = what["found"]
    os.close(here)
    _, status = os.waitpid(child, 0)
    if os.WIFSIGNALED(status):
        name = signal.Signals(os.WTERMSIG(status)).name
        findings.setdefault(case, f"more than {SECONDS} s of processor time" if name == "SIGPROF" else f"ended by {name}")
    return (case + 1 if memory is None else cases), memory or 0, findings


def fuzz(name: str, reader: Reader, folder: Path, cases: int) -> dict[str, Any]:
    """All cases of one reader; after one that crashed or hung another process goes on."""
    first, most, findings = 0, 0, {}
    while first < cases and len(findings) < MOST_FINDINGS:
        first, memory, found = watched(name, reader, folder, first, cases)
        findings |= found
        most = max(most, memory)
    if most > MOST_MEMORY:
        findings[-1] = f"{most >> 20} MB were taken"
    return {"cases": first, "MB": most >> 20, "findings": findings}


def main() -> None:
    cases, names = int(sys.argv[1]), sys.argv[2:]
    with tempfile.TemporaryDirectory() as folder:
        readers = prepare(Path(folder))
        results = {}
        for name in names or readers:
            results[name] = fuzz(name, readers[name], Path(folder), cases)
            print(f"{name}: {len(results[name]['findings'])} findings in {results[name]['cases']} cases", file=sys.stderr)
    print(json.dumps(results, indent=1))
    sys.exit(any(result["findings"] for result in results.values()))


if __name__ == "__main__":
    main()
