//! Texts that look like the keys of a service and are none, for programs that check what a key looks
//! like.

use super::shape::{Alphabet, KeyShape};
use super::{Service, ServiceHost, all};
use crate::policy::grant::HostPattern;

/// What every text holds that has letters, so that it is known for one of Egret's; and what one of
/// hexadecimal digits holds.
const MARKS: [&str; 2] = ["EGRET", "e9e7e9e7"];

/// How many random bytes a text is made of at most.
pub const RANDOM: usize = 256;
/// The length of a text that nothing says more about, with the prefix.
const USUAL: usize = 40;
/// The longest text.
const LONGEST: usize = 250;

const ALNUM: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
const HEX: &[u8; 16] = b"0123456789abcdef";
const BASE32: &[u8; 32] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";

/// A form of keys.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A prefix, random characters, and six that are the CRC-32 of those in base 62: GitHub.
    Github(String),
    /// `AKIA` or `ASIA` and 16 characters of base 32.
    AwsKeyId(String),
    /// `xoxb-` or `xoxp-`, two numbers and 24 characters.
    Slack(String),
    /// `sk-ant-api03-`, 93 characters and `AA`.
    Anthropic,
    /// `sk-proj-` and 156 characters, with `T3BlbkFJ` in the middle.
    OpenAi,
    /// Three parts of base64url, the first two of which are JSON.
    Jwt,
    /// Hexadecimal digits in groups.
    Uuid,
    /// A prefix and characters of an alphabet, so long in all.
    Plain(String, Letters, usize),
}

/// The characters of a [`Kind::Plain`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Letters {
    /// A-Z a-z 0-9.
    Alnum,
    /// 0-9 a-f.
    Hex,
}

/// The form of keys that begin with `prefix`, or that is called so (`jwt`, `uuid`).
pub fn like(prefix: &str) -> Option<Kind> {
    match prefix {
        "jwt" | "eyJ" => return Some(Kind::Jwt),
        "uuid" => return Some(Kind::Uuid),
        "AKIA" | "ASIA" => return Some(Kind::AwsKeyId(prefix.to_owned())),
        "xoxb-" | "xoxp-" => return Some(Kind::Slack(prefix.to_owned())),
        "ghp_" | "gho_" | "ghu_" | "ghs_" | "ghr_" => {
            return Some(Kind::Github(prefix.to_owned()));
        }
        _ => {}
    }
    let shapes = all().iter().flat_map(|service| &service.keys);
    let marked = shapes.filter(|shape| shape.is_marked());
    let longest = marked
        .filter(|shape| prefix.starts_with(&shape.prefix))
        .max_by_key(|shape| shape.prefix.len())?;
    of_shape(longest, prefix)
}

/// The form of the keys of one of the services whose keys go to `host`, if they have any.
fn of_service(service: &Service) -> Option<Kind> {
    let shape = service.keys.iter().find(|shape| shape.is_marked());
    let shape = shape.or_else(|| service.keys.first())?;
    like(&shape.prefix).or_else(|| of_shape(shape, &shape.prefix))
}

/// The form of the keys of the service whose keys go to one of these hosts, or the usual one.
pub fn of_hosts(hosts: &[HostPattern]) -> Kind {
    let goes_there = |service: &&Service| {
        let mut own = service.hosts.iter().filter_map(ServiceHost::pattern);
        own.any(|host| hosts.contains(&host))
    };
    let service = all().iter().find(goes_there);
    service.and_then(of_service).unwrap_or_else(usual)
}

/// The form of keys about which nothing is known.
fn usual() -> Kind {
    Kind::Plain("egret_".to_owned(), Letters::Alnum, USUAL)
}

fn of_shape(shape: &KeyShape, prefix: &str) -> Option<Kind> {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
    if prefix.len() > 64 || !prefix.bytes().all(is_plain) {
        return None;
    }
    match (shape.prefix.as_str(), shape.chars) {
        ("sk-ant-", _) => return Some(Kind::Anthropic),
        ("sk-proj-", _) => return Some(Kind::OpenAi),
        (_, Alphabet::Uuid) if shape.prefix.is_empty() => return Some(Kind::Uuid),
        _ => {}
    }
    let letters = if shape.chars == Alphabet::Hex {
        Letters::Hex
    } else {
        Letters::Alnum
    };
    // Room for the mark, and for so much that no two are the same.
    let least = prefix.len() + MARKS[1].len() + 12;
    let length = shape.min.or(shape.max).unwrap_or(USUAL).max(least);
    Some(Kind::Plain(prefix.to_owned(), letters, length.min(LONGEST)))
}

impl Kind {
    /// Whether a text is one of this form.
    pub fn made(&self, text: &str) -> bool {
        let [mark, hex_mark] = MARKS;
        let beginning = match self {
            Self::Github(prefix) | Self::AwsKeyId(prefix) => format!("{prefix}{mark}"),
            Self::Slack(prefix) => prefix.clone(),
            Self::Anthropic => format!("sk-ant-api03-{mark}"),
            Self::OpenAi => format!("sk-proj-{mark}"),
            Self::Jwt => "eyJhbGci".to_owned(),
            Self::Uuid => format!("{hex_mark}-"),
            Self::Plain(prefix, Letters::Alnum, _) => format!("{prefix}{mark}"),
            Self::Plain(prefix, Letters::Hex, _) => format!("{prefix}{hex_mark}"),
        };
        text.starts_with(&beginning) && text.len() == self.make(&[0; RANDOM]).len()
    }

