//! Inherited variables that hold a stored value are kept from the child: a placeholder protects
//! nothing if the child has the value too.

use std::sync::Arc;

use super::inherited::Inherited;
use crate::secret::SecretBytes;

/// Shortest value that is searched for inside variables. Shorter ones occur by chance.
const SHORTEST_INSIDE: usize = 8;

/// Shortest value that a variable is compared with as a whole.
const SHORTEST_WHOLE: usize = 4;

/// The names of the variables that hold one of `values`, sorted. Their content is not returned: it
/// is printed nowhere.
pub(in crate::cli) fn withheld(inherited: &Inherited, values: &[Arc<SecretBytes>]) -> Vec<String> {
    inherited
        .iter()
        .filter(|(_, content)| {
            let content = content.as_encoded_bytes();
            values.iter().any(|value| holds(content, value.expose()))
        })
        .map(|(name, _)| name.clone())
        .collect()
}

fn holds(content: &[u8], value: &[u8]) -> bool {
    match value.len() {
        SHORTEST_INSIDE.. => memchr::memmem::find(content, value).is_some(),
        SHORTEST_WHOLE.. => content == value,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(values: &[&str]) -> Vec<String> {
        let inherited = [
            ("DATABASE_URL", "postgres://u:correct-horse@h/d"),
            ("PIN", "4711"),
            ("PORT", "47110"),
            ("PATH", "/bin"),
            ("TOKEN", "correct-horse"),
        ];
        let inherited: Inherited = inherited
            .iter()
            .map(|(name, value)| ((*name).to_owned(), value.into()))
            .collect();
        let values: Vec<Arc<SecretBytes>> = values
            .iter()
            .map(|value| Arc::new(SecretBytes::new(value.as_bytes().to_vec())))
            .collect();
        withheld(&inherited, &values)
    }

    #[test]
    fn a_value_is_found_inside_a_variable() {
        assert_eq!(names(&["correct-horse"]), ["DATABASE_URL", "TOKEN"]);
    }

    #[test]
    fn a_short_value_has_to_be_the_whole_variable() {
        assert_eq!(names(&["4711"]), ["PIN"]);
    }

    #[test]
    fn a_value_that_occurs_by_chance_withholds_nothing() {
        assert_eq!(names(&["a", "/bi", ""]), [] as [&str; 0]);
    }
}
