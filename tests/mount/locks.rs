//! Locks among the processes of one machine.

use crate::harness::{Drive, python, run_ok};

#[test]
fn locks_hold_among_processes() {
    let drive = Drive::mounted();
    let script = "
import fcntl, os
EXCLUSIVE, SHARED, NOW = fcntl.LOCK_EX, fcntl.LOCK_SH, fcntl.LOCK_NB
def other(lock, *args):
    pid = os.fork()
    if pid == 0:
        try:
            lock(open('f', 'r+b'), *args)
            os._exit(0)
        except BlockingIOError:
            os._exit(1)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
for lock in (fcntl.flock, fcntl.lockf):
    f = open('f', 'w+b')
    lock(f, EXCLUSIVE)
    assert not other(lock, EXCLUSIVE | NOW) and not other(lock, SHARED | NOW)
    lock(f, SHARED)
    assert not other(lock, EXCLUSIVE | NOW) and other(lock, SHARED | NOW)
    f.close()
    assert other(lock, EXCLUSIVE | NOW)
f = open('f', 'w+b')
fcntl.lockf(f, EXCLUSIVE, 10, 0)
assert other(fcntl.lockf, EXCLUSIVE | NOW, 10, 10) and not other(fcntl.lockf, EXCLUSIVE | NOW, 10, 9)
";
    run_ok(python().args(["-c", script]).current_dir(drive.root()));
}
