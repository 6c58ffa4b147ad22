//! The file of keys: a line a key, each a JSON object. Empty lines and lines that begin with `#` are left out.
//!
//! ```json
//! {"name":"acme-1f09","tenant":"acme","scopes":["infer"],"sha256":"1f09…","expires":"2027-02-26T00:00:00Z"}
//! ```
//!
//! Sentences about the file never repeat what stands in it: somebody may have put a key there.

use std::{path::Path, time::SystemTime};

use serde_json::{Map, Value, json};

use super::{KeyHash, Scopes};
use crate::{config::is_plain_name, files};

/// The largest file that is read: room for some 50,000 keys.
const MAX_BYTES: u64 = 16 << 20;

/// The fields of a line.
const FIELDS: [&str; 5] = ["name", "tenant", "scopes", "sha256", "expires"];

/// A line of the file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyEntry {
    /// What the key is called in messages.
    pub name: String,
    /// The tenant who pays.
    pub tenant: String,
    /// What it opens.
    pub scopes: Scopes,
    /// The hash of the key.
    pub hash: KeyHash,
    /// When it expires, if ever.
    pub expires: Option<SystemTime>,
}

impl KeyEntry {
    /// The line for the file, without its end.
    #[must_use]
    pub fn to_line(&self) -> String {
        let mut line = json!({
            "name": self.name,
            "tenant": self.tenant,
            "scopes": self.scopes.iter().map(|scope| scope.name()).collect::<Vec<_>>(),
            "sha256": self.hash.to_string(),
        });
        if let Some(expires) = self.expires {
            line["expires"] = humantime::format_rfc3339_seconds(expires).to_string().into();
        }
        line.to_string()
    }

    fn parse(line: &str) -> Result<Self, String> {
        let fields: Map<String, Value> = serde_json::from_str(line)
            .map_err(|_| "it is no JSON object; `ounce key new` prints such a line".to_owned())?;
        if fields.keys().any(|field| !FIELDS.contains(&field.as_str())) {
            return Err(format!("it has a field that is none of {}", FIELDS.join(", ")));
        }
        let text = |field: &str| {
            let text = fields.get(field).and_then(Value::as_str).filter(|text| !text.is_empty());
            text.ok_or_else(|| format!("`{field}` is wanted, a text that is not empty"))
        };
        let (name, tenant) = (text("name")?, text("tenant")?);
        if ![name, tenant].into_iter().all(is_plain_name) {
            return Err("`name` and `tenant` are made of letters, digits, `-` and `_`".to_owned());
        }
        let scopes = fields.get("scopes").and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
        let scopes: Option<Scopes> = scopes.iter().map(|scope| scope.as_str()?.parse().ok()).collect();
        let no_scopes = || format!("`scopes` is wanted, a list of some of {}", Scopes::ALL);
        let scopes = scopes.filter(|scopes| !scopes.is_empty()).ok_or_else(no_scopes)?;
        let hash = text("sha256")?.parse().map_err(|why| format!("`sha256` cannot be used: {why}"))?;
        let expires = match fields.get("expires") {
            None => None,
            Some(_) => Some(
                humantime::parse_rfc3339(text("expires")?)
                    .map_err(|_| "`expires` is a time in UTC, as in \"2027-02-26T00:00:00Z\"".to_owned())?,
            ),
        };
        Ok(Self { name: name.to_owned(), tenant: tenant.to_owned(), scopes, hash, expires })
    }
}

/// Reads the keys of a file. Blocks.
///
/// # Errors
/// One sentence that says what cannot be used, in which line.
pub fn read(path: &Path) -> Result<Vec<KeyEntry>, String> {
    let text = files::read_text(path, MAX_BYTES).map_err(|error| error.to_string())?;
    parse(&text)
}

pub(super) fn parse(text: &str) -> Result<Vec<KeyEntry>, String> {
    let lines = text.trim_start_matches('\u{feff}').lines().map(str::trim).enumerate();
    let entries = lines.filter(|(_, line)| !line.is_empty() && !line.starts_with('#'));
    let entry = |(place, line)| KeyEntry::parse(line).map_err(|why| format!("line {}: {why}", place + 1));
    entries.map(entry).collect()
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, UNIX_EPOCH};

    use super::{super::Scope, *};

    fn entry() -> KeyEntry {
        KeyEntry {
            name: "acme-1".to_owned(),
            tenant: "acme".to_owned(),
            scopes: [Scope::Infer, Scope::Metrics].into_iter().collect(),
            hash: KeyHash::of("k"),
            expires: Some(UNIX_EPOCH + Duration::from_secs(1_800_000_000)),
        }
    }

    #[test]
    fn a_line_is_read_as_it_was_written_however_lines_end() {
        let line = entry().to_line();
        assert!(line.contains(r#""expires":"2027-01-15T08:00:00Z""#) && !line.contains('\n'), "{line}");
        let forever = KeyEntry { expires: None, ..entry() };
        for end in ["\n", "\r\n"] {
            let text = format!("\u{feff}# keys{end}{end}{line}{end}  {} {end}", forever.to_line());
            assert_eq!(parse(&text), Ok(vec![entry(), forever.clone()]), "{text:?}");
        }
        assert_eq!(parse(""), Ok(vec![]));
    }

    #[test]
    fn what_cannot_be_used_is_told_with_its_line_and_without_its_text() {
        let good = entry().to_line();
        let hash = KeyHash::of("k").to_string();
        let table = [
            ("ounce_a-key-by-mistake".to_owned(), "line 2: it is no JSON object; `ounce key new` prints such a line"),
            (
                good.replace("expires", "until"),
                "line 2: it has a field that is none of name, tenant, scopes, sha256, expires",
            ),
            (good.replace(r#""acme""#, "7"), "line 2: `tenant` is wanted, a text that is not empty"),
            (
                good.replace(r#""acme""#, r#""a b""#),
                "line 2: `name` and `tenant` are made of letters, digits, `-` and `_`",
            ),
            (
                good.replace("infer", "root"),
                "line 2: `scopes` is wanted, a list of some of infer, feedback, metrics, admin",
            ),
            (
                good.replace(r#"["infer","metrics"]"#, "[]"),
                "line 2: `scopes` is wanted, a list of some of infer, feedback, metrics, admin",
            ),
            (
                good.replace(&hash, "ounce_a-key-by-mistake"),
                "line 2: `sha256` cannot be used: it has 64 hexadecimal digits, as `sha256sum` writes them",
            ),
            (
                good.replace("2027-01-15T08:00:00Z", "soon"),
                "line 2: `expires` is a time in UTC, as in \"2027-02-26T00:00:00Z\"",
            ),
        ];
        for (line, sentence) in table {
            assert_eq!(parse(&format!("{good}\n{line}\n")), Err(sentence.to_owned()), "{line}");
        }
    }

    #[test]
    fn only_a_regular_file_is_read() {
        assert_eq!(read(Path::new("/dev/zero")), Err("it is no regular file".to_owned()));
        assert_eq!(read(Path::new("/")), Err("it is no regular file".to_owned()));
        assert!(read(Path::new("/nowhere")).is_err_and(|why| why.contains("No such file")));
    }
}
