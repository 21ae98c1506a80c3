//! Headers that the host adds to outgoing requests, so that their secrets never enter a guest.

use std::collections::BTreeMap;

use http::{HeaderMap, HeaderName, HeaderValue, header};

use super::header_names::{canonical, remove};
use crate::secret::Secret;
use crate::untrusted::{NAME_CHARS, display_untrusted};

/// Bytes of a secret. Masking a shorter one would garble ordinary text, and a longer one fits no header.
const SECRET_BYTES: std::ops::RangeInclusive<usize> = 8..=8192;

/// Headers that only the transport sets.
const RESERVED: [HeaderName; 11] = [
    header::ACCEPT_ENCODING,
    header::CONNECTION,
    header::CONTENT_LENGTH,
    header::EXPECT,
    header::HOST,
    header::PROXY_AUTHORIZATION,
    header::TE,
    header::TRAILER,
    header::TRANSFER_ENCODING,
    header::UPGRADE,
    HeaderName::from_static("keep-alive"),
];

/// Headers whose names contain one of these carry credentials. A literal value would be neither masked nor redacted.
const CREDENTIALS: [&str; 8] = [
    "auth", "cookie", "apikey", "-key", "_key", "token", "secret", "password",
];

/// Secrets by name, or the reason why one is unavailable here. The reason matters only where the secret is used.
pub type Secrets = BTreeMap<String, Result<Secret, String>>;

/// A header of a grant, added to each of its requests in place of what the guest sent under that name.
#[derive(Clone, PartialEq, Eq)]
pub struct AttachedHeader {
    name: HeaderName,
    /// The name as the operator wrote it.
    written: String,
    /// As the operator wrote it, with `${secret:NAME}` for each secret.
    template: String,
    filled: Result<Filled, SecretError>,
}

#[derive(Clone, PartialEq, Eq)]
struct Filled {
    value: HeaderValue,
    secrets: Vec<Secret>,
}

/// Why a header can't be attached, wherever the configuration is used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum AttachError {
    #[error("`{0}` is not the name of a header")]
    Name(String),
    #[error("the host itself sets the header {0}")]
    Reserved(HeaderName),
    #[error("there is no secret `{0}`")]
    UnknownSecret(String),
    #[error("`${{` must be followed by `secret:NAME}}`")]
    Template,
    #[error(
        "the header {0} has a literal secret in the configuration; put it into [secrets] and write ${{secret:NAME}}"
    )]
    Literal(HeaderName),
    #[error("its value has characters that a header can't have (the value is redacted)")]
    Value,
}

/// Why a secret can't be used here. Contains no part of the secret.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SecretError {
    #[error("the secret `{name}` is unavailable: {reason}")]
    Unavailable { name: String, reason: String },
    #[error("the secret `{0}` has {1} bytes; only {min} to {max} can be masked", min = SECRET_BYTES.start(), max = SECRET_BYTES.end())]
    Length(String, usize),
    #[error(
        "the secret `{0}` must be visible ASCII without spaces (a scheme such as `Bearer` goes before `${{secret:{0}}}`)"
    )]
    Characters(String),
}

impl AttachedHeader {
    /// Replaces each `${secret:NAME}` in `template` by its secret. A secret that is unavailable here is an error only of
    /// [`check`](Self::check), because the same configuration is also read where secrets are unavailable.
    ///
    /// # Errors
    ///
    /// For a header that can't be set, and for a secret that isn't configured.
    pub fn new(name: &str, template: &str, secrets: &Secrets) -> Result<Self, AttachError> {
        let unusable = |_| AttachError::Name(display_untrusted(name, NAME_CHARS));
        let written = name.to_owned();
        let name = HeaderName::from_bytes(name.as_bytes()).map_err(unusable)?;
        if RESERVED.contains(&name) {
            return Err(AttachError::Reserved(name));
        }
        let mut text = String::new();
        let mut used = Vec::new();
        let mut unusable = None;
        let mut rest = template;
        while let Some((before, after)) = rest.split_once("${") {
            let reference = after.strip_prefix("secret:").and_then(|after| after.split_once('}'));
            let (secret_name, after) = reference.ok_or(AttachError::Template)?;
            let unknown = || AttachError::UnknownSecret(display_untrusted(secret_name, NAME_CHARS));
            text.push_str(before);
            match usable(secret_name, secrets.get(secret_name).ok_or_else(unknown)?) {
                Ok(secret) => {
                    text.push_str(secret.expose());
                    used.push(secret.clone());
                }
                Err(error) => unusable = unusable.or(Some(error)),
            }
            rest = after;
        }
        text.push_str(rest);
        let has_secret = !used.is_empty() || unusable.is_some();
        if !has_secret && CREDENTIALS.iter().any(|word| name.as_str().contains(word)) {
            return Err(AttachError::Literal(name));
        }
        let mut value = HeaderValue::try_from(text).map_err(|_| AttachError::Value)?;
        value.set_sensitive(true);
        Ok(Self {
            name,
            written,
            template: template.to_owned(),
            filled: match unusable {
                None => Ok(Filled { value, secrets: used }),
                Some(error) => Err(error),
            },
        })
    }

    /// As the operator wrote it.
    pub fn name(&self) -> &str {
        &self.written
    }

    /// As the operator wrote it.
    pub fn template(&self) -> &str {
        &self.template
    }

    /// Whether the header can be attached here.
    ///
    /// # Errors
    ///
    /// The first of its secrets that can't be used here.
    pub fn check(&self) -> Result<(), SecretError> {
        self.filled.as_ref().map(drop).map_err(Clone::clone)
    }

