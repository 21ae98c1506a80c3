//! Turns the properties of an input into arguments. There is no shell: whatever a value contains, it is part of one argument.

use std::borrow::Cow;

use crate::json_text::Json;

/// Bytes that each argument counts for beyond its text.
const PER_ARGUMENT: u64 = 8;

/// By convention, no argument after this one is an option.
const END_OF_OPTIONS: &str = "--";

/// One argument, or several that belong together, such as an option and its value.
///
/// A property that the input lacks, or that is null, drops its whole group. Where a group has one placeholder and the value is
/// an array, the group is repeated for each item.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Argument(Vec<Template>);

/// The text of one argument, with placeholders `${property}`. `$${` is a literal `${`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Template {
    text: String,
    pieces: Vec<Piece>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Piece {
    Literal(String),
    Placeholder(String),
}

/// Why a text isn't a template.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TemplateError {
    #[error("has a `${{` without a `}}`")]
    Unclosed,
    #[error("has a placeholder without a name")]
    Nameless,
    #[error("contains a NUL, which would end the argument")]
    Nul,
}

impl Template {
    /// # Errors
    ///
    /// See [`TemplateError`].
    pub fn parse(text: &str) -> Result<Self, TemplateError> {
        if text.contains('\0') {
            return Err(TemplateError::Nul);
        }
        let mut pieces = Vec::new();
        let mut literal = String::new();
        let mut rest = text;
        while let Some(at) = rest.find("${") {
            let (before, from) = rest.split_at(at);
            if let Some(before) = before.strip_suffix('$') {
                literal.push_str(before);
                literal.push_str("${");
                rest = &from[2..];
                continue;
            }
            literal.push_str(before);
            let (name, after) = from[2..].split_once('}').ok_or(TemplateError::Unclosed)?;
            if name.is_empty() {
                return Err(TemplateError::Nameless);
            }
            if !literal.is_empty() {
                pieces.push(Piece::Literal(std::mem::take(&mut literal)));
            }
            pieces.push(Piece::Placeholder(name.to_owned()));
            rest = after;
        }
        literal.push_str(rest);
        if !literal.is_empty() {
            pieces.push(Piece::Literal(literal));
        }
        Ok(Self {
            text: text.to_owned(),
            pieces,
        })
    }

    /// As it was written.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The name, if the text is one placeholder and nothing else.
    pub fn only_placeholder(&self) -> Option<&str> {
        match &self.pieces[..] {
            [Piece::Placeholder(name)] => Some(name),
            _ => None,
        }
    }

    fn placeholders(&self) -> impl Iterator<Item = &str> {
        self.pieces.iter().filter_map(|piece| match piece {
            Piece::Placeholder(name) => Some(name.as_str()),
            Piece::Literal(_) => None,
        })
    }

    /// Whether it is the argument that ends the options by convention, as the operator wrote it.
    fn ends_options(&self) -> bool {
        matches!(&self.pieces[..], [Piece::Literal(text)] if text == END_OF_OPTIONS)
    }

    /// The placeholder that begins the argument, if one does.
    fn first_placeholder(&self) -> Option<&str> {
        match self.pieces.first() {
            Some(Piece::Placeholder(name)) => Some(name),
            _ => None,
        }
    }
}

impl Argument {
    /// # Errors
    ///
    /// If one of the texts isn't a template.
    pub fn parse<S: AsRef<str>>(texts: &[S]) -> Result<Self, TemplateError> {
        let templates = texts.iter().map(|text| Template::parse(text.as_ref()));
        templates.collect::<Result<_, _>>().map(Self)
    }

    /// The texts, as they were written.
    pub fn texts(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(Template::text)
    }

    /// The text, if it is a single argument without placeholders.
    pub fn literal(&self) -> Option<&str> {
        match &self.0[..] {
            [template] if template.placeholders().next().is_none() => Some(template.text()),
            _ => None,
        }
    }

    /// The property, if it is a single argument that is one placeholder and nothing else.
    pub fn only_placeholder(&self) -> Option<&str> {
        match &self.0[..] {
            [template] => template.only_placeholder(),
            _ => None,
        }
    }

    /// The names of the properties that it refers to, with duplicates.
    pub fn placeholders(&self) -> impl Iterator<Item = &str> {
        self.0.iter().flat_map(Template::placeholders)
    }
}

/// Why an input doesn't become arguments, for the model.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::sandbox) enum NotFilled {
    /// A value would begin with `-`, which the operator can allow.
    LeadingDash(String),
    Invalid(String),
}

impl From<String> for NotFilled {
    fn from(reason: String) -> Self {
        Self::Invalid(reason)
    }
}