    /// A text of this form, made of random bytes.
    pub fn make(&self, random: &[u8; RANDOM]) -> String {
        let mut random = random.iter().copied();
        let mut of = |alphabet: &[u8], count: usize| -> String {
            let random = random.by_ref().take(count);
            random
                .map(|byte| char::from(alphabet[usize::from(byte) % alphabet.len()]))
                .collect()
        };
        let [mark, hex_mark] = MARKS;
        match self {
            Self::Github(prefix) => {
                let body = format!("{mark}{}", of(ALNUM, 30 - mark.len()));
                let sum = base62(crc32(body.as_bytes()));
                format!("{prefix}{body}{sum:0>6}")
            }
            Self::AwsKeyId(prefix) => format!("{prefix}{mark}{}", of(BASE32, 16 - mark.len())),
            Self::Slack(prefix) => {
                let (one, other) = (of(b"123456789", 12), of(b"123456789", 13));
                format!("{prefix}{one}-{other}-{mark}{}", of(ALNUM, 24 - mark.len()))
            }
            Self::Anthropic => format!("sk-ant-api03-{mark}{}AA", of(ALNUM, 93 - mark.len())),
            Self::OpenAi => {
                let (one, other) = (of(ALNUM, 74 - mark.len()), of(ALNUM, 74));
                format!("sk-proj-{mark}{one}T3BlbkFJ{other}")
            }
            Self::Jwt => {
                // {"alg":"HS256","typ":"JWT"} and {"iss":"egret"}
                let (head, claims) = (
                    "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9",
                    "eyJpc3MiOiJlZ3JldCJ9",
                );
                format!("{head}.{claims}.{mark}{}", of(ALNUM, 43 - mark.len()))
            }
            Self::Uuid => {
                let (one, two, three, four) = (of(HEX, 4), of(HEX, 3), of(HEX, 3), of(HEX, 12));
                format!("{hex_mark}-{one}-4{two}-8{three}-{four}")
            }
            Self::Plain(prefix, letters, length) => {
                let (mark, alphabet): (_, &[u8]) = match letters {
                    Letters::Alnum => (mark, ALNUM),
                    Letters::Hex => (hex_mark, HEX),
                };
                let rest = length.saturating_sub(prefix.len() + mark.len());
                format!("{prefix}{mark}{}", of(alphabet, rest))
            }
        }
    }
}

/// CRC-32 as in zlib.
fn crc32(bytes: &[u8]) -> u32 {
    let step = |sum: u32, _| (sum >> 1) ^ (0xedb8_8320 & (sum & 1).wrapping_neg());
    !bytes
        .iter()
        .fold(!0, |sum, byte| (0..8).fold(sum ^ u32::from(*byte), step))
}

fn base62(mut number: u32) -> String {
    let mut digits = Vec::new();
    while number > 0 {
        digits.push(ALNUM[(number % 62) as usize]);
        number /= 62;
    }
    digits
        .iter()
        .rev()
        .map(|digit| char::from(*digit))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::services::find;
    use crate::substitution::stand_in;

    fn random() -> [u8; RANDOM] {
        std::array::from_fn(|at| (at * 151 + 7) as u8)
    }

    #[test]
    fn the_marks_are_those_that_requests_are_searched_for() {
        assert_eq!(MARKS, stand_in::MARKS);
    }

    #[test]
    fn sums_are_those_of_others() {
        assert_eq!(crc32(b"123456789"), 0xcbf4_3926);
        assert_eq!(base62(61), "z");
        assert_eq!(base62(62 * 62), "100");
        let token = like("ghp_").unwrap().make(&random());
        assert_eq!(token.len(), 40);
        let (body, sum) = token["ghp_".len()..].split_at(30);
        assert_eq!(sum, format!("{:0>6}", base62(crc32(body.as_bytes()))));
    }

    #[test]
    fn each_has_the_shape_of_its_service_and_can_be_found() {
        let mut kinds: Vec<Kind> = all().iter().filter_map(of_service).collect();
        for name in ["jwt", "uuid", "AKIA", "xoxb-", "sk_live_", "ghs_", "gho_"] {
            kinds.push(like(name).unwrap_or_else(|| panic!("{name}")));
        }
        kinds.push(usual());
        for kind in kinds {
            let text = kind.make(&random());
            assert!(stand_in::is_well_formed(&text), "{kind:?} {text}");
            assert!(
                kind.made(&text) && !kind.made(&text[1..]),
                "{kind:?} {text}"
            );
        }
        for id in ["github", "anthropic", "openai", "npm", "stripe"] {
            let service = find(id).expect("in the catalogue");
            let text = of_service(service).expect("a form").make(&random());
            assert_eq!(service.misfit(text.as_bytes()), None, "{text}");
        }
        assert!(like("ghx").is_none() && like("nothing like that").is_none());
    }

    #[test]
    fn a_uuid_and_a_jwt_are_read_as_such() {
        let uuid = Kind::Uuid.make(&random());
        let groups: Vec<usize> = uuid.split('-').map(str::len).collect();
        assert_eq!(groups, [8, 4, 4, 4, 12]);
        let jwt = Kind::Jwt.make(&random());
        let parts: Vec<&str> = jwt.split('.').collect();
        assert_eq!(parts.len(), 3);
        use base64::Engine as _;
        for part in &parts[..2] {
            let json = base64::engine::general_purpose::URL_SAFE_NO_PAD
                .decode(part)
                .unwrap();
            assert!(json.starts_with(b"{\"") && json.ends_with(b"}"));
        }
    }
}
