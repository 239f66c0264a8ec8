//! How a mount ends when someone asks the process to: a thread takes the signals, and unmounts; that ends the session,
//! and the main thread saves what is left.

use std::{
    process,
    sync::{Arc, OnceLock},
    thread,
    time::Duration,
};

use anyhow::{Context as _, Result};

use crate::{
    mounts::{self, Mount},
    password,
    signals::Signals,
    unmount,
};

/// How long programs that use the drive get to let go of it.
const PATIENCE: Duration = Duration::from_secs(10);
const RETRY: Duration = Duration::from_millis(200);

/// What a signal unmounts, as soon as there is something.
#[derive(Debug, Clone, Default)]
pub struct Ending {
    mount: Arc<OnceLock<Mount>>,
}

impl Ending {
    /// Takes the signals from now on. Before [`Ending::arm`], one ends the process at once.
    pub fn watch(signals: Signals) -> Result<Self> {
        let this = Self::default();
        let mount = Arc::clone(&this.mount);
        thread::Builder::new()
            .name("signals".to_owned())
            .spawn(move || serve(&signals, &mount))
            .context("could not start a thread")?;
        Ok(this)
    }

    /// From now on, a signal unmounts `mount`.
    pub fn arm(&self, mount: Mount) {
        // Set once, by the main thread.
        let _ = self.mount.set(mount);
    }
}

fn serve(signals: &Signals, mount: &OnceLock<Mount>) {
    loop {
        let Some(signal) = signals.next(None) else { continue };
        match mount.get() {
            None => {
                password::set_echo(true);
                process::exit(128 + signal);
            }
            Some(mount) => end(signals, mount),
        }
    }
}

fn end(signals: &Signals, mount: &Mount) {
    if !mounts::find(&mount.mountpoint).is_ok_and(|found| found.as_ref() == Some(mount)) {
        return eprintln!("Unmounted already, and still saving. What is not saved when the process is killed is lost.");
    }
    match unmount::unmount(mount) {
        Err(unmount::Error::Busy) => {}
        Ok(()) => return,
        Err(error) => return eprintln!("peergos-mount: could not unmount {}: {error}", mount.mountpoint.display()),
    }
    eprintln!(
        "{} is in use; waiting {} seconds for programs to let go of it. A second signal takes it from them at once.",
        mount.mountpoint.display(),
        PATIENCE.as_secs()
    );
    for _ in 0..PATIENCE.as_millis() / RETRY.as_millis() {
        if signals.next(Some(RETRY)).is_some() {
            break;
        }
        if !matches!(unmount::unmount(mount), Err(unmount::Error::Busy)) {
            return;
        }
    }
    if let Err(error) = unmount::force(mount) {
        eprintln!("peergos-mount: could not unmount {}: {error}", mount.mountpoint.display());
    }
}
