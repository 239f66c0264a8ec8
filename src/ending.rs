//! How a mount ends when someone asks the process to: a thread takes the signals, and unmounts; that ends the session,
//! and the main thread saves what is left.

use std::{
    io, process,
    sync::{Arc, OnceLock, mpsc::Sender},
    thread,
    time::Duration,
};

use anyhow::{Context as _, Result};

use crate::{mounts::Mount, password, progress::tell, signals::Signals, unmount};

/// How long programs that use the drive get to let go of it.
const PATIENCE: Duration = Duration::from_secs(10);
const RETRY: Duration = Duration::from_millis(200);

/// Why serving a mount is over.
#[derive(Debug)]
pub enum End {
    /// The kernel has nothing more to ask.
    Unmounted(io::Result<()>),
    /// The mount was taken from programs that still use it, whose requests may go on coming.
    Forced,
    /// The account must not be used on this device any more.
    Revoked(peergos_fs::Error),
}

/// What a signal unmounts, as soon as there is something.
#[derive(Debug, Clone, Default)]
pub struct Ending {
    mounted: Arc<OnceLock<(Mount, Sender<End>)>>,
}

impl Ending {
    /// Takes the signals from now on. Before [`Ending::arm`], one ends the process at once.
    pub fn watch(signals: Signals) -> Result<Self> {
        let this = Self::default();
        let mounted = Arc::clone(&this.mounted);
        thread::Builder::new()
            .name("signals".to_owned())
            .spawn(move || serve(&signals, &mounted))
            .context("could not start a thread")?;
        Ok(this)
    }

    /// From now on, a signal unmounts `mount`; `end` hears of it if that takes force.
    pub fn arm(&self, mount: Mount, end: Sender<End>) {
        // Set once, by the main thread.
        let _ = self.mounted.set((mount, end));
    }
}

fn serve(signals: &Signals, mounted: &OnceLock<(Mount, Sender<End>)>) {
    loop {
        let Some(signal) = signals.next(None) else { continue };
        match mounted.get() {
            None => {
                password::set_echo(true);
                process::exit(128 + signal);
            }
            Some((mount, end)) => unmount(signals, mount, end),
        }
    }
}

fn unmount(signals: &Signals, mount: &Mount, end: &Sender<End>) {
    if !mount.is_there() {
        return tell(
            "Unmounted already, and still saving. What is not saved when the process is killed is saved at the next mount.",
        );
    }
    match unmount::unmount(mount) {
        Err(unmount::Error::Busy) => {}
        Ok(()) => return,
        Err(error) => return tell(format_args!("could not unmount {}: {error}", mount.mountpoint.display())),
    }
    tell(format_args!(
        "{} is in use; waiting {} seconds for programs to let go of it. A second signal takes it from them at once.",
        mount.mountpoint.display(),
        PATIENCE.as_secs()
    ));
    for _ in 0..PATIENCE.as_millis() / RETRY.as_millis() {
        if signals.next(Some(RETRY)).is_some() {
            break;
        }
        if !matches!(unmount::unmount(mount), Err(unmount::Error::Busy)) {
            return;
        }
    }
    match unmount::force(mount) {
        // The main thread listens for as long as it matters.
        Ok(()) => drop(end.send(End::Forced)),
        Err(error) => tell(format_args!("could not unmount {}: {error}", mount.mountpoint.display())),
    }
}