/// The arguments for an input, a JSON object. Together they have at most `max_bytes`, because arrays can repeat a long text.
pub(super) fn fill(
    arguments: &[Argument],
    input: Json<'_>,
    allow_leading_dash: bool,
    max_bytes: u64,
) -> Result<Vec<String>, NotFilled> {
    let mut filled = Filled {
        arguments: Vec::new(),
        options_ended: false,
        allow_leading_dash,
        left: max_bytes,
    };
    for argument in arguments {
        let mut values = Vec::new();
        for name in argument.placeholders() {
            match input.field(name).filter(|value| !value.is_null()) {
                Some(value) => values.push((name, value)),
                None => break,
            }
        }
        if values.len() < argument.placeholders().count() {
            continue;
        }
        match values[..] {
            [(name, value)] if value.items().is_some() => {
                for item in value.items().into_iter().flatten() {
                    filled.add(argument, &[(name, item)])?;
                }
            }
            _ => filled.add(argument, &values)?,
        }
    }
    Ok(filled.arguments)
}

/// A property's text: a string as it is, anything else as JSON. `None` if it is missing or null.
pub(super) fn text_of(input: Json<'_>, name: &str) -> Option<String> {
    let value = input.field(name).filter(|value| !value.is_null())?;
    Some(text(value).into_owned())
}

