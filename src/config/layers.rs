//! Defaults, file, environment, flags: each laid over the one before, every value with its origin.

use std::{collections::BTreeMap, fmt, path::Path};

use toml::{Table, Value};

use super::Config;

pub(super) const DEFAULTS: &str = include_str!("defaults.toml");
const ENV_PREFIX: &str = "OUNCE_";

/// In a key, where the operator writes a name.
const ANY: &str = ".*.";

/// Where a value came from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// `defaults.toml`.
    Default,
    /// A file.
    File(String),
    /// A variable.
    Env(String),
    /// A flag of the command line.
    Flag(String),
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("default"),
            Self::File(path) => f.write_str(path),
            Self::Env(name) | Self::Flag(name) => f.write_str(name),
        }
    }
}

/// A setting that cannot be used, in one sentence.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ConfigError {
    /// The file is not there, or not TOML.
    #[error("the config file {path} cannot be read: {reason}")]
    File {
        /// The file.
        path: String,
        /// Why.
        reason: String,
    },
    /// No such key.
    #[error("{origin} sets `{key}`, which is no setting{}", suggest(.suggestion.as_ref()))]
    UnknownKey {
        /// The dotted key.
        key: String,
        /// Who set it.
        origin: Origin,
        /// The nearest key there is.
        suggestion: Option<String>,
    },
    /// A value that its key cannot take.
    #[error("{origin} sets `{key}` to {value}: {reason}")]
    BadValue {
        /// The dotted key.
        key: String,
        /// Who set it.
        origin: Origin,
        /// What it was set to.
        value: String,
        /// What is wrong with it.
        reason: String,
    },
}

fn suggest(suggestion: Option<&String>) -> String {
    suggestion.map_or_else(|| " (`ounce serve --print-config` lists them)".to_owned(), |key| format!(": `{key}`?"))
}

/// The merged settings before they are read, with the origin of each.
///
/// ```
/// use ounce::config::Layers;
///
/// let variables = [("OUNCE_COST__USD_PER_HOUR".to_owned(), "0.08".to_owned())];
/// let layers = Layers::defaults()?.env(variables)?.flag("--models", "models", "my-models")?;
/// let config = layers.build()?;
/// assert_eq!(config.cost.usd_per_hour.get(), 0.08);
/// assert_eq!(config.models.to_str(), Some("my-models"));
///
/// let misspelt = [("OUNCE_COST__USD_PER_HOURS".to_owned(), "0.08".to_owned())];
/// let error = Layers::defaults()?.env(misspelt).unwrap_err();
/// assert!(error.to_string().ends_with("which is no setting: `cost.usd_per_hour`?"));
/// # Ok::<(), ounce::config::ConfigError>(())
/// ```
#[derive(Debug, Clone)]
pub struct Layers {
    values: BTreeMap<String, (Value, Origin)>,
}

impl Layers {
    /// The defaults alone.
    ///
    /// # Errors
    /// When `defaults.toml` is not TOML; a test holds that it is.
    pub fn defaults() -> Result<Self, ConfigError> {
        let table = DEFAULTS
            .parse::<Table>()
            .map_err(|error| ConfigError::File { path: "defaults.toml".to_owned(), reason: error.to_string() })?;
        let values = leaves(table).into_iter().map(|(key, value)| (key, (value, Origin::Default))).collect();
        Ok(Self { values })
    }

    /// Lays a TOML file over what is there.
    ///
    /// # Errors
    /// When the file cannot be read, or holds a key that is no setting.
    pub fn file(mut self, path: &Path) -> Result<Self, ConfigError> {
        let shown = path.display().to_string();
        let wrong = |reason: String| ConfigError::File { path: shown.clone(), reason };
        let text = std::fs::read_to_string(path).map_err(|error| wrong(error.to_string()))?;
        let table = text.parse::<Table>().map_err(|error| wrong(error.to_string()))?;
        // A tenant may be known by its name alone.
        for section in ["tenants", "model"] {
            for name in table.get(section).and_then(Value::as_table).into_iter().flat_map(Table::keys) {
                self.make_section(section, name);
            }
        }
        for (key, value) in leaves(table) {
            self.set(&key, value, Origin::File(shown.clone()))?;
        }
        Ok(self)
    }

