//! Headers that the host adds to requests as they leave, so that a secret in them never enters a guest.

use std::collections::BTreeMap;

use http::{HeaderMap, HeaderName, HeaderValue, header};

use crate::secret::Secret;
use crate::shown::{NAME_CHARS, shown};

/// Shorter secrets would mask half of an ordinary text, and longer ones fit no header.
const SECRET_BYTES: std::ops::RangeInclusive<usize> = 8..=8192;

/// What the transport decides, and nobody else.
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

/// Headers whose names hold one of these carry credentials. Written out they would be neither masked nor redacted.
const CREDENTIALS: [&str; 7] = [
    "authorization",
    "cookie",
    "api-key",
    "apikey",
    "token",
    "secret",
    "password",
];

/// Secrets by name.
pub type Secrets = BTreeMap<String, Secret>;

/// A header of a grant, added to each of its requests in place of what the guest sent under that name.
#[derive(Clone, PartialEq, Eq)]
pub struct AttachedHeader {
    name: HeaderName,
    /// As the operator wrote it, with `${secret:NAME}` for each secret.
    template: String,
    value: HeaderValue,
    secrets: Vec<Secret>,
}

/// Why a header can't be attached. No text of a secret is in it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AttachError {
    #[error("`{0}` is not the name of a header")]
    Name(String),
    #[error("the header {0} is the host's own business")]
    Reserved(HeaderName),
    #[error("there is no secret `{0}`")]
    UnknownSecret(String),
    #[error("`${{` must be followed by `secret:NAME}}`")]
    Template,
    #[error("the secret `{0}` has {1} bytes; {min} to {max} can be kept out of answers and logs", min = SECRET_BYTES.start(), max = SECRET_BYTES.end())]
    Length(String, usize),
    #[error(
        "the header {0} holds a secret that stands in the configuration; put it into [secrets] and write ${{secret:NAME}}"
    )]
    Literal(HeaderName),
    #[error("its value holds characters that no header may have (it is not shown)")]
    Value,
}

impl AttachedHeader {
    /// Puts `secrets` into `template`, where it says `${secret:NAME}`.
    ///
    /// # Errors
    ///
    /// For a header that can't be set, an unknown secret, and a secret that could not be masked.
    pub fn new(name: &str, template: &str, secrets: &Secrets) -> Result<Self, AttachError> {
        let unusable = |_| AttachError::Name(shown(name, NAME_CHARS));
        let name = HeaderName::from_bytes(name.as_bytes()).map_err(unusable)?;
        if RESERVED.contains(&name) {
            return Err(AttachError::Reserved(name));
        }
        let mut text = String::new();
        let mut used = Vec::new();
        let mut rest = template;
        while let Some((before, after)) = rest.split_once("${") {
            let reference = after.strip_prefix("secret:").and_then(|after| after.split_once('}'));
            let (secret_name, after) = reference.ok_or(AttachError::Template)?;
            let unknown = || AttachError::UnknownSecret(shown(secret_name, NAME_CHARS));
            let secret = secrets.get(secret_name).ok_or_else(unknown)?;
            let length = secret.expose().len();
            if !SECRET_BYTES.contains(&length) {
                return Err(AttachError::Length(secret_name.to_owned(), length));
            }
            text.push_str(before);
            text.push_str(secret.expose());
            used.push(secret.clone());
            rest = after;
        }
        text.push_str(rest);
        if used.is_empty() && CREDENTIALS.iter().any(|word| name.as_str().contains(word)) {
            return Err(AttachError::Literal(name));
        }
        let mut value = HeaderValue::try_from(text).map_err(|_| AttachError::Value)?;
        value.set_sensitive(true);
        Ok(Self {
            name,
            template: template.to_owned(),
            value,
            secrets: used,
        })
    }

    pub fn name(&self) -> &str {
        self.name.as_str()
    }

    /// As the operator wrote it.
    pub fn template(&self) -> &str {
        &self.template
    }

    pub(super) fn secrets(&self) -> &[Secret] {
        &self.secrets
    }

    pub(super) fn attach(&self, headers: &mut HeaderMap) {
        headers.insert(self.name.clone(), self.value.clone());
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
            ("KEY", "s3cr3t-value"),
            ("SHORT", "1234567"),
            ("LINES", "first\nsecond"),
        ]
        .map(|(name, text)| (name.to_owned(), Secret::new(text)))
        .into()
    }

    #[test]
    fn the_secret_takes_its_place_and_is_not_shown() {
        let header = AttachedHeader::new("Authorization", "Bearer ${secret:KEY}, ${secret:KEY}", &secrets()).unwrap();
        let mut headers = HeaderMap::new();
        headers.append("authorization", HeaderValue::from_static("the guest's own"));
        header.attach(&mut headers);
        let values: Vec<_> = headers.get_all("authorization").iter().collect();
        assert_eq!(values, ["Bearer s3cr3t-value, s3cr3t-value"]);
        assert!(!format!("{header:?}{headers:?}").contains("s3cr3t"));
    }

    #[test]
    fn what_cannot_be_attached_is_refused() {
        let attach = |name, template| AttachedHeader::new(name, template, &secrets()).unwrap_err();
        assert_eq!(attach("a b", "x"), AttachError::Name("a b".to_owned()));
        assert_eq!(attach("Host", "x"), AttachError::Reserved(header::HOST));
        assert_eq!(
            attach("x", "${secret:NONE}"),
            AttachError::UnknownSecret("NONE".to_owned())
        );
        assert_eq!(
            attach("x", "${secret:SHORT}"),
            AttachError::Length("SHORT".to_owned(), 7)
        );
        assert_eq!(attach("x", "${secret:LINES}"), AttachError::Value);
        assert!(matches!(attach("Authorization", "Bearer abc"), AttachError::Literal(_)));
        assert!(matches!(attach("X-Api-Key", "abc"), AttachError::Literal(_)));
        for template in ["${", "${env:KEY}", "${secret:KEY"] {
            assert_eq!(attach("x", template), AttachError::Template, "{template}");
        }
    }
}