    pub(super) fn has_secret(&self) -> bool {
        self.filled.as_ref().map_or(true, |filled| !filled.secrets.is_empty())
    }

    pub(super) fn secrets(&self) -> &[Secret] {
        self.filled.as_ref().map_or(&[], |filled| &filled.secrets)
    }

    pub(super) fn attach(&self, headers: &mut HeaderMap) -> Result<(), SecretError> {
        let filled = self.filled.as_ref().map_err(Clone::clone)?;
        let name = canonical(&self.name);
        remove(headers, |guests| guests == name);
        headers.insert(self.name.clone(), filled.value.clone());
        Ok(())
    }
}

fn usable<'a>(name: &str, secret: &'a Result<Secret, String>) -> Result<&'a Secret, SecretError> {
    let secret = secret.as_ref().map_err(|reason| SecretError::Unavailable {
        name: name.to_owned(),
        reason: reason.clone(),
    })?;
    let length = secret.expose().len();
    if !SECRET_BYTES.contains(&length) {
        return Err(SecretError::Length(name.to_owned(), length));
    }
    // Servers split values at spaces and decode non-ASCII bytes in various ways, so an echo would differ and not be masked.
    match secret.is_visible_ascii() {
        true => Ok(secret),
        false => Err(SecretError::Characters(name.to_owned())),
    }
}

impl std::fmt::Debug for AttachedHeader {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {:?}", self.name, self.template)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn secrets() -> Secrets {
        [
            ("KEY", Ok("s3cr3t-value")),
            ("SHORT", Ok("1234567")),
            ("LINES", Ok("first\nsecond")),
            ("WORDS", Ok("Bearer s3cr3t-value")),
            ("MARK", Ok("\u{feff}s3cr3t-value")),
            ("ACCENT", Ok("s\u{e9}cret-value")),
            ("GONE", Err("no such file")),
        ]
        .map(|(name, text)| (name.to_owned(), text.map(Secret::new).map_err(str::to_owned)))
        .into()
    }

    /// To some servers `_` and `-` are the same sign, and the guest's header would override the attached one.
    #[test]
    fn no_other_spelling_of_the_name_stays_beside_it() {
        let header = AttachedHeader::new("X-Api-Key", "${secret:KEY}", &secrets()).unwrap();
        let mut headers = HeaderMap::new();
        for name in ["x-api-key", "x_api_key", "x-api_key", "x-api-keys"] {
            headers.insert(HeaderName::from_static(name), HeaderValue::from_static("mine"));
        }
        header.attach(&mut headers).unwrap();
        let left: Vec<_> = headers
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_bytes()))
            .collect();
        assert_eq!(left.len(), 2, "{left:?}");
        assert_eq!(headers["x-api-key"], "s3cr3t-value");
        assert_eq!(headers["x-api-keys"], "mine");
    }

    #[test]
    fn a_secret_is_inserted_and_redacted() {
        let header = AttachedHeader::new("Authorization", "Bearer ${secret:KEY}, ${secret:KEY}", &secrets()).unwrap();
        let mut headers = HeaderMap::new();
        headers.append("authorization", HeaderValue::from_static("the guest's own"));
        header.attach(&mut headers).unwrap();
        let values: Vec<_> = headers.get_all("authorization").iter().collect();
        assert_eq!(values, ["Bearer s3cr3t-value, s3cr3t-value"]);
        assert!(!format!("{header:?}{headers:?}").contains("s3cr3t"));
    }

    #[test]
    fn invalid_headers_and_templates_are_refused() {
        let attach = |name, template| AttachedHeader::new(name, template, &secrets()).unwrap_err();
        assert_eq!(attach("a b", "x"), AttachError::Name("a b".to_owned()));
        assert_eq!(attach("Host", "x"), AttachError::Reserved(header::HOST));
        assert_eq!(
            attach("x", "${secret:NONE}"),
            AttachError::UnknownSecret("NONE".to_owned())
        );
        assert_eq!(attach("x", "a\nb"), AttachError::Value);
        assert!(matches!(attach("Authorization", "Bearer abc"), AttachError::Literal(_)));
        for name in ["X-Api-Key", "X-Auth-Key", "Ocp-Apim-Subscription-Key", "X-Access-Token"] {
            assert!(matches!(attach(name, "abc"), AttachError::Literal(_)), "{name}");
        }
        for template in ["${", "${env:KEY}", "${secret:KEY"] {
            assert_eq!(attach("x", template), AttachError::Template, "{template}");
        }
    }

    #[test]
    fn an_unusable_secret_is_an_error_only_when_it_is_needed() {
        for (name, error) in [
            (
                "GONE",
                SecretError::Unavailable {
                    name: "GONE".to_owned(),
                    reason: "no such file".to_owned(),
                },
            ),
            ("SHORT", SecretError::Length("SHORT".to_owned(), 7)),
            ("LINES", SecretError::Characters("LINES".to_owned())),
            ("WORDS", SecretError::Characters("WORDS".to_owned())),
            ("MARK", SecretError::Characters("MARK".to_owned())),
            ("ACCENT", SecretError::Characters("ACCENT".to_owned())),
        ] {
            let template = format!("${{secret:KEY}} ${{secret:{name}}}");
            let header = AttachedHeader::new("Authorization", &template, &secrets()).unwrap();
            let mut headers = HeaderMap::new();
            assert_eq!(
                (header.check(), header.attach(&mut headers)),
                (Err(error.clone()), Err(error))
            );
            assert!(headers.is_empty() && header.has_secret() && header.secrets().is_empty());
        }
    }
}