    /// Lays the `OUNCE_*` variables over what is there; other variables are passed over.
    ///
    /// # Errors
    /// When one names a key that is no setting, or a value that is not of the key's type.
    pub fn env(mut self, variables: impl IntoIterator<Item = (String, String)>) -> Result<Self, ConfigError> {
        for (name, text) in variables {
            // Kubernetes tells every pod about a Service named `ounce` in these.
            if name.starts_with("OUNCE_SERVICE_") || name == "OUNCE_PORT" || name.starts_with("OUNCE_PORT_") {
                continue;
            }
            if let Some(rest) = name.strip_prefix(ENV_PREFIX) {
                let key = rest.to_lowercase().replace("__", ".");
                self.set_text(&key, &text, Origin::Env(name))?;
            }
        }
        Ok(self)
    }

    /// Another default for one key.
    ///
    /// # Errors
    /// As [`Layers::env`].
    pub fn preset(mut self, key: &str, text: &str) -> Result<Self, ConfigError> {
        self.set_text(key, text, Origin::Default)?;
        Ok(self)
    }

    /// Lays one flag over what is there.
    ///
    /// # Errors
    /// As [`Layers::env`].
    pub fn flag(mut self, flag: &str, key: &str, text: &str) -> Result<Self, ConfigError> {
        self.set_text(key, text, Origin::Flag(flag.to_owned()))?;
        Ok(self)
    }

    /// Reads the settings.
    ///
    /// # Errors
    /// When a value is not one its key can take.
    pub fn build(&self) -> Result<Config, ConfigError> {
        let mut root = Table::new();
        for (key, (value, _)) in self.values.iter().filter(|(key, _)| !key.contains(ANY)) {
            insert(&mut root, key, value.clone());
        }
        let wrong = |key: String, reason: String| {
            let (value, origin) = self.values.get(&key).cloned().unwrap_or((Value::from(""), Origin::Default));
            ConfigError::BadValue { value: shown(&key, &value), key, origin, reason }
        };
        let config: Config = serde_path_to_error::deserialize(Value::Table(root)).map_err(|error| {
            let path = error.path().to_string();
            let key = path.split('[').next().unwrap_or(&path).trim_end_matches('.').to_owned();
            let reason = if is_secret(&key) {
                "a list of keys is wanted, as in [\"KEY\"]".to_owned()
            } else {
                error.into_inner().message().to_owned()
            };
            wrong(key, reason)
        })?;
        config.check().map_err(|(key, reason)| wrong(key, reason))?;
        Ok(config)
    }

    fn set_text(&mut self, key: &str, text: &str, origin: Origin) -> Result<(), ConfigError> {
        let text = text.trim();
        self.make_room(key);
        let wrong = |reason: &dyn fmt::Display| ConfigError::BadValue {
            key: key.to_owned(),
            origin: origin.clone(),
            value: format!("\"{text}\""),
            reason: reason.to_string(),
        };
        let value = match self.values.get(key).map(|(value, _)| value) {
            Some(Value::Integer(_)) => Value::Integer(text.parse().map_err(|e| wrong(&e))?),
            Some(Value::Float(_)) => Value::Float(text.parse().map_err(|e| wrong(&e))?),
            Some(Value::Boolean(_)) => Value::Boolean(text.parse().map_err(|e| wrong(&e))?),
            Some(Value::Array(_)) => Value::Array(text.split(',').map(|item| Value::from(item.trim())).collect()),
            Some(Value::String(_) | Value::Datetime(_) | Value::Table(_)) | None => Value::from(text),
        };
        self.set(key, value, origin)
    }

