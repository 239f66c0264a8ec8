#!/usr/bin/env python3
"""Work in mounted folders, side by side with gocryptfs where it is installed.

    cargo build --release && benches/compare.py [--rounds 3] [--chart docs/figures.svg]

Prints a table in Markdown: medians in seconds, the ratio, and what peergos-mount takes with the keys in its memory at most.
"Cold" is after unmounting, dropping the system's caches (which takes root) and mounting again. Needs fio, rsync and tar. PEERGOS_MOUNT names another program than that of this folder.
"""

import argparse
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

PROGRAM = os.environ.get("PEERGOS_MOUNT", Path(__file__).parent.parent / "target/release/peergos-mount")
FIO = "fio --name=x --bs=4k --io_size=16m --ioengine=psync --randseed=7 --filename="

# name, whether cold, shell; {m} is the mounted folder and {s} the source
WORK = [
    ("write 512 MiB in sequence, fsync", False, "dd if={s}/big of={m}/big bs=1M conv=fsync"),
    ("read it, cold", True, "dd if={m}/big of=/dev/null bs=1M"),
    ("read it again", False, "dd if={m}/big of=/dev/null bs=1M"),
    ("16 MiB of it in random 4 KiB, cold", True, FIO + "{m}/big --rw=randread --size=512m --readonly"),
    ("write random 4 KiB in 64 MiB, fsync", False, FIO + "{m}/rw --rw=randwrite --size=64m --end_fsync=1"),
    ("make 1,000 files of 4 KiB, fsync", False, "cp -r {s}/small {m}/small; sync {m}/small/* {m}/small"),
    ("ls -lR, cold", True, "ls -lR {m}/small"),
    ("read them, cold", True, "cat {m}/small/*/*"),
    ("unpack a tar of 3,000 files, fsync", False, "tar xf {s}/tree.tar -C {m}; sync {m}/tree"),
    ("find, cold", True, "find {m}/tree -type f -printf '%s\\n'"),
    ("grep -r, cold", True, "grep -r unlikely_string_xyz {m}/tree; true"),
    ("rsync -a, fsync", False, "rsync -a {s}/tree/ {m}/copy/; sync {m}/copy"),
    ("rsync -a again", False, "rsync -a {s}/tree/ {m}/copy/"),
    ("rm -rf, fsync", False, "rm -rf {m}/copy {m}/small; sync {m}"),
]


class Mount:
    """A file system and where it is mounted. `peak` is the most memory that its process had, in MiB."""

    def __init__(self, base):
        self.base, self.mount_point, self.store = base, base / "mount", base / "store"
        self.process, self.peak = None, 0
        for folder in (self.mount_point, self.store):
            folder.mkdir(parents=True)
        (base / "password").write_text("correct horse battery\n")
        (base / "password").chmod(0o600)
        self.prepare()

    def prepare(self):
        pass

    def mount(self):
        with open(self.base / "log", "ab") as log:
            self.process = subprocess.Popen(self.command(), stdout=log, stderr=log)
        while not os.path.ismount(self.mount_point):
            if self.process.poll() is not None:
                sys.exit(f"not mounted: {(self.base / 'log').read_text()}")
            time.sleep(0.005)
        os.listdir(self.mount_point)

    def unmount(self):
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        self.peak = max(self.peak, int(status.split("VmHWM:")[1].split()[0]) >> 10)
        while subprocess.run(["umount", self.mount_point], stderr=subprocess.DEVNULL).returncode:
            time.sleep(0.1)
        self.process.wait()

    def cold(self):
        self.unmount()
        os.sync()
        Path("/proc/sys/vm/drop_caches").write_text("3")
        self.mount()


class Peergos(Mount):
    def command(self):
        password = ["--username", "bench", "--password-file", self.base / "password"]
        return [PROGRAM, "--state", self.store, *password, self.mount_point]