fn text(value: Json<'_>) -> Cow<'_, str> {
    value.string().unwrap_or(Cow::Borrowed(value.text()))
}

struct Filled {
    arguments: Vec<String>,
    options_ended: bool,
    allow_leading_dash: bool,
    left: u64,
}

impl Filled {
    /// Adds a group. `values` has every placeholder of it.
    fn add(&mut self, argument: &Argument, values: &[(&str, Json<'_>)]) -> Result<(), NotFilled> {
        for template in &argument.0 {
            let mut out = String::new();
            for piece in &template.pieces {
                match piece {
                    Piece::Literal(text) => out.push_str(text),
                    Piece::Placeholder(name) => {
                        let value = values.iter().find(|(known, _)| known == name);
                        let value = value.map(|(_, value)| text(*value)).unwrap_or_default();
                        if value.contains('\0') {
                            let reason = format!("`{name}` contains a NUL character, which no argument can have");
                            return Err(reason.into());
                        }
                        out.push_str(&value);
                    }
                }
            }
            self.check(template, &out).map_err(NotFilled::LeadingDash)?;
            self.options_ended |= template.ends_options();
            let bytes = out.len() as u64 + PER_ARGUMENT;
            self.left = self
                .left
                .checked_sub(bytes)
                .ok_or_else(|| "the arguments made from the input are longer than input_bytes allows".to_owned())?;
            self.arguments.push(out);
        }
        Ok(())
    }

    /// Refuses what a program could read as an option although the operator wrote none, and `-` and `--` from values: the
    /// operator alone ends the options.
    fn check(&self, template: &Template, argument: &str) -> Result<(), String> {
        if self.allow_leading_dash || self.options_ended || !argument.starts_with('-') {
            return Ok(());
        }
        if let Some(name) = template.first_placeholder() {
            return Err(format!(
                "`{name}` begins with `-`, so the program could take it for an option"
            ));
        }
        match template.placeholders().next() {
            Some(name) if argument.trim_start_matches('-').is_empty() => Err(format!(
                "`{name}` would make the argument `{argument}`, which has a meaning of its own"
            )),
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn filled(args: &[&[&str]], input: &str, dashes: bool) -> Result<Vec<String>, NotFilled> {
        let args: Vec<Argument> = args.iter().map(|texts| Argument::parse(texts).unwrap()).collect();
        fill(&args, Json::parse(input).unwrap(), dashes, 200)
    }

    #[track_caller]
    fn check(args: &[&[&str]], input: &str, expected: &[&str]) {
        assert_eq!(filled(args, input, false).unwrap(), expected, "{args:?} {input}");
    }

    #[test]
    fn a_value_is_one_argument_whatever_it_contains() {
        let nasty = r#"{"a":"x y; rm -rf / $(id) `id` \"'\\\n*${b}","b":"no"}"#;
        check(&[&["${a}"]], nasty, &["x y; rm -rf / $(id) `id` \"'\\\n*${b}"]);
        check(&[&["--a=${a}"]], r#"{"a":""}"#, &["--a="]);
        check(&[&["${a}"]], r#"{"a":""}"#, &[""]);
        check(
            &[&["a$${a}", "$$${a}", "$", "100$"]],
            r#"{"a":"1"}"#,
            &["a${a}", "$${a}", "$", "100$"],
        );
    }

    #[test]
    fn numbers_keep_their_digits() {
        let input = r#"{"n":1.50,"big":123456789012345678901234567890,"t":true,"o":{"a": 1}}"#;
        check(
            &[&["${n}", "${big}"], &["--t=${t}"], &["${o}"]],
            input,
            &["1.50", "123456789012345678901234567890", "--t=true", "{\"a\": 1}"],
        );
    }

    #[test]
    fn a_missing_property_drops_its_group_and_nothing_else() {
        let args: &[&[&str]] = &[
            &["run"],
            &["--city", "${city}"],
            &["--unit=${unit}"],
            &["-v"],
            &["${file}"],
        ];
        check(args, "{}", &["run", "-v"]);
        check(args, r#"{"city":null,"unit":"C"}"#, &["run", "--unit=C", "-v"]);
        check(
            args,
            r#"{"city":"Bern","file":"f"}"#,
            &["run", "--city", "Bern", "-v", "f"],
        );
        check(&[&["${a}-${b}"]], r#"{"a":"1"}"#, &[]);
    }

    #[test]
    fn an_array_repeats_its_group() {
        check(&[&["${a}"]], r#"{"a":["x","y z",3]}"#, &["x", "y z", "3"]);
        check(&[&["--tag=${a}"]], r#"{"a":["x","y"]}"#, &["--tag=x", "--tag=y"]);
        check(
            &[&["--tag", "${a}"]],
            r#"{"a":["x","y"]}"#,
            &["--tag", "x", "--tag", "y"],
        );
        check(&[&["--tag", "${a}"]], r#"{"a":[]}"#, &[]);
        check(&[&["${a}"]], r#"{"a":[["x"],null]}"#, &["[\"x\"]", "null"]);
        check(&[&["${a}/${b}"]], r#"{"a":["x"],"b":"y"}"#, &["[\"x\"]/y"]);
    }

    #[test]
    fn a_value_is_no_option_by_surprise() {
        let refused = filled(&[&["${a}"]], r#"{"a":"-rf"}"#, false).unwrap_err();
        assert_eq!(
            refused,
            NotFilled::LeadingDash("`a` begins with `-`, so the program could take it for an option".to_owned())
        );
        for (args, input) in [
            (&[&["${a}"][..]][..], r#"{"a":-5}"#),
            (&[&["--x", "${a}"]], r#"{"a":"-y"}"#),
            (&[&["${a}${b}"]], r#"{"a":"","b":"-y"}"#),
            (&[&["${a}"]], r#"{"a":["x","--y"]}"#),
        ] {
            assert!(filled(args, input, false).is_err(), "{args:?} {input}");
            assert!(filled(args, input, true).is_ok(), "{args:?} {input}");
        }
        check(&[&["--x=${a}"]], r#"{"a":"-y"}"#, &["--x=-y"]);
        check(&[&["--"], &["${a}"]], r#"{"a":"-y"}"#, &["--", "-y"]);
    }

    /// Otherwise a value could end the options for the values after it.
    #[test]
    fn only_the_operator_can_end_the_options() {
        for (args, input) in [
            (&[&["${a}"], &["${b}"][..]][..], r#"{"a":"--","b":"-y"}"#),
            (&[&["--${a}"], &["${b}"]], r#"{"a":"","b":"-y"}"#),
            (&[&["--${a}"], &["${b}"]], r#"{"a":"","b":"y"}"#),
            (&[&["-${a}"]], r#"{"a":""}"#),
            (&[&["-${a}"]], r#"{"a":"-"}"#),
            (&[&["--x=${a}"], &["${b}"]], r#"{"a":"--","b":"-y"}"#),
        ] {
            assert!(filled(args, input, false).is_err(), "{args:?} {input}");
            assert!(filled(args, input, true).is_ok(), "{args:?} {input}");
        }
        check(
            &[&["--", "${a}"], &["${b}"]],
            r#"{"a":"-x","b":"--"}"#,
            &["--", "-x", "--"],
        );
    }

    #[test]
    fn arguments_are_bounded_and_have_no_nul() {
        let refused = filled(&[&["${a}"]], r#"{"a":"x\u0000y"}"#, true).unwrap_err();
        assert!(
            matches!(&refused, NotFilled::Invalid(reason) if reason.contains("NUL")),
            "{refused:?}"
        );
        let long = "--a-long-option=${a}";
        let many = format!(r#"{{"a":[{}1]}}"#, "1,".repeat(20));
        let refused = filled(&[&[long]], &many, true).unwrap_err();
        assert!(
            matches!(&refused, NotFilled::Invalid(reason) if reason.contains("input_bytes")),
            "{refused:?}"
        );
    }

    #[test]
    fn templates_that_are_none() {
        for (text, error) in [
            ("${a", TemplateError::Unclosed),
            ("x${}", TemplateError::Nameless),
            ("a\0", TemplateError::Nul),
        ] {
            assert_eq!(Template::parse(text).unwrap_err(), error, "{text}");
        }
        assert_eq!(Template::parse("${a}").unwrap().only_placeholder(), Some("a"));
        assert_eq!(Template::parse("${a}b").unwrap().only_placeholder(), None);
    }
}
