//! What the journal's records amount to.

use std::collections::{BTreeMap, HashMap, HashSet};

use peergos_crypto::cbor::Value;

use crate::{
    Result,
    capability::{Capability, MapKey},
    cryptree::Time,
    journal::{Base, Journal, Made, Place, Record},
};

/// An entry, whatever labels it gets: the first one that it had, and how many entries had that before.
pub(super) type Id = (MapKey, u32);

/// Which entry has which label, from record to record.
#[derive(Default)]
pub(super) struct Identities(HashMap<MapKey, Id>);

impl Identities {
    /// Takes in that an entry has another label. The old one may be another's afterwards.
    pub fn follow(&mut self, record: &Record<'_>) {
        if let Record::Relabelled { old, new } = record {
            let id = self.id(old);
            let count = if id.0 == *old { id.1 + 1 } else { 1 };
            self.0.insert(*new, id);
            self.0.insert(*old, (*old, count));
        }
    }

    /// The entry that has a label now.
    pub fn id(&self, label: &MapKey) -> Id {
        self.0.get(label).copied().unwrap_or((*label, 0))
    }
}

/// What was committed of a journal whose files are kept for the sake of what was left out of groups. Others may have changed
/// it since.
#[derive(Default)]
pub(super) struct Saved {
    /// The last file of which everything was committed but what was left out.
    until: u64,
    left_out: HashSet<Id>,
}

impl Saved {
    fn read(journal: &Journal) -> Result<Self> {
        let mut identities = Identities::default();
        let mut saved = Self::default();
        journal.read(&mut |_, record| {
            identities.follow(&record);
            if let Record::Saved { until, left_out, .. } = record
                && until >= saved.until
            {
                saved = Self { until, left_out: left_out.iter().map(|label| identities.id(label)).collect() };
            }
            Ok(())
        })?;
        Ok(saved)
    }

    /// Whether what a file says of an entry is committed.
    pub fn has(&self, file: u64, id: &Id) -> bool {
        file <= self.until && !self.left_out.contains(id)
    }

    /// What is put into a directory that was left out is nowhere.
    fn follow(&mut self, record: &Record<'_>, identities: &Identities) {
        let (label, directory) = match record {
            Record::Made(made) => (&made.cap.map_key, &made.directory),
            Record::Moved { label, to, .. } => (label, &to.directory),
            _ => return,
        };
        if self.left_out.contains(&identities.id(directory)) {
            self.left_out.insert(identities.id(label));
        }
    }
}

/// What becomes of an entry.
#[derive(Default)]
pub(super) struct Planned {
    /// The labels that it has had.
    pub labels: Vec<MapKey>,
    /// What addresses it, if the journal has not made it.
    pub cap: Option<Capability>,
    /// How it was made, if it was.
    pub made: Option<Made<'static>>,
    /// Where it was, in the order of time.
    pub places: Vec<(Id, String)>,
    /// Whether the last of these is where it was put, or only where it was known to be.
    pub is_placed: bool,
    /// Whether it was removed in the end.
    pub is_removed: bool,
    /// What its properties are to be.
    pub posix: Option<Option<Value>>,
    pub mime: Option<String>,
    pub modified: Option<Time>,
    /// Whether it was written to.
    pub is_written: bool,
}

/// What becomes of all entries, in one part of the journal.
#[derive(Default)]
pub(super) struct Plan {
    entries: BTreeMap<Id, Planned>,
    /// What others had committed was taken in before; these are the states.
    pub taken_in: Base,
}

impl Plan {
    /// The plans of the parts of a journal, and what is committed; between the parts, what others committed was taken in.
    pub fn read(journal: &Journal) -> Result<(Vec<Self>, Saved)> {
        let mut saved = Saved::read(journal)?;
        let mut identities = Identities::default();
        let mut plans = vec![Self::default()];
        journal.read(&mut |file, record| {
            if let Record::TakenIn { spaces } = &record {
                // what is known of entries goes on being true
                let entries = plans.last().map(Self::known).unwrap_or_default();
                plans.push(Self { entries, taken_in: spaces.clone() });
            }
            let plan = plans.last_mut().expect("there is one from the start");
            identities.follow(&record);
            saved.follow(&record, &identities);
            match record.label().is_some_and(|label| saved.has(file, &identities.id(label))) {
                true => plan.pass(record, &identities),
                false => plan.take(record, &identities),
            }
            Ok(())
        })?;
        Ok((plans, saved))
    }