class Gocryptfs(Mount):
    def prepare(self):
        subprocess.run(["gocryptfs", "-q", "-init", "-passfile", self.base / "password", self.store], check=True)

    def command(self):
        return ["gocryptfs", "-q", "-fg", "-passfile", self.base / "password", self.store, self.mount_point]


def make_sources(folder):
    (folder / "big").write_bytes(os.urandom(512 << 20))
    for directory, files, size in [("small", 50, 4096), ("tree", 150, 0)]:
        for i in range(20):
            (folder / directory / str(i)).mkdir(parents=True)
            for j in range(files):
                # the sizes of source files: most are small
                (folder / directory / str(i) / f"file{j}.txt").write_bytes(os.urandom(size or 300 + 200_000 // (j + 1)))
    subprocess.run(["tar", "cf", folder / "tree.tar", "-C", folder, "tree"], check=True)


def round_of(kind, base, source, results):
    mount = kind(base)
    mount.mount()
    for name, is_cold, script in WORK:
        if is_cold:
            start = time.monotonic()
            mount.cold()
            results.setdefault("mount, cold, with scrypt", []).append(time.monotonic() - start)
        start = time.monotonic()
        subprocess.run(["bash", "-c", script.format(m=mount.mount_point, s=source)], check=True, capture_output=True)
        results.setdefault(name, []).append(time.monotonic() - start)
    mount.unmount()
    shutil.rmtree(base)
    return mount.peak


def chart(rows, path):
    """Bars of ratios: shorter is better, the line is as fast as gocryptfs."""
    one, left, height = 220, 270, 22
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{left + 2 * one + 80}" height="{height * len(rows) + 50}" '
        'font-family="sans-serif" font-size="13"><rect width="100%" height="100%" fill="white"/>'
        '<text x="8" y="20">Time of peergos-mount in that of gocryptfs: shorter is better</text>'
    ]
    for i, (name, ratio) in enumerate(rows):
        y, width = 36 + i * height, min(ratio, 2.2) * one
        colour = "#2a7f62" if ratio <= 1 else "#c8553d"
        parts.append(f'<text x="{left - 8}" y="{y + 14}" text-anchor="end">{name}</text>')
        parts.append(f'<rect x="{left}" y="{y + 2}" width="{width:.0f}" height="{height - 6}" fill="{colour}"/>')
        parts.append(f'<text x="{left + width + 5:.0f}" y="{y + 14}">{ratio:.2f}</text>')
    end = 36 + len(rows) * height
    parts.append(f'<line x1="{left + one}" x2="{left + one}" y1="32" y2="{end}" stroke="black" stroke-dasharray="3"/></svg>')
    Path(path).write_text("\n".join(parts) + "\n")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--chart", help="where to draw the ratios, as SVG")
    parser.add_argument("--dir", default="/dev/shm", help="where everything is stored; by default in memory")
    arguments = parser.parse_args()
    kinds = [Peergos] + [Gocryptfs] * (shutil.which("gocryptfs") is not None)
    results, peak = {kind: {} for kind in kinds}, 0
    with tempfile.TemporaryDirectory(prefix="peergos-mount-compare-", dir=arguments.dir) as folder:
        source = Path(folder) / "source"
        source.mkdir()
        make_sources(source)
        for _ in range(arguments.rounds):
            for kind in kinds:
                memory = round_of(kind, Path(folder) / kind.__name__, source, results[kind])
                peak = max(peak, memory) if kind is Peergos else peak
    print("| | " + " | ".join(kind.__name__ for kind in kinds) + " | ratio |\n|---|" + "---|" * (len(kinds) + 1))
    rows = []
    for name, times in results[Peergos].items():
        medians = [statistics.median(results[kind][name]) for kind in kinds]
        ratio = medians[0] / medians[-1]
        rows.append((name, ratio))
        print(f"| {name} | " + " | ".join(f"{seconds:.2f}" for seconds in medians) + f" | {ratio:.2f} |")
    print(f"\nMost memory resident: {peak} MiB")
    if arguments.chart and len(kinds) > 1:
        chart(rows, arguments.chart)


main()
