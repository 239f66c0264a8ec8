//! What a server far away costs: `cargo bench --bench server`. Prints seconds, and for a large upload what one `curl` takes
//! for the same bytes over the same line to a server that throws them away.
//!
//! `PEERGOS_BENCH_DIR` says where state directories and mounts go; the default is a folder in `/dev/shm`.

// as in tests, what goes wrong ends it
#![allow(clippy::unwrap_used)]

mod line;

use std::{
    fs::{self, File},
    io::{BufRead, BufReader, Read, Write},
    net::{SocketAddr, TcpListener},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use line::Line;

const PROGRAM: &str = env!("CARGO_BIN_EXE_peergos-mount");
const LARGE: usize = 100 << 20;

/// Lines with the round trip of a distant server. The last is limited by windows alone.
const BANDWIDTHS: [(&str, f64); 3] = [("100 Mbit/s", 12.5e6), ("1 Gbit/s", 125e6), ("unlimited", 1e12)];
const ROUND_TRIP: Duration = Duration::from_millis(50);

/// A running program, which ends with this value.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        // both fail where it has ended already
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A drive of one account on the server.
struct Drive {
    url: String,
    state: PathBuf,
    root: PathBuf,
}

impl Drive {
    fn mount(&self) -> Running {
        let mut command = Command::new(PROGRAM);
        command.args(["--server", &self.url, "--sign-up", "--username", "bench", "--state"]);
        command.arg(&self.state).arg(&self.root).env("PEERGOS_PASSWORD", "a long enough password");
        let process = Running(command.stdin(Stdio::null()).spawn().unwrap());
        let is_mounted = || fs::read_to_string("/proc/self/mounts").unwrap().contains(self.root.to_str().unwrap());
        while !is_mounted() {
            thread::sleep(Duration::from_millis(2));
        }
        process
    }

    fn unmount(&self, mut process: Running) {
        run(Command::new(PROGRAM).arg("umount").arg(&self.root));
        assert!(process.0.wait().unwrap().success());
    }

    /// Another device, or this one after everything it remembered is gone.
    fn forget(&self) {
        fs::remove_dir_all(&self.state).unwrap();
    }
}

fn run(command: &mut Command) {
    let status = command.stdout(Stdio::null()).status().unwrap();
    assert!(status.success(), "{command:?}: {status}");
}

fn seconds(work: impl FnOnce()) -> f64 {
    let start = Instant::now();
    work();
    start.elapsed().as_secs_f64()
}

/// The near end of a line, and its address.
fn near_end() -> (TcpListener, String) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    (listener, address)
}

/// A Peergos server that is `called` by these names, and where it listens.
fn serve(state: &Path, called: &[String]) -> (Running, SocketAddr) {
    let mut command = Command::new(PROGRAM);
    command.args(["node", "--listen", "127.0.0.1:0", "--open-sign-ups", "--state"]).arg(state);
    for name in called {
        command.args(["--host", name]);
    }
    let mut child = command.stderr(Stdio::piped()).spawn().unwrap();
    let mut said = BufReader::new(child.stderr.take().unwrap()).lines().map_while(Result::ok);
    let address = |line: String| line.strip_prefix("Serving at http://")?.strip_suffix("/.")?.parse().ok();
    let address = said.find_map(address).expect("the server says where it listens");
    thread::spawn(move || said.for_each(|line| eprintln!("server: {line}")));
    (Running(child), address)
}

/// An HTTP server that reads what is sent, and throws it away.
fn sink() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let mut reader = BufReader::new(stream.try_clone().unwrap());
            let mut length = 0;
            for line in reader.by_ref().lines().map_while(Result::ok).take_while(|line| !line.is_empty()) {
                if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length:") {
                    length = value.trim().parse().unwrap();
                }
            }
            std::io::copy(&mut reader.take(length), &mut std::io::sink()).unwrap();
            stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n").unwrap();
        }
    });
    address
}

fn sync_folder(path: &Path) {
    File::open(path).unwrap().sync_all().unwrap();
}

/// Writes a large file and waits until the server has it.
fn write_large(path: &Path, content: &[u8]) {
    let mut file = File::create(path).unwrap();
    content.chunks(1 << 20).for_each(|piece| file.write_all(piece).unwrap());
    file.sync_all().unwrap();
}

