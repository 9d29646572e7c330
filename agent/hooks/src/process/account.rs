//! The user that a command runs as.

use nix::unistd::{User, geteuid};

use crate::error::CommandError;

/// A user and its own group. Supplementary groups are not taken over: the standard library clears them when it changes
/// the user, and to set them would take unsafe code.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Account {
    pub(crate) name: String,
    pub(crate) uid: u32,
    pub(crate) gid: u32,
}

impl Account {
    /// The account with this name. Asks the name service, which may wait for the network.
    pub(crate) fn look_up(name: &str) -> Result<Self, CommandError> {
        match User::from_name(name) {
            Ok(Some(user)) => Ok(Self { name: user.name, uid: user.uid.as_raw(), gid: user.gid.as_raw() }),
            Ok(None) => Err(CommandError::UnknownUser { user: name.to_owned() }),
            Err(source) => Err(CommandError::LookUpUser { user: name.to_owned(), source }),
        }
    }
}

/// The uid of a command that runs as `account`, or as the agent does.
pub(crate) fn effective_uid(account: Option<&Account>) -> u32 {
    account.map_or_else(|| geteuid().as_raw(), |account| account.uid)
}
