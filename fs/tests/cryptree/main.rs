//! Known answers and properties of the encrypted tree's encodings, spec 03 §2–§4.

#[cfg(test)]
mod accounts;
#[cfg(test)]
mod bulk;
#[cfg(test)]
mod capabilities;
#[cfg(test)]
mod entries;
#[cfg(test)]
mod hostile;
#[cfg(test)]
mod mime;
#[cfg(test)]
mod nodes;
#[cfg(test)]
mod support;
