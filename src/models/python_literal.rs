//! Reads a Python literal, which is how Ultralytics writes the metadata of its exports: `{0: 'person', 1: "a 'b'"}`.
//!
//! A text goes in, a [`PythonLiteral`] comes out, or nothing: what is not exactly such a literal is not guessed at. The text comes
//! from a stranger's file, so its length, its depth and the number of its values are bounded.

/// The longest text that is read. The 21,841 names of ImageNet are below a megabyte.
const MAX_BYTES: usize = 4 << 20;

/// The most lists and dicts inside each other.
const MAX_DEPTH: usize = 16;

/// A value of a Python literal.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum PythonLiteral {
    None,
    Bool(bool),
    Int(i64),
    Float(f64),
    Text(String),
    /// A list or a tuple.
    List(Vec<Self>),
    /// A dict, in the order of the text.
    Dict(Vec<(Self, Self)>),
}

impl PythonLiteral {
    /// Reads a text; none where it is not a literal, or too long or too deep.
    pub(super) fn read(text: &str) -> Option<Self> {
        if text.len() > MAX_BYTES {
            return None;
        }
        let mut reader = Reader { rest: text, depth: 0 };
        let value = reader.value()?;
        reader.space();
        reader.rest.is_empty().then_some(value)
    }

    pub(super) fn as_int(&self) -> Option<i64> {
        if let Self::Int(number) = self { Some(*number) } else { None }
    }

    pub(super) fn as_text(&self) -> Option<&str> {
        if let Self::Text(text) = self { Some(text) } else { None }
    }

    pub(super) fn as_list(&self) -> Option<&[Self]> {
        if let Self::List(values) = self { Some(values) } else { None }
    }

    /// The value of a text key of a dict.
    pub(super) fn get(&self, key: &str) -> Option<&Self> {
        let Self::Dict(entries) = self else { return None };
        entries.iter().find(|(name, _)| name.as_text() == Some(key)).map(|(_, value)| value)
    }
}

struct Reader<'a> {
    rest: &'a str,
    depth: usize,
}

