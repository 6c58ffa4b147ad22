//! Layers of settings: defaults, file, environment and flags. Each layer replaces values of the one before, and every
//! value keeps its origin. [`Layers::build`] turns them into a [`Config`].

use std::{collections::BTreeMap, fmt, path::Path};

use toml::{Table, Value};

use super::Config;

pub(super) const DEFAULTS: &str = include_str!("defaults.toml");
const ENV_PREFIX: &str = "OUNCE_";

/// The part of a default key that stands for a name, as in `tenants.*.api_keys`.
const ANY: &str = ".*.";

/// Origin of a value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// The default in `defaults.toml`.
    Default,
    /// The settings file with this path.
    File(String),
    /// The environment variable with this name.
    Env(String),
    /// The command-line flag with this name.
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
    /// The settings file cannot be read, or is not TOML.
    #[error("the config file {path} cannot be read: {reason}")]
    File {
        /// Path of the file.
        path: String,
        /// The reason.
        reason: String,
    },
    /// The key does not exist.
    #[error("{origin} sets `{key}`, which is no setting{}", suggest(.suggestion.as_ref()))]
    UnknownKey {
        /// The dotted key.
        key: String,
        /// Origin of the value.
        origin: Origin,
        /// The most similar key that exists.
        suggestion: Option<String>,
    },
    /// A value that its key cannot take.
    #[error("{origin} sets `{key}` to {value}: {reason}")]
    BadValue {
        /// The dotted key.
        key: String,
        /// Origin of the value.
        origin: Origin,
        /// The value.
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
    /// Starts with the defaults.
    ///
    /// # Errors
    /// `defaults.toml` is not TOML, which a test excludes.
    pub fn defaults() -> Result<Self, ConfigError> {
        let table = DEFAULTS
            .parse::<Table>()
            .map_err(|error| ConfigError::File { path: "defaults.toml".to_owned(), reason: error.to_string() })?;
        let values = leaves(table).into_iter().map(|(key, value)| (key, (value, Origin::Default))).collect();
        Ok(Self { values })
    }

    /// Adds the layer of a TOML file.
    ///
    /// # Errors
    /// The file cannot be read, or has a key that is not a setting.
    pub fn file(mut self, path: &Path) -> Result<Self, ConfigError> {
        let shown = path.display().to_string();
        let wrong = |reason: String| ConfigError::File { path: shown.clone(), reason };
        let text = std::fs::read_to_string(path).map_err(|error| wrong(error.to_string()))?;
        let table = text.parse::<Table>().map_err(|error| wrong(error.to_string()))?;
        // A tenant may have a name and no keys.
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

    /// Adds the layer of the `OUNCE_*` variables, and ignores all others.
    ///
    /// # Errors
    /// A variable names a key that is not a setting, or its value does not have the key's type.
    pub fn env(mut self, variables: impl IntoIterator<Item = (String, String)>) -> Result<Self, ConfigError> {
        for (name, text) in variables {
            // Kubernetes sets these variables in every pod where a Service is named `ounce`.
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

    /// Replaces the default of one key.
    ///
    /// # Errors
    /// These are the errors of [`Layers::env`].
    pub fn preset(mut self, key: &str, text: &str) -> Result<Self, ConfigError> {
        self.set_text(key, text, Origin::Default)?;
        Ok(self)
    }

    /// Adds the layer of one flag.
    ///
    /// # Errors
    /// These are the errors of [`Layers::env`].
    pub fn flag(mut self, flag: &str, key: &str, text: &str) -> Result<Self, ConfigError> {
        self.set_text(key, text, Origin::Flag(flag.to_owned()))?;
        Ok(self)
    }

    /// Reads the settings from all layers.
    ///
    /// # Errors
    /// A value is not valid for its key.
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
        self.make_named_section(key);
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

    /// Makes the keys of a named section, such as `tenants.acme.api_keys` from `tenants.*.api_keys`.
    fn make_named_section(&mut self, key: &str) {
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
        self.make_named_section(key);
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
    /// Writes the settings in force as TOML, with the origin of each value as a comment.
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

/// Whether a name may stand in a section, as in `[model.NAME]`.
#[must_use]
pub fn is_plain_name(name: &str) -> bool {
    !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '-' || c == '_')
}

/// A value for messages and logs, where secrets are hidden.
fn shown(key: &str, value: &Value) -> String {
    let empty = value.as_array().is_some_and(Vec::is_empty);
    if is_secret(key) && !empty { "[\"…\"]".to_owned() } else { value.to_string() }
}

fn is_secret(key: &str) -> bool {
    key.ends_with(".api_keys")
}

/// Flattens a table into dotted keys: `{a: {b: 1}}` becomes `[("a.b", 1)]`.
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

/// Inserts one dotted key into a table, which is the inverse of [`leaves`].
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
