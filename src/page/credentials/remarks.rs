//! What may be a mistake about a new value. It goes into an address by its name, which holds nothing
//! of the value.

use crate::policy::grant::HostPattern;
use crate::services::Service;
use crate::services::remark::{self, Remark};
use crate::vault::Kind;

/// The names of what may be a mistake.
pub(in crate::page) fn of(
    kind: Kind,
    value: &[u8],
    service: Option<&'static Service>,
    hosts: &[HostPattern],
) -> Vec<String> {
    if kind != Kind::Secret {
        return Vec::new();
    }
    let remarks = remark::remarks(value, service, hosts);
    remarks.into_iter().map(Remark::name).collect()
}

/// What the names in an address mean, as sentences; unknown ones mean nothing.
pub(super) fn meaning(names: &str) -> Vec<String> {
    let remarks = names.split(',').filter_map(|name| name.parse().ok());
    remarks
        .map(|remark: Remark| sentence(&remark.to_string()))
        .collect()
}

fn sentence(clause: &str) -> String {
    let (first, rest) = clause.split_at(1);
    format!("{}{rest}.", first.to_ascii_uppercase())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_back_as_sentences() {
        let names = of(Kind::Secret, b" k3X", None, &[]);
        let meaning = meaning(&format!("{},<script>", names.join(",")));
        assert_eq!(meaning.len(), 2, "{meaning:?}");
        assert!(meaning[0].starts_with("The value begins") && meaning[0].ends_with('.'));
        assert!(of(Kind::Login, b" ", None, &[]).is_empty());
    }
}