    /// `tenants.acme.api_keys` is a setting, since `tenants.*.api_keys` is one.
    fn make_room(&mut self, key: &str) {
        if let [section, name, _] = key.split('.').collect::<Vec<_>>()[..] {
            self.make_section(section, name);
        }
    }

    fn make_section(&mut self, section: &str, name: &str) {
        if !is_plain_name(name) {
            return;
        }
        let start = format!("{section}{ANY}");
        let fields = self.values.iter().filter_map(|(key, value)| Some((key.strip_prefix(&start)?, value)));
        let made: Vec<_> = fields.map(|(field, value)| (format!("{section}.{name}.{field}"), value.clone())).collect();
        for (key, value) in made {
            self.values.entry(key).or_insert(value);
        }
    }

    fn set(&mut self, key: &str, mut value: Value, origin: Origin) -> Result<(), ConfigError> {
        self.make_room(key);
        match self.values.get_mut(key).filter(|_| !key.contains(ANY)) {
            Some(slot) => {
                if let (Value::Float(_), Value::Integer(whole)) = (&slot.0, &value) {
                    value = whole.to_string().parse().map_or(value, Value::Float);
                }
                *slot = (value, origin);
                Ok(())
            }
            None => Err(ConfigError::UnknownKey { key: key.to_owned(), origin, suggestion: self.nearest(key) }),
        }
    }

    fn nearest(&self, key: &str) -> Option<String> {
        self.values
            .keys()
            .map(|known| (strsim::jaro_winkler(known, key), known))
            .filter(|(similarity, _)| *similarity > 0.8)
            .max_by(|a, b| a.0.total_cmp(&b.0))
            .map(|(_, known)| known.clone())
    }
}

impl fmt::Display for Layers {
    /// What is in force, as TOML, and where it came from, as comments.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (top, nested): (Vec<_>, Vec<_>) = self.values.iter().partition(|(key, _)| !key.contains('.'));
        let mut section = "";
        for (key, (value, origin)) in top.into_iter().chain(nested) {
            let (table, name) = key.rsplit_once('.').unwrap_or(("", key));
            if table != section {
                writeln!(f, "\n[{}]", table.replace('*', "\"*\""))?;
                section = table;
            }
            let line = format!("{name} = {}", shown(key, value));
            writeln!(f, "{line:<40} # {origin}")?;
        }
        Ok(())
    }
}

/// Can a section be called that, as in `[model.NAME]`?
#[must_use]
pub fn is_plain_name(name: &str) -> bool {
    !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '-' || c == '_')
}

/// A value, unless it is nobody's business who reads a log.
fn shown(key: &str, value: &Value) -> String {
    let empty = value.as_array().is_some_and(Vec::is_empty);
    if is_secret(key) && !empty { "[\"…\"]".to_owned() } else { value.to_string() }
}

fn is_secret(key: &str) -> bool {
    key.ends_with(".api_keys")
}

/// `{a: {b: 1}}` → `[("a.b", 1)]`.
fn leaves(table: Table) -> Vec<(String, Value)> {
    let mut all = Vec::new();
    for (key, value) in table {
        match value {
            Value::Table(inner) => all.extend(leaves(inner).into_iter().map(|(rest, v)| (format!("{key}.{rest}"), v))),
            Value::String(_)
            | Value::Integer(_)
            | Value::Float(_)
            | Value::Boolean(_)
            | Value::Datetime(_)
            | Value::Array(_) => all.push((key, value)),
        }
    }
    all
}

/// The inverse of [`leaves`], a leaf at a time.
fn insert(table: &mut Table, key: &str, value: Value) {
    match key.split_once('.') {
        None => {
            table.insert(key.to_owned(), value);
        }
        Some((head, rest)) => {
            let inner = table.entry(head.to_owned()).or_insert_with(|| Value::Table(Table::new()));
            if let Value::Table(inner) = inner {
                insert(inner, rest, value);
            }
        }
    }
}

#[cfg(test)]
mod tests;
