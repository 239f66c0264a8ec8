//! Real programs, used as people use them.

use std::fs::{self, File};
use std::io::Write as _;
use std::iter;
use std::mem::MaybeUninit;
use std::path::Path;
use std::process::Command;

use rustix::fs::inotify::{self, CreateFlags, ReadFlags, WatchFlags};

use crate::harness::{Aspects, Drive, Tree, command, filled, python, run_ok, shell};

/// A source tree: this project's own and the C library's headers, with links, modes and times. At least 500 files.
fn source_tree(to: &Path) {
    fs::create_dir(to).unwrap();
    let project = env!("CARGO_MANIFEST_DIR");
    shell(to, &format!("cp -a {project}/crypto {project}/net {project}/fs {project}/src {project}/tests ."));
    shell(
        to,
        "cp -a /usr/include/linux headers; ln -s crypto/src sources; ln -s nowhere dangling; chmod 600 src/*; mkdir empty",
    );
    // In the past, because rsync holds times within the same second for equal.
    shell(to, "find . -exec touch -h -d '2001-02-03 04:05:06.123456789' {} +; touch -h -d 1999-12-31 dangling empty");
    let files: u32 = shell(to, "find . -type f | wc -l").trim().parse().unwrap();
    assert!(files >= 500, "only {files} files");
}

#[test]
fn rsync_transfers_once() {
    let mut drive = Drive::mounted();
    source_tree(&drive.beside("source"));
    let rsync = "rsync -a --itemize-changes source/ mount/copy/";
    assert!(shell(&drive.beside(""), rsync).lines().count() > 500);
    assert_eq!(shell(&drive.beside(""), rsync), "", "the second run transfers nothing");
    drive.remount();
    assert_eq!(shell(&drive.beside(""), rsync), "", "a run after a remount transfers nothing");
    assert_eq!(shell(&drive.beside(""), &format!("{rsync} --checksum")), "");
    shell(&drive.beside(""), "diff -r --no-dereference source mount/copy");
    Tree::read(&drive.path("copy")).assert_equals(
        &Tree::read(&drive.beside("source")),
        Aspects::Times,
        "all attributes",
    );

    shell(
        &drive.beside("source"),
        "echo change >> src/main.rs; rm -r headers; mkdir -p new/folder; mv crypto renamed; touch -d 2002-03-04 . new new/folder",
    );
    shell(&drive.beside(""), "rsync -a --delete source/ mount/copy/");
    drive.remount();
    Tree::read(&drive.path("copy")).assert_equals(
        &Tree::read(&drive.beside("source")),
        Aspects::Times,
        "after --delete",
    );
    drive.check();
}

/// Runs a script with git for nobody in particular.
fn git(dir: &Path, script: &str) -> String {
    let set_up = "export HOME=/nonexistent GIT_CONFIG_NOSYSTEM=1 GIT_AUTHOR_NAME=a GIT_AUTHOR_EMAIL=a@b
        export GIT_COMMITTER_NAME=a GIT_COMMITTER_EMAIL=a@b GIT_CONFIG_COUNT=1 GIT_CONFIG_KEY_0=protocol.file.allow GIT_CONFIG_VALUE_0=always";
    shell(dir, &format!("{set_up}\n{script}"))
}

/// What git's own tests do to histories, index and working tree, in one script. With its clock set, git gives the same names to
/// the same things, so that a run elsewhere tells what must come out.
const HISTORY: &str = r#"
tick=1700000000
step() { tick=$((tick + 60)); export GIT_AUTHOR_DATE="$tick +0000" GIT_COMMITTER_DATE="$tick +0000"; }
commit() { step; printf '%s\n' "$2" >> "$1"; git add "$1"; git commit -qm "$1: $2"; }
git init -q -b main repo; cd repo
git config core.fsync all; git config gc.auto 0; git config rerere.enabled true; git config core.packedGitWindowSize 64k
for i in 1 2 3 4 5 6 7 8; do mkdir -p "d$i/in ner"; seq $i 400 > "d$i/in ner/lines"; done
ln -s d1 link; printf '#!/bin/sh\nexit 0\n' > run.sh; chmod +x run.sh; step; git add -A; git commit -qm base; git tag base
for i in $(seq 1 25); do commit "f$((i % 5))" "line $i"; done
git checkout -q -b topic base; for i in 1 2 3 4; do commit "t$i" "topic $i"; done; commit f1 conflicting
git checkout -q main; git cherry-pick topic~1 > /dev/null
git checkout -q topic; step; git rebase -q main > /dev/null 2>&1 || { git checkout --theirs f1; git add f1; GIT_EDITOR=true git rebase --continue > /dev/null; }
git checkout -q main; step; git merge -q --no-ff -m merged topic; commit f2 after
step; git revert --no-edit HEAD > /dev/null; git mv 'd2/in ner' d2/moved; step; git commit -qm move
sed -i '5,9d' 'd3/in ner/lines'; git diff > ../patch; git stash push -q; git apply --index ../patch; git diff --cached --stat
git reset -q --hard; git stash pop -q; step; git commit -qam stashed
git bisect start HEAD base > /dev/null; git bisect run sh -c '! grep -q "line 13" f3' 2>&1 | grep 'first bad commit$'; git bisect reset > /dev/null 2>&1
git worktree add -q ../tree topic; (cd ../tree; commit w1 tree); git worktree remove ../tree
git branch -q -D topic; for i in $(seq 1 60); do git update-ref refs/heads/b/$i HEAD~$((i % 9)); done; git pack-refs --all; git for-each-ref | sha1sum
git update-index --refresh -q; git checkout -q base; git checkout -q main; git clean -qfdx; git sparse-checkout set d1 d4 2> /dev/null; ls; git sparse-checkout disable
git reflog expire --expire=now --all; git repack -qadf --depth=50 --window=10; git multi-pack-index write; git commit-graph write --reachable; git gc -q --prune=now
git clone -q --bare . ../bare; git -C ../bare fsck --strict; git bundle create -q ../bundle main; git clone -q ../bundle ../from -b main
git -C ../from log --format=%H | sha1sum; git archive HEAD | tar t | sha1sum; git ls-files -s | sha1sum; git fsck --strict --full; git status --porcelain; git log --oneline | wc -l
"#;

