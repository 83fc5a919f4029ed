//! Values that the scrubber would find where they are not secret.

use std::fmt;

use crate::secret::SecretBytes;

/// Why a value is a bad secret for text to be searched for.
///
/// The search finds it wherever it occurs, so ordinary pages would be rewritten, and each such
/// place is a hit in the ledger.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Weakness {
    /// It is the same few characters again and again, like rulers, padding and zeros.
    RepeatsItself,
    /// It is a word that ordinary text, markup or JSON contains.
    CommonWord,
}

impl fmt::Display for Weakness {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::RepeatsItself => "it repeats the same few characters",
            Self::CommonWord => "it is a common word",
        })
    }
}

/// Whether `value` is likely to occur where it is not secret, and why. `None` is no proof of the
/// contrary.
pub fn weak_value(value: &[u8]) -> Option<Weakness> {
    if repeats_itself(value) {
        Some(Weakness::RepeatsItself)
    } else if is_common_word(value) {
        Some(Weakness::CommonWord)
    } else {
        None
    }
}

/// Whether a secret is searched for only where a request has sent it, as a short one is: ordinary
/// pages would be rewritten, and ordinary requests refused.
pub fn is_weak(secret: &SecretBytes) -> bool {
    weak_value(secret.expose()).is_some()
}

/// Whether a piece of at most half the value, repeated, makes all of it, or it has no more than two
/// different characters.
fn repeats_itself(value: &[u8]) -> bool {
    let mut seen = [false; 256];
    for &byte in value {
        seen[usize::from(byte)] = true;
    }
    let different = seen.iter().filter(|seen| **seen).count();
    value.len() > 2 && (different <= 2 || 2 * period(value) <= value.len())
}

/// The length of the shortest piece that, repeated and cut, makes all of `text`.
fn period(text: &[u8]) -> usize {
    // For each prefix, the length of its longest proper prefix that is also a suffix (Knuth, Morris
    // and Pratt).
    let mut borders = vec![0; text.len()];
    for end in 1..text.len() {
        let mut border = borders[end - 1];
        while border > 0 && text[border] != text[end] {
            border = borders[border - 1];
        }
        borders[end] = border + usize::from(text[border] == text[end]);
    }
    text.len() - borders.last().copied().unwrap_or(0)
}

fn is_common_word(value: &[u8]) -> bool {
    let word = value.trim_ascii().to_ascii_lowercase();
    COMMON_WORDS
        .split_ascii_whitespace()
        .any(|common| common.as_bytes() == word)
}

