//! Defaults, file, environment, flags: each laid over the one before, every value with its origin.

use std::{collections::BTreeMap, fmt, path::Path};

use toml::{Table, Value};

use super::Config;

const DEFAULTS: &str = include_str!("defaults.toml");
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
        let sane = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
        if name.is_empty() || !name.chars().all(sane) {
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
mod tests {
    use super::*;

    fn env(pairs: &[(&str, &str)]) -> Result<Layers, ConfigError> {
        Layers::defaults()?.env(pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())))
    }

    fn sentence<T: fmt::Debug>(result: Result<T, ConfigError>) -> String {
        result.expect_err("refused").to_string()
    }

    #[test]
    fn the_defaults_are_valid_and_agree_with_the_code() {
        let config = Config::defaults().expect("defaults.toml");
        assert_eq!(config.listen.to_string(), "127.0.0.1:8080");
        assert_eq!(config.pictures, crate::config::PictureLimits::default());
        assert_eq!(config.admin_listen, None);
    }

    #[test]
    fn a_flag_beats_a_variable_which_beats_a_file() {
        let folder = tempfile::tempdir().expect("tempdir");
        let path = folder.path().join("ounce.toml");
        std::fs::write(&path, "models = 'file'\n[cost]\nusd_per_hour = 1\n[log]\nfilter = 'warn'\n").expect("write");
        let layers = Layers::defaults()
            .and_then(|l| l.file(&path))
            .and_then(|l| l.env([("OUNCE_MODELS".to_owned(), "env".to_owned()), ("HOME".to_owned(), "x".to_owned())]))
            .and_then(|l| l.flag("--models", "models", "flag"))
            .expect("valid");
        let config = layers.build().expect("valid");
        assert_eq!(config.models.to_str(), Some("flag"));
        assert!((config.cost.usd_per_hour.get() - 1.0).abs() < f64::EPSILON, "an integer is a price too");
        assert_eq!(config.log.filter, "warn");
        assert!(layers.to_string().contains("# --models"), "{layers}");
    }

    #[test]
    fn every_type_can_be_set_from_the_environment() {
        let config = env(&[
            ("OUNCE_COST__USD_PER_HOUR", "3"),
            ("OUNCE_PICTURES__MAX_BYTES", "1000"),
            ("OUNCE_THREADS__DECODE", "2"),
            ("OUNCE_RUNTIME__PROVIDERS", "cuda, cpu"),
            ("OUNCE_ADMIN_LISTEN", "127.0.0.1:9090"),
            ("OUNCE_TELEMETRY__OTLP_ENDPOINT", "http://collector:4318/"),
        ])
        .and_then(|layers| layers.build())
        .expect("valid");
        assert_eq!(config.pictures.max_bytes, 1000);
        assert_eq!(config.threads.decode.or(7), 2);
        assert_eq!(config.runtime.providers(), [super::super::Provider::Cuda, super::super::Provider::Cpu]);
        assert_eq!(config.admin_listen.map(|a| a.port()), Some(9090));
        let traces = config.telemetry.otlp_endpoint.map(|endpoint| endpoint.traces());
        assert_eq!(traces.as_deref(), Some("http://collector:4318/v1/traces"));
    }

    #[test]
    fn a_misspelt_key_is_answered_with_the_right_one() {
        insta::assert_snapshot!(
            sentence(env(&[("OUNCE_COST__USD_PER_HOURS", "1")])),
            @"OUNCE_COST__USD_PER_HOURS sets `cost.usd_per_hours`, which is no setting: `cost.usd_per_hour`?"
        );
        insta::assert_snapshot!(
            sentence(env(&[("OUNCE_BANANA", "1")])),
            @"OUNCE_BANANA sets `banana`, which is no setting (`ounce serve --print-config` lists them)"
        );
    }

    #[test]
    fn tenants_are_named_by_the_operator_and_their_keys_are_not_shown() {
        let keys = |bob: &str| {
            env(&[("OUNCE_TENANTS__ACME__API_KEYS", "k-1"), ("OUNCE_TENANTS__BOB__API_KEYS", bob)]).expect("valid")
        };
        assert!(!keys("k-2").to_string().contains("k-2") && !format!("{:?}", keys("k-2").build()).contains("k-2"));
        insta::assert_snapshot!(
            sentence(keys("k-2,k-1").build()),
            @r#"OUNCE_TENANTS__BOB__API_KEYS sets `tenants.bob.api_keys` to ["…"]: one of them is a key of `acme`, too; a request cannot be both tenants'"#
        );
        insta::assert_snapshot!(
            sentence(env(&[("OUNCE_TENANTS__ACME__APIKEYS", "1")])),
            @"OUNCE_TENANTS__ACME__APIKEYS sets `tenants.acme.apikeys`, which is no setting: `tenants.acme.api_keys`?"
        );
        let folder = tempfile::tempdir().expect("tempdir");
        let path = folder.path().join("ounce.toml");
        std::fs::write(&path, "[tenants.by-header]\n[model.\"*\"]\nmax_batch = 2\n").expect("write");
        let refused = sentence(Layers::defaults().and_then(|layers| layers.file(&path)));
        assert!(refused.contains("`model.*.max_batch`, which is no setting"), "{refused}");
        std::fs::write(&path, "[tenants.by-header]\n").expect("write");
        let config = Layers::defaults().and_then(|layers| layers.file(&path)).and_then(|layers| layers.build());
        assert!(config.expect("valid").tenants.contains_key("by-header"));
    }

    #[test]
    fn a_bad_value_is_named_with_its_origin() {
        insta::assert_snapshot!(
            sentence(env(&[("OUNCE_LISTEN", "here")]).and_then(|l| l.build())),
            @r#"OUNCE_LISTEN sets `listen` to "here": invalid socket address syntax"#
        );
        insta::assert_snapshot!(
            sentence(env(&[("OUNCE_THREADS__DECODE", "0")]).and_then(|l| l.build())),
            @r#"OUNCE_THREADS__DECODE sets `threads.decode` to "0": "0" is neither a number from 1 up nor "auto""#
        );
        insta::assert_snapshot!(
            sentence(env(&[("OUNCE_COST__USD_PER_HOUR", "-1")]).and_then(|l| l.build())),
            @"OUNCE_COST__USD_PER_HOUR sets `cost.usd_per_hour` to -1.0: -1 is not from 0 up"
        );
        insta::assert_snapshot!(
            sentence(env(&[("OUNCE_RUNTIME__PROVIDERS", "cdua")]).and_then(|l| l.build())),
            @r#"OUNCE_RUNTIME__PROVIDERS sets `runtime.providers` to ["cdua"]: unknown variant `cdua`, expected one of `auto`, `tensorrt`, `cuda`, `openvino`, `cpu`"#
        );
        for endpoint in ["https://collector:4318", "collector:4318", "http://", "http://a b"] {
            let refused = sentence(env(&[("OUNCE_TELEMETRY__OTLP_ENDPOINT", endpoint)]).and_then(|l| l.build()));
            assert!(
                refused.ends_with("as in \"http://collector:4318\"; TLS is left to one beside the server"),
                "{refused}"
            );
        }
    }
}
