//! Renders `docs/configuration.md` from `defaults.toml`. A test fails while the page differs.
//!
//! `make docs` (or `UPDATE_DOCS=1 cargo test --lib config::page`) writes the page.

use std::{fmt::Write as _, path::Path};

use super::layers::DEFAULTS;

/// Text above the tables.
const INTRODUCTION: &str = "\
# Settings

<!-- `make docs` writes this page from src/config/defaults.toml; change that file, not this one. -->

Every setting has a default, so `ounce serve` runs without any. Four places can set one; a later place wins:

1. the default, in the tables below;
2. a TOML file, named by `--config FILE` or `OUNCE_CONFIG`, with the sections below: `[cost]`, then `usd_per_hour = 0.08`;
3. a variable: `OUNCE_`, the section, two underscores, the key, all in capitals: `OUNCE_COST__USD_PER_HOUR=0.08`. Lists are
   written with commas: `OUNCE_RUNTIME__PROVIDERS=cuda,cpu`;
4. a flag of the command line, for the few that have one (`ounce serve --help`).

`ounce serve --print-config` prints what is in force and where each value came from, and serves nothing:

```sh
OUNCE_COST__USD_PER_HOUR=0.08 ounce serve --print-config | grep usd_per_hour
```

```
budget_usd_per_hour = \"\"                 # default
usd_per_hour = 0.08                      # OUNCE_COST__USD_PER_HOUR
budget_usd_per_hour = \"\"                 # default
```

A key that does not exist, and a value that a key cannot take, end the start with one sentence and exit code 2. `\"\"` means that
nothing is set. `_ms` is milliseconds, `_bytes` bytes, `_usd` US dollars.
";

#[test]
fn the_page_says_what_the_defaults_say() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/configuration.md");
    let page = page();
    if std::env::var_os("UPDATE_DOCS").is_some() {
        std::fs::write(&path, &page).expect("written");
    }
    let written = std::fs::read_to_string(&path).expect("the page");
    assert!(written == page, "docs/configuration.md is not what defaults.toml says: run `make docs`");
}

/// The whole page.
fn page() -> String {
    let mut page = INTRODUCTION.to_owned();
    let mut section = String::new();
    table(&mut page, "Top level", "Keys without a section; in a file they stand first.");
    // The first two lines of the file describe it and are left out.
    for line in DEFAULTS.lines().skip(2).filter(|line| !line.is_empty()) {
        let (code, comment) = line.split_once(" # ").unwrap_or_else(|| panic!("a line without a comment: {line}"));
        let (code, comment) = (code.trim(), comment.trim());
        if let Some(name) = code.strip_prefix('[').and_then(|code| code.strip_suffix(']')) {
            section = name.replace("\"*\"", "NAME");
            table(&mut page, &format!("`[{section}]`"), &sentence(comment));
        } else {
            let (key, default) = code.split_once(" = ").expect("a key and its default");
            row(&mut page, &section, [key, default, comment]);
        }
    }
    page
}

/// Writes a heading, a sentence about the section, and the head of its table.
fn table(page: &mut String, title: &str, about: &str) {
    let _ = write!(page, "\n## {title}\n\n{about}\n\n| key | default | variable | meaning |\n|---|---|---|---|\n");
}

fn row(page: &mut String, section: &str, [key, default, meaning]: [&str; 3]) {
    let path = if section.is_empty() { key.to_owned() } else { format!("{section}.{key}") };
    let variable = path.replace('.', "__").to_uppercase();
    let meaning = sentence(meaning).replace('|', "\\|");
    let _ = writeln!(page, "| `{key}` | `{default}` | `OUNCE_{variable}` | {meaning} |");
}

/// Turns a comment into a sentence, with a capital at the start and a full stop at the end.
fn sentence(comment: &str) -> String {
    let mut letters = comment.chars();
    let first: String = letters.next().into_iter().flat_map(char::to_uppercase).collect();
    let stop = if comment.ends_with('.') { "" } else { "." };
    format!("{first}{}{stop}", letters.as_str())
}
