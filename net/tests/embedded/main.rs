//! The embedded node, seen from outside.

#[cfg(test)]
mod accounts;
#[cfg(test)]
mod blocks;
#[cfg(test)]
mod damage;
#[cfg(test)]
mod golden;
#[cfg(test)]
mod killed;
#[cfg(test)]
mod login;
#[cfg(test)]
mod pointers;
#[cfg(test)]
mod sign_up;
#[cfg(test)]
mod space;
#[cfg(test)]
mod support;