#[test]
fn git_does_what_it_does_elsewhere() {
    let mut drive = Drive::mounted();
    fs::create_dir(drive.beside("elsewhere")).unwrap();
    let elsewhere = git(&drive.beside("elsewhere"), HISTORY);
    assert!(elsewhere.lines().count() > 10, "{elsewhere}");
    assert_eq!(git(&drive.root(), HISTORY), elsewhere);
    drive.remount();
    let after = "cd repo; git fsck --strict --full; git status --porcelain; git log --format=%H main | sha1sum";
    assert_eq!(git(&drive.root(), after), git(&drive.beside("elsewhere"), after));
    drive.check();
}

#[test]
fn git_works_in_it() {
    let mut drive = Drive::mounted();
    source_tree(&drive.beside("source"));
    git(
        &drive.root(),
        "git init -q -b main repo; cd repo; cp -a ../../source/. .; git add -A; git commit -qm one
         git checkout -q -b topic; echo topic > topic; git add topic; git commit -qm topic
         git checkout -q main; git mv src moved; git commit -qm two; git merge -q -m merge topic; git tag v1
         git gc -q --aggressive --prune=now; git fsck --strict; git clone -q . ../clone; git -C ../clone fsck --strict",
    );
    drive.remount();
    let state = "git status --porcelain; git fsck --strict 2>&1; git diff HEAD --stat; git log --oneline | wc -l";
    assert_eq!(git(&drive.path("repo"), state), "4\n");
    assert_eq!(git(&drive.path("clone"), state), "4\n");
    git(
        &drive.beside(""),
        "git clone -q mount/repo outside; git -C outside fsck --strict; diff -r outside/moved mount/repo/moved",
    );
    git(
        &drive.path("clone"),
        "echo more > more; git add more; git commit -qm three; git push -q origin HEAD:refs/heads/pushed
         git -C ../repo merge -q pushed; git worktree add -q ../tree HEAD~1; git stash list; rm -rf ../tree; git worktree prune",
    );
    drive.remount();
    assert_eq!(git(&drive.path("repo"), "git fsck --strict 2>&1; cat more"), "more\n");
    drive.check();
}

#[test]
fn tar_goes_in_and_out() {
    let mut drive = Drive::mounted();
    source_tree(&drive.beside("source"));
    shell(
        &drive.beside(""),
        "tar --format=posix -C source -cf in.tar .; mkdir mount/tree; tar -C mount/tree -xpf in.tar; tar -C mount/tree -df in.tar",
    );
    drive.remount();
    shell(
        &drive.beside(""),
        "tar -C mount/tree -df in.tar; tar -C mount/tree -cf mount/out.tar .; tar -C source -df mount/out.tar",
    );
    Tree::read(&drive.path("tree")).assert_equals(
        &Tree::read(&drive.beside("source")),
        Aspects::Times,
        "all attributes",
    );
    drive.check();
}

#[test]
fn editors_save_safely() {
    let mut drive = Drive::mounted();
    let (file, temporary, backup) = (drive.path("text"), drive.path(".text.swp"), drive.path("text~"));
    fs::write(&file, "version 0").unwrap();
    for version in 1..=5 {
        let text = format!("version {version} {}", "x".repeat(version * 100_000));
        let save = |path: &Path| {
            let mut out = File::create(path).unwrap();
            out.write_all(text.as_bytes()).unwrap();
            out.sync_all().unwrap();
        };
        if version % 2 == 0 {
            // vim: keep the old one under another name, write the new one in place.
            fs::rename(&file, &backup).unwrap();
            save(&file);
            fs::remove_file(&backup).unwrap();
        } else {
            save(&temporary);
            fs::rename(&temporary, &file).unwrap();
        }
        File::open(drive.root()).unwrap().sync_all().unwrap();
        drive.kill();
        drive.mount();
        assert!(fs::read_to_string(&file).unwrap() == text, "version {version} after kill -9");
        assert_eq!(fs::read_dir(drive.root()).unwrap().count(), 1);
    }
    drive.check();
}