/// Words of protocols, markup, programs and everyday text, and what people enter to try a program.
const COMMON_WORDS: &str = "
    a about abstract accept access accessed account accounts action actions active activity actual
    add added address admin administration administrator after again alert algorithm all allow allowed
    alternative amount analysis and another answer anonymous any apache api api-key api_key apikey application applications
    approved archive array article assets assistant async attribute audience audio auth authenticate
    authentication author authority authorization authorized auto automatic available average await
    background balance base basic bearer before between binary blank blue body boolean border bottom
    branch browser bucket buffer build business button bytes cache calendar cancel canceled category
    certificate change changed changeme changes channel character charset check child children choose
    city class classes clear click client clients close cloud cluster code collection color column
    command comment comments commit common community company complete completed component config
    configuration confirm connect connected connection console const contact container content contents
    context continue control cookie cookies copy copyright count country create created creation
    credential credentials currency current custom customer customers daily dashboard data database
    date datetime debug december default delete deleted delivery demo department deploy deployment
    description design desktop destination detail details development device devices different digest
    digital direct directory disabled discount display distance document documentation documents
    domain done dont double download draft dummy duration edit edition editor education email employee
    empty enable enabled encoding encrypted encryption end endpoint engine english enter enterprise
    entity entries entry environment error errors event events everyone everything example examples
    exception exchange execute exists expired expires explorer export expression extension external
    false family favorite feature features february feedback field fields file filename files filter
    final finance finished first flag flags folder follow following font footer for format found
    foundation free friday from full function functions future gateway general generate generated
    generator get github global google government graph green group groups guest handler hash head
    header headers health height hello help helloworld hidden high history home host hostname hosting
    hour hours html http https icon id identifier identity image images import important include
    included index individual industry info information initial inline inner input insert instance
    instead integer integration interface internal international internet invalid invoice issue issues
    item items january javascript job join json key keys keyword keywords label language languages
    large last latest launch layout learning left legal length letmein level library license light
    limit limited line link links list live load loading local localhost location locations lock log
    login logo logout london long main maintenance manage management manager manifest map march
    margin market marketing master match maximum me media medium member members memory menu message
    messages meta metadata method methods metric metrics middle minimum minute minutes mobile mode
    model models modified module monday monitor month monthly more most multiple music name names
    native navigation network never new news next no node none normal not note notes nothing notice
    notification notifications november null number object objects october offset ok old online only
    open operation operator option optional options order orders organization origin original other
    output overview owner package packages padding page pages paragraph parameter parameters parent
    partner pass passed passphrase passwd password passwords passwort path pattern payload payment payments
    pending people percent performance permission permissions person personal phone photo picture
    pipeline placeholder platform please plugin point policy popular port portfolio position post
    posts power premium press preview previous price primary print priority privacy private problem
    process processing product production products profile profiles program progress project projects
    properties property protected protocol provider proxy public publish published publisher purchase
    purpose qwerty qwertyuiop quality quantity query question questions queue quick random range rate
    read reader ready reason recent record records recovery red redirect reference references refresh
    region register registered registration related relative release releases remote remove removed
    repeat replace reply report reports repository request requests require required reset resource
    resources response restricted result results return review reviews right role root route rule rules
    running safari sample saturday save schedule scheme school science scope score script search second
    seconds secret secrets section secure security select selected self sender september sequence
    series server servers service services session sessions set setting settings setup shared shipping
    short shortcut should show sign signature signed simple single site size small social software
    solution solutions some something source space special standard start started state statement
    static statistics status step still stop storage store stream street string strong structure style
    stylesheet subject submit subscribe subscription success successful successfully summary sunday
    super support supported switch symbol system systems table tables target task tasks team technical
    technology template templates temporary tenant terms test tested testing tests text textarea thank
    the theme thing this through thursday ticket tickets time timeout timestamp title to today todo toggle
    token tokens tomorrow tool tools top topic total trace traffic transaction transactions transfer
    transform transport trigger true trust tuesday type types undefined unique united universal
    university unknown unlimited update updated updates upgrade upload url user username users valid
    validation value values variable vendor verification verified verify version versions video videos
    view viewport views virtual visible visitor volume warning website websites wednesday week weekly
    welcome white width window windows without wordpress work workflow working workspace world write
    wrong year yearly yellow yes yesterday zone
    12345 123456 1234567 12345678 123456789 1234567890 abc123 abcdef abcdefgh admin123 iloveyou
    monkey password1 password123 passw0rd qwerty123 secret123 test1234 testing123 welcome1
";

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_repeats_itself_is_weak() {
        for value in [
            &b"aaaaaaaa"[..],
            b"abababab",
            b"abcabcab",
            b"--------",
            b"0000000000000001",
            b"00000000-0000-0000-0000-000000000000",
            b"\0\0\0\0\0\0\0\0",
            b"passpass",
        ] {
            let weakness = weak_value(value);
            assert_eq!(weakness, Some(Weakness::RepeatsItself), "{value:?}");
        }
    }

    #[test]
    fn common_words_are_weak_in_any_case() {
        for value in [
            "password",
            "Password",
            "APPLICATION",
            "true",
            "changeme\n",
            "12345678",
        ] {
            let weakness = weak_value(value.as_bytes());
            assert_eq!(weakness, Some(Weakness::CommonWord), "{value:?}");
        }
    }

    #[test]
    fn secrets_are_not_weak() {
        for value in [
            "ghp_Zk3vQ9xT7mB2wLr8NcYd5HsJ6pFa1eUg40iX",
            "correct horse battery staple",
            "f47ac10b-58cc-4372-a567-0e02b2c3d479",
            "p@ss/w+rd=&%#",
            "hunter2hunter3",
            "",
            "x7",
        ] {
            assert_eq!(weak_value(value.as_bytes()), None, "{value:?}");
        }
    }

    proptest! {
        /// Against the definition: the shortest piece with which the whole agrees when shifted.
        #[test]
        fn the_period_is_the_least_shift_that_agrees(text in "[ab]{1,24}") {
            let text = text.as_bytes();
            let shift = (1..=text.len()).find(|&shift| text[shift..] == text[..text.len() - shift]);
            prop_assert_eq!(Some(period(text)), shift);
        }
    }
}
