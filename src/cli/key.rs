//! The subcommand `ounce key`: it makes keys for a server whose `auth.mode` is `keys`.

use std::{
    fs::OpenOptions,
    io::{Read, Seek, SeekFrom, Write},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
    process::ExitCode,
    time::{Duration, SystemTime},
};

use anyhow::Context;
use clap::{Args, Subcommand};

use crate::{
    auth::{ApiKey, KeyEntry, Scope},
    config::is_plain_name,
};

/// Make keys for a server that wants some (`auth.mode = "keys"`).
#[derive(Debug, Args)]
pub(super) struct Key {
    #[command(subcommand)]
    command: KeyCommand,
}

#[derive(Debug, Subcommand)]
enum KeyCommand {
    /// Make a new key, and show it once: the server's file holds only its hash
    New(NewKey),
}

/// Make a new key, and show it once: the server's file holds only its hash.
#[derive(Debug, Args)]
struct NewKey {
    /// Who pays for its requests
    #[arg(long, value_name = "NAME", value_parser = plain_name)]
    tenant: String,
    /// What it opens: infer, feedback, metrics, admin; several with commas
    #[arg(long, value_name = "LIST", value_delimiter = ',', required = true)]
    scopes: Vec<Scope>,
    /// How long it is good, as in 90d; without it, until it is taken back
    #[arg(long, value_name = "DURATION", value_parser = lifetime)]
    expires: Option<Duration>,
    /// What it is called in messages; without it, after the tenant and its hash
    #[arg(long, value_name = "NAME", value_parser = plain_name)]
    name: Option<String>,
    /// Add its line to this file, and print nothing but the key
    #[arg(long, value_name = "FILE")]
    file: Option<PathBuf>,
}

impl Key {
    pub(super) fn run(self) -> anyhow::Result<ExitCode> {
        match self.command {
            KeyCommand::New(new) => new.run(),
        }
    }
}

impl NewKey {
    fn run(self) -> anyhow::Result<ExitCode> {
        let key = ApiKey::generate().map_err(anyhow::Error::msg)?;
        let hash = key.hash();
        let name = self.name.unwrap_or_else(|| format!("{}-{}", self.tenant, &hash.to_string()[..8]));
        let expires = self.expires.map(|good| SystemTime::now() + good);
        let entry = KeyEntry { name, tenant: self.tenant, scopes: self.scopes.into_iter().collect(), hash, expires };
        match &self.file {
            Some(file) => {
                append(file, &entry.to_line()).with_context(|| format!("cannot add the key to {}", file.display()))?;
                println!("{}", key.reveal());
            }
            None => {
                println!("The key, which is shown only now:\n\n{}\n", key.reveal());
                println!("Its line for the server's file (auth.keys_file):\n\n{}", entry.to_line());
            }
        }
        Ok(ExitCode::SUCCESS)
    }
}

/// Adds a line to a file, which is made when it is not there, for its owner only.
fn append(path: &Path, line: &str) -> std::io::Result<()> {
    let mut file = OpenOptions::new().read(true).append(true).create(true).mode(0o600).open(path)?;
    let mut text = String::new();
    // An editor may have left the last line without an end.
    if file.metadata()?.len() > 0 {
        let mut last = [0];
        file.seek(SeekFrom::End(-1))?;
        file.read_exact(&mut last)?;
        if last != *b"\n" {
            text.push('\n');
        }
    }
    text.push_str(line);
    text.push('\n');
    // At once, so that a server that reads the file now sees the line or does not.
    file.write_all(text.as_bytes())
}

/// Reads how long a key is good.
fn lifetime(text: &str) -> Result<Duration, String> {
    const CENTURY: Duration = Duration::from_secs(100 * 366 * 86_400);
    let good = humantime::parse_duration(text).ok().filter(|good| (Duration::from_secs(1)..=CENTURY).contains(good));
    good.ok_or_else(|| "it is as in 12h, 90d or 1y, a century at most".to_owned())
}

fn plain_name(text: &str) -> Result<String, String> {
    if is_plain_name(text) { Ok(text.to_owned()) } else { Err("it is made of letters, digits, `-` and `_`".to_owned()) }
}
