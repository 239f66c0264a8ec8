#!/usr/bin/env python3
"""Work in mounted folders, side by side with gocryptfs, CryFS and rclone crypt where they are installed.

    cargo build --release && benches/compare.py [--rounds 3] [--json results.json] [--chart docs/compare.svg]
    benches/compare.py --results results.json [--chart docs/compare.svg]

Prints a table in Markdown: medians in seconds, the ratio to gocryptfs, and the most memory that peergos-mount had. The second
form takes the times from a file instead, an object as {workload: {program: [seconds, ...]}}.
"Cold" is after unmounting, dropping the system's caches (which takes root) and mounting again. Needs fio, rsync and tar.
PEERGOS_MOUNT names another program than that of this folder.
"""

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

PROGRAM = os.environ.get("PEERGOS_MOUNT", Path(__file__).parent.parent / "target/release/peergos-mount")
PASSWORD = "correct horse battery"
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
        (base / "password").write_text(PASSWORD + "\n")
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


class CryFs(Mount):
    def command(self):
        quiet = ["env", "CRYFS_FRONTEND=noninteractive", "CRYFS_NO_UPDATE_CHECK=true"]
        return [*quiet, "sh", "-c", f"exec cryfs -f {self.store} {self.mount_point} < {self.base}/password"]


class Rclone(Mount):
    def prepare(self):
        obscured = subprocess.run(["rclone", "obscure", PASSWORD], check=True, capture_output=True, text=True).stdout
        (self.base / "config").write_text(f"[c]\ntype = crypt\nremote = {self.store}\npassword = {obscured}")

    def command(self):
        cache = ["--vfs-cache-mode", "writes", "--cache-dir", self.base / "cache"]
        return ["rclone", "--config", self.base / "config", "mount", "c:", self.mount_point, *cache]


KINDS = {"peergos-mount": Peergos, "gocryptfs": Gocryptfs, "cryfs": CryFs, "rclone": Rclone}
BASE = "gocryptfs"


def make_sources(folder):
    (folder / "big").write_bytes(os.urandom(512 << 20))
    for directory, files, size in [("small", 50, 4096), ("tree", 150, 0)]:
        for i in range(20):
            (folder / directory / str(i)).mkdir(parents=True)
            for j in range(files):
                # the sizes of source files: most are small
                (folder / directory / str(i) / f"file{j}.txt").write_bytes(os.urandom(size or 300 + 200_000 // (j + 1)))
    subprocess.run(["tar", "cf", folder / "tree.tar", "-C", folder, "tree"], check=True)


def round_of(name, base, source, results):
    mount = KINDS[name](base)
    mount.mount()
    for work, is_cold, script in WORK:
        if is_cold:
            start = time.monotonic()
            mount.cold()
            results.setdefault("mount, cold, with the password", {}).setdefault(name, []).append(time.monotonic() - start)
        start = time.monotonic()
        subprocess.run(["bash", "-c", script.format(m=mount.mount_point, s=source)], check=True, capture_output=True)
        results.setdefault(work, {}).setdefault(name, []).append(time.monotonic() - start)
        print(f"{name}: {work}: {time.monotonic() - start:.2f} s", file=sys.stderr)
    mount.unmount()
    shutil.rmtree(base)
    return mount.peak


def measure(rounds, parent):
    """Times of all work by program, in seconds, and the most memory of peergos-mount, in MiB."""
    names = [name for name in KINDS if name == "peergos-mount" or shutil.which(name)]
    results, peak = {}, 0
    with tempfile.TemporaryDirectory(prefix="peergos-mount-compare-", dir=parent) as folder:
        source = Path(folder) / "source"
        source.mkdir()
        make_sources(source)
        for _ in range(rounds):
            for name in names:
                memory = round_of(name, Path(folder) / name, source, results)
                peak = max(peak, memory) if name == "peergos-mount" else peak
    return results, peak


def medians(results):
    """Workloads and the median of each program, ours first; ours may be called so, and is peergos-mount here."""
    rows = []
    for work, times in results.items():
        named = {"peergos-mount" if name == "ours" else name: statistics.median(values) for name, values in times.items()}
        rows.append((work, {name: named[name] for name in KINDS if name in named}))
    return rows


def table(rows):
    names = list(rows[0][1])
    lines = ["| | " + " | ".join(names) + " | ratio |", "|---|" + "---|" * (len(names) + 1)]
    for work, seconds in rows:
        ratio = f"{seconds['peergos-mount'] / seconds[BASE]:.2f}" if BASE in seconds else ""
        cells = [f"{seconds[name]:.2f}" if name in seconds else "" for name in names]
        lines.append(f"| {work} | " + " | ".join(cells) + f" | {ratio} |")
    return "\n".join(lines)


def chart(rows, path):
    """Bars of times in that of gocryptfs: shorter is better."""
    one, most, left, thick = 150, 4, 270, 11
    others = [name for name in rows[0][1] if name != BASE]
    colours = dict(zip(others, ["#2a7f62", "#8a6fb0", "#c8953d"]))
    height = thick * len(others) + 9
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{left + most * one + 80}" height="{height * len(rows) + 50}" '
        'font-family="sans-serif" font-size="12"><rect width="100%" height="100%" fill="white"/>'
        f'<text x="8" y="20">Times in that of {BASE} (the line): shorter is better</text>'
    ]
    for i, name in enumerate(others):
        x = left + 80 + 130 * i
        parts.append(f'<rect x="{x}" y="11" width="10" height="10" fill="{colours[name]}"/><text x="{x + 15}" y="20">{name}</text>')
    for i, (work, seconds) in enumerate(rows):
        top = 36 + i * height
        parts.append(f'<text x="{left - 8}" y="{top + height / 2:.0f}" text-anchor="end">{work}</text>')
        for j, name in enumerate(name for name in others if name in seconds):
            ratio, y = seconds[name] / seconds[BASE], top + j * thick
            width = min(ratio, most) * one
            parts.append(f'<rect x="{left}" y="{y}" width="{width:.0f}" height="{thick - 1}" fill="{colours[name]}"/>')
            parts.append(f'<text x="{left + width + 5:.0f}" y="{y + 9}" font-size="10">{ratio:.2f}</text>')
    end = 36 + len(rows) * height
    parts.append(f'<line x1="{left + one}" x2="{left + one}" y1="32" y2="{end}" stroke="black" stroke-dasharray="3"/></svg>')
    Path(path).write_text("\n".join(parts) + "\n")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", help="where to keep the times")
    parser.add_argument("--results", help="times that were kept, instead of new ones")
    parser.add_argument("--chart", help="where to draw the ratios, as SVG")
    parser.add_argument("--dir", default="/dev/shm", help="where everything is stored; by default in memory")
    arguments = parser.parse_args()
    if arguments.results:
        results, peak = json.loads(Path(arguments.results).read_text()), 0
    else:
        results, peak = measure(arguments.rounds, arguments.dir)
    if arguments.json:
        Path(arguments.json).write_text(json.dumps(results, indent=1) + "\n")
    rows = medians(results)
    print(table(rows))
    if peak:
        print(f"\nMost memory resident: {peak} MiB")
    if arguments.chart:
        chart([row for row in rows if BASE in row[1]], arguments.chart)


main()
