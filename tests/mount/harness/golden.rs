//! The accounts that the reference client wrote.

use std::path::Path;

use serde_json::Value;

use super::check::{Export, Listing};
use super::drive::Account;
use super::shell::{program, run_ok};

/// A golden account: how to log in, and what its owner sees.
pub struct Golden {
    /// User name and password.
    pub account: Account,
    /// What the manifest lists, what friends share included.
    pub listing: Listing,
}

impl Golden {
    /// `ada` or `bob`.
    pub fn load(username: &str) -> Self {
        let text = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden/manifest.json"));
        let manifest: Value = serde_json::from_str(&text.expect("golden manifest")).expect("golden manifest");
        let account = &manifest["accounts"][username];
        Self {
            account: Account {
                username: username.to_owned(),
                password: account["password"].as_str().expect("password").to_owned(),
            },
            listing: Listing::parse(&account["sees"]),
        }
    }

    /// The files they are stored in.
    pub fn export(&self) -> Export {
        Export::at(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden").as_ref(), &self.account.username)
    }

    /// Brings it into a state folder.
    pub fn import_into(&self, state: &Path) {
        let export = self.export();
        run_ok(program().arg("import").args([&export.car, &export.json]).arg("--state").arg(state));
    }
}

/// The file names that the golden account `ada` tries.
pub fn name_cases() -> Vec<String> {
    let ada = Golden::load("ada");
    let own = ada.listing.below("ada", false);
    let names: Vec<_> = own.iter().filter_map(|(path, _)| path.strip_prefix("names/").map(str::to_owned)).collect();
    assert!(names.len() >= 9, "the golden account lost its names: {names:?}");
    names
}
