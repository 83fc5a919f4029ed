//! CSV exports of 1Password, Bitwarden and browsers: the columns are known by their titles.

use csv::{ReaderBuilder, StringRecord};
use serde::Serialize;

use super::error::{ImportError, at};
use super::row::{LONGEST_VALUE, MOST_ROWS, Row};
use crate::policy::grant::HostPattern;
use crate::secret::SecretBytes;
use crate::vault::Kind;

const NAMES: &[&str] = &["name", "title"];
const ADDRESSES: &[&str] = &["login_uri", "url", "urls", "website", "hostname"];
const USERS: &[&str] = &["login_username", "username", "user name"];
const PASSWORDS: &[&str] = &["login_password", "password", "credential"];

/// Where the columns are.
struct Columns {
    name: Option<usize>,
    address: Option<usize>,
    user: Option<usize>,
    password: usize,
}

impl Columns {
    fn of(titles: &StringRecord) -> Option<Self> {
        let find = |known: &[&str]| {
            let is_known =
                |title: &str| known.contains(&title.trim().to_ascii_lowercase().as_str());
            titles.iter().position(is_known)
        };
        Some(Self {
            name: find(NAMES),
            address: find(ADDRESSES),
            user: find(USERS),
            password: find(PASSWORDS)?,
        })
    }
}

/// Reads the rows; entries without a password, such as notes, are left out.
pub(super) fn read(content: &str) -> Result<Vec<Row>, ImportError> {
    let mut reader = ReaderBuilder::new().from_reader(content.as_bytes());
    let titles = reader.headers().map_err(|_| at(1, "this is not CSV"))?;
    let columns = Columns::of(titles).ok_or(ImportError::Columns)?;
    let mut rows = Vec::new();
    let mut record = StringRecord::new();
    loop {
        let line = usize::try_from(reader.position().line()).unwrap_or(usize::MAX);
        // The library's own words may quote the line.
        let more = reader.read_record(&mut record);
        if !more.map_err(|_| at(line, "it has another number of columns than the first line"))? {
            return Ok(rows);
        }
        if rows.len() > MOST_ROWS {
            return Err(ImportError::TooMany);
        }
        rows.extend(row(line, &columns, &record)?);
    }
}

#[derive(Serialize)]
struct Login<'a> {
    username: &'a str,
    password: &'a str,
}

fn row(line: usize, columns: &Columns, record: &StringRecord) -> Result<Option<Row>, ImportError> {
    let text = |column: Option<usize>| {
        column
            .and_then(|column| record.get(column))
            .unwrap_or_default()
    };
    let (user, password) = (text(columns.user), text(Some(columns.password)));
    if password.is_empty() {
        return Ok(None);
    }
    if password.len() > LONGEST_VALUE {
        return Err(at(line, "the value is longer than 64 KiB"));
    }
    let login = Login {
        username: user,
        password,
    };
    let (kind, value) = if user.is_empty() {
        (Kind::Secret, password.as_bytes().to_vec())
    } else {
        let value =
            serde_json::to_vec(&login).map_err(|_| at(line, "it cannot be written as JSON"))?;
        (Kind::Login, value)
    };
    Ok(Some(Row {
        line,
        name: text(columns.name).to_owned(),
        kind,
        value: SecretBytes::new(value),
        hosts: text(columns.address)
            .split([',', ' '])
            .filter_map(host)
            .collect(),
        locations: Vec::new(),
    }))
}

/// The host of an address. One that is not HTTPS, or is none, is left out: it has to be given.
fn host(address: &str) -> Option<HostPattern> {
    let rest = address.strip_prefix("https://").unwrap_or(address);
    if rest.contains("://") || rest.is_empty() {
        return None;
    }
    let authority = rest.split(['/', '?', '#']).next()?;
    authority.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bitwarden_and_1password_are_read() {
        let bitwarden = "folder,favorite,type,name,notes,fields,reprompt,login_uri,login_username,login_password,login_totp\n\
            ,,login,CRM,,,0,https://crm.example.com/login,bob,\"p,\"\"w\",\n\
            ,,note,Note,text,,0,,,,\n\
            ,,login,Key,,,0,https://api.example.com,,tok-1,\n";
        let rows = read(bitwarden).expect("a file that can be read");
        assert_eq!(rows.len(), 2);
        assert_eq!(rows[0].kind, Kind::Login);
        assert_eq!(
            rows[0].value.expose(),
            br#"{"username":"bob","password":"p,\"w"}"#
        );
        assert_eq!(rows[0].hosts[0].to_string(), "crm.example.com");
        assert_eq!(
            (rows[1].kind, rows[1].value.expose()),
            (Kind::Secret, &b"tok-1"[..])
        );
        let one =
            "Title,Url,Username,Password,OTPAuth,Favorite,Archived,Tags,Notes\nA,a.test,,v,,,,,\n";
        let rows = read(one).expect("a file that can be read");
        assert_eq!((rows[0].name.as_str(), rows[0].hosts.len()), ("A", 1));
    }

    #[test]
    fn no_error_quotes_the_file() {
        let error = read("name,password\nhunter2\n").expect_err("too few columns");
        assert!(!error.to_string().contains("hunter2"), "{error}");
        assert_eq!(
            read("hunter2,other\nx,y\n").expect_err("no column"),
            ImportError::Columns
        );
    }
}