#[test]
fn memory_maps_show_and_take_content() {
    let mut drive = Drive::mounted();
    fs::write(drive.path("x"), filled(5, 12 << 20)).unwrap();
    drive.remount();
    let script = "
import hashlib, mmap, random, sys
with open(sys.argv[1], 'r+b') as f:
    with mmap.mmap(f.fileno(), 0, access=mmap.ACCESS_READ) as m:
        order = list(range(0, len(m), 4096)); random.Random(1).shuffle(order)
        pages = {at: m[at:at + 4096] for at in order}
        print(hashlib.sha256(b''.join(pages[at] for at in sorted(pages))).hexdigest())
    with mmap.mmap(f.fileno(), 0) as m:
        for at in (0, 4095, (1 << 20) - 2, (5 << 20) - 2, len(m) - 4):
            m[at:at + 4] = b'mmap'
        m.flush()
";
    let shown = run_ok(python().args(["-c", script]).arg(drive.path("x")));
    let mut expected = filled(5, 12 << 20);
    assert_eq!(shown.trim(), hex::encode(<sha2::Sha256 as sha2::Digest>::digest(&expected)));
    for at in [0, 4095, (1 << 20) - 2, (5 << 20) - 2, (12 << 20) - 4] {
        expected[at..at + 4].copy_from_slice(b"mmap");
    }
    drive.remount();
    assert!(fs::read(drive.path("x")).unwrap() == expected);
}

#[test]
fn a_program_that_runs_keeps_its_pages() {
    let drive = Drive::mounted();
    // the shell opens what it redirects to; python opens for reading, and empties all the same
    let truncate = "import os, sys; os.open('sleep', os.O_RDONLY | os.O_TRUNC)";
    shell(&drive.root(), "cp \"$(command -v sleep)\" sleep; cp sleep original");
    // not by way of another program: it runs when this returns
    let mut running = Command::new(drive.path("sleep")).arg("1000").spawn().unwrap();
    let all_opened = [
        command("sh").args(["-c", ": > sleep"]).current_dir(drive.root()).output().unwrap(),
        python().args(["-c", truncate]).current_dir(drive.root()).output().unwrap(),
    ];
    let ended = running.try_wait().unwrap();
    running.kill().unwrap();
    running.wait().unwrap();
    assert_eq!(ended, None, "the program died");
    for opened in all_opened {
        let said = String::from_utf8_lossy(&opened.stderr);
        assert!(!opened.status.success() && said.contains("Text file busy"), "{said}");
    }
    shell(&drive.root(), "cmp sleep original; : > sleep; test ! -s sleep");
}

#[test]
fn coreutils_and_compilers() {
    let mut drive = Drive::mounted();
    let script = "
        printf 'int main(void){return 42;}' > main.c; cc -c main.c; cc -o main main.o; set +e; ./main; test $? = 42 || exit 1; set -e
        printf 'all: b\\nb: a\\n\\tcp a b; echo made\\n' > Makefile; echo 1 > a; make -s; make -q
        cp --reflink=auto --sparse=auto -p main copy; cmp main copy; install -m 700 main sbin; test $(stat -c %a sbin) = 700
        seq 100000 > numbers; sort -r numbers -o numbers; split -l 1000 numbers part.; cat part.* | cmp - numbers; rm part.*
        truncate -s 10M sparse; dd if=/dev/urandom of=sparse bs=1000 count=3 seek=7000 conv=notrunc status=none
        sed -i s/5/five/ numbers; gzip -k numbers; gunzip -c numbers.gz | cmp - numbers; mkdir d; mv main* d; rm -r d
        python3 -c \"import shutil; shutil.copytree('.', 'sub', ignore=lambda d, n: ['sub'])\"; diff -r --exclude=sub . sub";
    shell(&drive.root(), script);
    let before = drive.tree();
    drive.remount();
    drive.tree().assert_equals(&before, Aspects::All, "after the remount");
    shell(&drive.root(), "make -q; gzip --test numbers.gz");
    drive.check();
}

#[test]
fn who_watches_a_folder_is_told_of_what_others_do_here() {
    let drive = Drive::mounted();
    let watch = inotify::init(CreateFlags::NONBLOCK).unwrap();
    let expected =
        [ReadFlags::CREATE, ReadFlags::CLOSE_WRITE, ReadFlags::MOVED_TO, ReadFlags::DELETE].map(|event| event.bits());
    let all = WatchFlags::from_bits_truncate(expected.iter().sum());
    inotify::add_watch(&watch, drive.root(), all).unwrap();
    shell(&drive.root(), "echo x > a; mv a b; rm b");
    let mut buffer = [MaybeUninit::uninit(); 4096];
    let mut events = inotify::Reader::new(&watch, &mut buffer);
    let told: Vec<_> = iter::from_fn(|| events.next().ok().map(|event| event.events().bits())).collect();
    assert_eq!(told, expected);
}