    /// Of each entry, how to find it.
    fn known(&self) -> BTreeMap<Id, Planned> {
        let known = |planned: &Planned| Planned {
            labels: planned.labels.clone(),
            cap: planned.cap.clone(),
            places: planned.places.clone(),
            ..Planned::default()
        };
        self.entries.iter().map(|(id, planned)| (*id, known(planned))).collect()
    }

    /// Takes in where an entry was whose change is committed.
    fn pass(&mut self, record: Record<'_>, identities: &Identities) {
        match record {
            Record::Made(made) => {
                let place = Place { directory: made.directory, name: made.properties.name.clone() };
                let place = self.place(place, identities);
                let planned = self.entry(made.cap.map_key, identities);
                planned.cap = Some(made.cap);
                planned.pass(place);
            }
            Record::Moved { label, to, .. } => {
                let place = self.place(to, identities);
                self.entry(label, identities).pass(place);
            }
            _ => {}
        }
    }

    fn take(&mut self, record: Record<'_>, identities: &Identities) {
        match record {
            Record::Base { .. }
            | Record::Saved { .. }
            | Record::TakenIn { .. }
            | Record::Committing { .. }
            | Record::Synced { .. } => {}
            Record::Known { cap, place } => {
                let place = self.place(place, identities);
                let planned = self.entry(cap.map_key, identities);
                planned.cap = Some(cap);
                planned.pass(place);
            }
            Record::Made(made) => {
                let place = Place { directory: made.directory, name: made.properties.name.clone() };
                let place = self.place(place, identities);
                self.entry(made.directory, identities).modified = Some(made.at);
                let planned = self.entry(made.cap.map_key, identities);
                planned.put(place);
                planned.made = Some(Made { content: made.content.clone().into_owned().into(), ..*made });
            }
            Record::Wrote { label, at, .. } | Record::Zeroed { label, at, .. } | Record::Resized { label, at, .. } => {
                let planned = self.entry(label, identities);
                planned.is_written = true;
                planned.modified = Some(at);
            }
            Record::Attributes { label, posix, modified } => {
                let planned = self.entry(label, identities);
                planned.posix = Some(posix);
                planned.modified = modified.or(planned.modified);
            }
            Record::Moved { label, from, to, replaced, mime, at } => {
                self.entry(from.directory, identities).modified = Some(at);
                self.entry(to.directory, identities).modified = Some(at);
                if let Some(replaced) = replaced {
                    self.entry(replaced, identities).is_removed = true;
                }
                let (from, to) = (self.place(from, identities), self.place(to, identities));
                let planned = self.entry(label, identities);
                planned.pass(from);
                planned.put(to);
                planned.mime = mime.or(planned.mime.take());
            }
            Record::Removed { label, from, at } => {
                self.entry(from.directory, identities).modified = Some(at);
                let from = self.place(from, identities);
                let planned = self.entry(label, identities);
                planned.pass(from);
                planned.is_removed = true;
            }
            Record::Relabelled { new, .. } => drop(self.entry(new, identities)),
        }
    }

    fn entry(&mut self, label: MapKey, identities: &Identities) -> &mut Planned {
        let planned = self.entries.entry(identities.id(&label)).or_default();
        if !planned.labels.contains(&label) {
            planned.labels.push(label);
        }
        planned
    }

    fn place(&mut self, place: Place, identities: &Identities) -> (Id, String) {
        self.entry(place.directory, identities);
        (identities.id(&place.directory), place.name)
    }

    /// What becomes of an entry.
    pub fn get(&self, id: Id) -> Option<&Planned> {
        self.entries.get(&id)
    }

    /// All entries.
    pub fn entries(&self) -> impl Iterator<Item = (&Id, &Planned)> {
        self.entries.iter()
    }

    /// Whether an entry is removed in the end.
    pub fn is_removed(&self, id: Id) -> bool {
        self.get(id).is_some_and(|planned| planned.is_removed)
    }
}

impl Planned {
    /// It was there.
    fn pass(&mut self, place: (Id, String)) {
        if self.places.last() != Some(&place) {
            // where it was put is always the last
            self.places.insert(self.places.len() - usize::from(self.is_placed), place);
        }
    }

    /// It was put there.
    fn put(&mut self, place: (Id, String)) {
        self.places.push(place);
        (self.is_placed, self.is_removed) = (true, false);
    }

    /// Whether anything is to be done with it.
    pub const fn is_changed(&self) -> bool {
        self.made.is_some()
            || self.is_placed
            || self.is_removed
            || self.posix.is_some()
            || self.modified.is_some()
            || self.is_written
    }
}