fn print(what: &str, seconds: f64) {
    println!("{what:<52} {seconds:6.2} s");
}

fn uploads(dir: &Path, server: SocketAddr, ends: Vec<(TcpListener, String)>) {
    let content: Vec<u8> = (0..LARGE as u64).map(|i| (i.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 56) as u8).collect();
    let file = dir.join("content");
    fs::write(&file, &content).unwrap();
    for ((name, bandwidth), (near, address)) in BANDWIDTHS.into_iter().zip(ends) {
        let line = Line { round_trip: ROUND_TRIP, bandwidth };
        let (near_sink, sink_address) = near_end();
        line.open(near_sink, sink());
        line.open(near, server);
        let url = format!("http://{address}");
        let drive =
            Drive { url, state: dir.join(format!("state-{bandwidth}")), root: dir.join(format!("mount-{bandwidth}")) };
        let process = drive.mount();
        let mut ratios = Vec::new();
        for round in 0..3 {
            let curl = seconds(|| {
                let mut curl = Command::new("curl");
                curl.args([
                    "-sSf",
                    "-H",
                    "Expect:",
                    "-o",
                    "/dev/null",
                    "--data-binary",
                    &format!("@{}", file.display()),
                ]);
                run(curl.arg(format!("http://{sink_address}/")));
            });
            let path = drive.root.join(format!("large {bandwidth} {round}"));
            let ours = seconds(|| write_large(&path, &content));
            println!(
                "100 MiB, {name:<10}  written and synced {ours:6.2} s   curl {curl:6.2} s   speed {:4.0} % of curl's",
                100.0 * curl / ours
            );
            ratios.push(curl / ours);
        }
        ratios.sort_by(f64::total_cmp);
        println!("100 MiB, {name:<10}  median: {:.0} % of curl's speed", 100.0 * ratios[1]);
        drive.unmount(process);
    }
}

fn small_files(dir: &Path, server: SocketAddr, (near, address): (TcpListener, String)) {
    Line { round_trip: ROUND_TRIP, bandwidth: 125e6 }.open(near, server);
    let drive = Drive { url: format!("http://{address}"), state: dir.join("state"), root: dir.join("mount") };
    let process = drive.mount();
    let small = drive.root.join("small");
    print(
        "1,000 files of 4 KiB, written and synced",
        seconds(|| {
            for folder in 0..20 {
                let folder = small.join(folder.to_string());
                fs::create_dir_all(&folder).unwrap();
                for i in 0..50 {
                    fs::write(folder.join(i.to_string()), [i; 4096]).unwrap();
                }
            }
            sync_folder(&small);
        }),
    );
    let many = drive.root.join("many");
    for folder in 0..60 {
        let folder = many.join(folder.to_string());
        fs::create_dir_all(&folder).unwrap();
        for i in 0..50 {
            fs::write(folder.join(i.to_string()), b"").unwrap();
        }
    }
    drive.unmount(process);
    drive.forget();
    let start = Instant::now();
    let process = drive.mount();
    run(Command::new("ls").arg(&drive.root));
    print("from the start to ls, scrypt included, first time", start.elapsed().as_secs_f64());
    let find = || seconds(|| run(Command::new("find").arg(&many).args(["-type", "f", "-printf", "%s\n"])));
    print("find over 3,000 files in 60 folders, first time", find());
    drive.unmount(process);
    let process = drive.mount();
    print("the same after mounting again, from the disk cache", find());
    drive.unmount(process);
}

fn main() {
    let parent = std::env::var_os("PEERGOS_BENCH_DIR").map_or_else(|| PathBuf::from("/dev/shm"), PathBuf::from);
    let dir = tempfile::Builder::new().prefix("peergos-mount-bench-").tempdir_in(parent).unwrap();
    let mut ends: Vec<_> = std::iter::repeat_with(near_end).take(1 + BANDWIDTHS.len()).collect();
    let names: Vec<_> = ends.iter().map(|(_, name)| name.clone()).collect();
    let (_server, address) = serve(&dir.path().join("server"), &names);
    println!("A server {} ms away (round trip)", ROUND_TRIP.as_millis());
    small_files(dir.path(), address, ends.remove(0));
    uploads(dir.path(), address, ends);
}
