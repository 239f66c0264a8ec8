//! Transactions without waiting: they are closed in the background, and the next one is opened there as well, so that
//! a commit finds it ready (spec 02 §6.4).

use std::{collections::HashMap, sync::Arc, time::Duration};

use parking_lot::Mutex;
use peergos_crypto::signing::KeyHash;
use tokio::{runtime::Handle, task::JoinSet};

use super::{
    retry::Repeat,
    transport::{Request, Transport},
};
use crate::{Error, Result, TransactionId, uptime};

/// How long an unused transaction is good for; servers forget them after 24 h.
const FRESH: Duration = Duration::from_secs(3600);
/// How long the end waits for transactions to close. What stays open costs the server a little space for a day.
const PATIENCE: Duration = Duration::from_secs(2);
/// The most bytes of an id.
const MAX_ID: usize = 256;

/// The transactions of a server's clients in this process.
#[derive(Default)]
pub(super) struct Transactions {
    /// With the machine's uptime when they were opened.
    spare: Arc<Mutex<HashMap<KeyHash, (TransactionId, Duration)>>>,
    background: Mutex<JoinSet<()>>,
}

impl Transactions {
    /// One that was opened ahead.
    pub fn take(&self, owner: &KeyHash) -> Option<TransactionId> {
        let (transaction, opened) = self.spare.lock().remove(owner)?;
        (uptime() < opened + FRESH).then_some(transaction)
    }

    /// Closes a transaction and opens the next, in the background.
    pub fn close(&self, runtime: &Handle, transport: Arc<Transport>, owner: &KeyHash, transaction: &TransactionId) {
        let (owner, transaction, spare) = (owner.clone(), transaction.clone(), Arc::clone(&self.spare));
        let work = async move {
            let parameters = [("arg", transaction.0.as_str()), ("owner", &owner.to_string())];
            let request = Request::new("/api/v0/transaction/close", &parameters, MAX_ID);
            if let Err(error) = transport.call(&request, Repeat::Freely).await {
                tracing::debug!("a transaction stays open: {error}");
                return;
            }
            if !spare.lock().contains_key(&owner)
                && let Ok(next) = open(&transport, &owner).await
            {
                spare.lock().insert(owner, (next, uptime()));
            }
        };
        let mut background = self.background.lock();
        while background.try_join_next().is_some() {}
        background.spawn_on(work, runtime);
    }

    /// Waits a little for what goes on in the background.
    pub async fn finish(&self) {
        let mut background = std::mem::take(&mut *self.background.lock());
        let all = async { while background.join_next().await.is_some() {} };
        // what is not closed by then, the server closes
        let _ = tokio::time::timeout(PATIENCE, all).await;
    }
}

/// Opens a transaction.
pub(super) async fn open(transport: &Transport, owner: &KeyHash) -> Result<TransactionId> {
    let request = Request::new("/api/v0/transaction/start", &[("owner", &owner.to_string())], MAX_ID);
    let reply = transport.call(&request, Repeat::Freely).await?;
    let id = std::str::from_utf8(&reply).ok().filter(|id| !id.is_empty() && id.bytes().all(|b| b.is_ascii_graphic()));
    Ok(TransactionId(id.ok_or(Error::Invalid("transaction id"))?.to_owned()))
}
