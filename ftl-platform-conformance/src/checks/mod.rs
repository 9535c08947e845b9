//! The checks, one file for each group; [`all`] lists them in the order in which they are told.

mod adopt;
mod create;
mod exit;
mod garbage;
mod idem;
mod logs;
mod lost;
mod remove;
mod secret;
mod stop;
mod unclaimed;

pub(crate) use unclaimed::refused;

use crate::check::Check;

/// Every check.
#[must_use]
pub fn all() -> Vec<Check> {
    [
        create::CHECKS,
        idem::CHECKS,
        lost::CHECKS,
        adopt::CHECKS,
        stop::CHECKS,
        remove::CHECKS,
        exit::CHECKS,
        logs::CHECKS,
        secret::CHECKS,
        garbage::CHECKS,
    ]
    .concat()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    #[test]
    fn a_check_has_one_name_of_its_group() {
        let all = super::all();
        let names: BTreeSet<_> = all.iter().map(|check| check.name).collect();
        assert_eq!(names.len(), all.len());
        assert!(names.iter().all(|name| name.matches("::").count() == 1), "{names:?}");
        let groups: BTreeSet<_> = all.iter().map(crate::Check::group).collect();
        assert_eq!(groups.len(), 10, "{groups:?}");
    }
}