impl Reader<'_> {
    fn value(&mut self) -> Option<PythonLiteral> {
        self.space();
        match self.rest.chars().next()? {
            '\'' | '"' => self.text().map(PythonLiteral::Text),
            '{' => self
                .nested('}', |it| {
                    let key = it.value()?;
                    it.take(':').then_some(())?;
                    Some((key, it.value()?))
                })
                .map(|(entries, _)| PythonLiteral::Dict(entries)),
            '[' => self.nested(']', Self::value).map(|(values, _)| PythonLiteral::List(values)),
            // `(1)` is the number 1, and `(1,)` a tuple.
            '(' => self.nested(')', Self::value).and_then(|(mut values, comma)| {
                if values.len() == 1 && !comma { values.pop() } else { Some(PythonLiteral::List(values)) }
            }),
            _ => self.word(),
        }
    }

    /// The items between brackets, and whether a comma stands behind the last one.
    fn nested<T>(&mut self, end: char, mut item: impl FnMut(&mut Self) -> Option<T>) -> Option<(Vec<T>, bool)> {
        if self.depth == MAX_DEPTH {
            return None;
        }
        self.depth += 1;
        self.rest = self.rest.get(1..)?;
        let mut items = Vec::new();
        let mut comma = false;
        while !self.take(end) {
            if !items.is_empty() && !comma {
                return None;
            }
            items.push(item(self)?);
            comma = self.take(',');
        }
        self.depth -= 1;
        Some((items, comma))
    }

    fn text(&mut self) -> Option<String> {
        let quote = self.next()?;
        let mut text = String::new();
        loop {
            match self.next()? {
                end if end == quote => return Some(text),
                '\\' => text.push(self.escaped()?),
                '\n' => return None,
                other => text.push(other),
            }
        }
    }

    /// What stands behind a backslash: the escapes that Python's `repr` writes.
    fn escaped(&mut self) -> Option<char> {
        let digits = match self.next()? {
            same @ ('\\' | '\'' | '"') => return Some(same),
            'n' => return Some('\n'),
            'r' => return Some('\r'),
            't' => return Some('\t'),
            'x' => 2,
            'u' => 4,
            'U' => 8,
            _ => return None,
        };
        let hex = self.rest.get(..digits).filter(|hex| hex.bytes().all(|digit| digit.is_ascii_hexdigit()))?;
        self.rest = self.rest.get(digits..)?;
        char::from_u32(u32::from_str_radix(hex, 16).ok()?)
    }

    /// A number, `True`, `False` or `None`.
    fn word(&mut self) -> Option<PythonLiteral> {
        let end =
            self.rest.find(|c: char| !c.is_ascii_alphanumeric() && !"+-._".contains(c)).unwrap_or(self.rest.len());
        let (word, rest) = self.rest.split_at_checked(end)?;
        self.rest = rest;
        match word {
            "None" => Some(PythonLiteral::None),
            "True" => Some(PythonLiteral::Bool(true)),
            "False" => Some(PythonLiteral::Bool(false)),
            // Rust also reads `inf` and `nan`, which are no literals.
            number if number.contains(|c: char| c.is_ascii_alphabetic() && c != 'e' && c != 'E') => None,
            number => match number.parse() {
                Ok(int) => Some(PythonLiteral::Int(int)),
                Err(_) => number.parse().ok().map(PythonLiteral::Float),
            },
        }
    }

    fn next(&mut self) -> Option<char> {
        let mut chars = self.rest.chars();
        let next = chars.next()?;
        self.rest = chars.as_str();
        Some(next)
    }

    /// Takes that character, where it comes next.
    fn take(&mut self, wanted: char) -> bool {
        self.space();
        let rest = self.rest.strip_prefix(wanted);
        self.rest = rest.unwrap_or(self.rest);
        rest.is_some()
    }

    fn space(&mut self) {
        self.rest = self.rest.trim_start_matches([' ', '\t', '\r', '\n']);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::PythonLiteral as Py;

    /// As Python's `repr` writes it.
    fn repr(value: &Py) -> String {
        match value {
            Py::None => "None".to_owned(),
            Py::Bool(yes) => if *yes { "True" } else { "False" }.to_owned(),
            Py::Int(number) => number.to_string(),
            Py::Float(number) => format!("{number:?}"),
            Py::Text(text) => {
                let quote = if text.contains('\'') && !text.contains('"') { '"' } else { '\'' };
                let escape = |c: char| match c {
                    '\\' => "\\\\".to_owned(),
                    '\n' => "\\n".to_owned(),
                    '\r' => "\\r".to_owned(),
                    '\t' => "\\t".to_owned(),
                    c if c == quote => format!("\\{c}"),
                    c if c.is_control() => format!("\\x{:02x}", u32::from(c)),
                    c => c.to_string(),
                };
                format!("{quote}{}{quote}", text.chars().map(escape).collect::<String>())
            }
            Py::List(values) => format!("[{}]", values.iter().map(repr).collect::<Vec<_>>().join(", ")),
            Py::Dict(entries) => {
                let entry = |(key, value): &(Py, Py)| format!("{}: {}", repr(key), repr(value));
                format!("{{{}}}", entries.iter().map(entry).collect::<Vec<_>>().join(", "))
            }
        }
    }

    fn literals() -> impl Strategy<Value = Py> {
        let leaf = prop_oneof![
            Just(Py::None),
            any::<bool>().prop_map(Py::Bool),
            any::<i64>().prop_map(Py::Int),
            (-1e18..1e18).prop_map(Py::Float),
            any::<String>().prop_map(Py::Text),
        ];
        leaf.prop_recursive(4, 64, 8, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..8).prop_map(Py::List),
                prop::collection::vec((inner.clone(), inner), 0..8).prop_map(Py::Dict),
            ]
        })
    }

    proptest! {
        #[test]
        fn what_python_writes_is_read_back(value in literals()) {
            prop_assert_eq!(Py::read(&repr(&value)), Some(value));
        }

        #[test]
        fn any_text_is_read_or_refused(text in "[\\[\\]{}():,'\"\\\\xuU0-9a-fTrueNon .eE+é-]{0,64}", anything in any::<String>()) {
            let _ = (Py::read(&text), Py::read(&anything));
        }

        #[test]
        fn a_torn_literal_is_none(value in literals(), part in 0.0..1.0) {
            let whole = repr(&Py::List(vec![value]));
            let ends: Vec<usize> = whole.char_indices().map(|(at, _)| at).collect();
            let torn = &whole[..ends[(part * ends.len() as f64) as usize]];
            prop_assert_eq!(Py::read(torn), None);
        }
    }

    #[test]
    fn literals_of_pythons_manual_are_read() {
        let text = |text: &str| Some(Py::Text(text.to_owned()));
        assert_eq!(Py::read("\"a 'b'\""), text("a 'b'"));
        assert_eq!(Py::read(r"'caf\xe9 \u4eba \U0001f600'"), text("café 人 😀"));
        assert_eq!(Py::read("(640,)"), Some(Py::List(vec![Py::Int(640)])));
        assert_eq!(Py::read("(640)"), Some(Py::Int(640)));
        assert_eq!(Py::read(" [ 1 , 2.5e3, ] "), Some(Py::List(vec![Py::Int(1), Py::Float(2500.0)])));
        assert_eq!(Py::read("{}"), Some(Py::Dict(Vec::new())));
    }

    #[test]
    fn what_is_no_literal_is_none() {
        let deep = "[".repeat(100_000);
        for text in [
            "",
            "[1 2]",
            "[,]",
            "{1: }",
            "{1}",
            "'a",
            "'\\q'",
            "'\\ud800'",
            "'\\x4'",
            "nan",
            "inf",
            "x",
            "1 2",
            "{'a': PosixPath('b')}",
            "'a\nb'",
            &deep,
        ] {
            assert_eq!(Py::read(text), None, "{}", text.get(..20).unwrap_or(text));
        }
    }
}
