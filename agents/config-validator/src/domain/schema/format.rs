//! Texts with a form of their own.

use super::shape::Format;

impl Format {
    /// Whether the text has this form.
    pub(super) fn accepts(self, text: &str) -> bool {
        match self {
            Self::Plain => true,
            Self::Byte => base64(text),
            Self::DateTime => date_time(text),
        }
    }

    /// What the form is called in a finding.
    pub(super) fn expected(self) -> &'static str {
        match self {
            Self::Plain => "string",
            Self::Byte => "string in base64",
            Self::DateTime => "string with a time as in RFC 3339, such as 2026-01-02T15:04:05Z",
        }
    }
}

/// Go's standard encoding with padding; line breaks are skipped.
fn base64(text: &str) -> bool {
    let text: Vec<u8> = text
        .bytes()
        .filter(|b| !matches!(b, b'\n' | b'\r'))
        .collect();
    let padding = text.iter().rev().take_while(|b| **b == b'=').count();
    let body = text.len() - padding;
    text.len().is_multiple_of(4)
        && padding <= 2
        && text
            .iter()
            .take(body)
            .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'+' | b'/'))
}

fn date_time(text: &str) -> bool {
    time::OffsetDateTime::parse(text, &time::format_description::well_known::Rfc3339).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The vectors of RFC 4648, section 10, and near misses.
    #[test]
    fn knows_base64() {
        for good in [
            "",
            "Zg==",
            "Zm8=",
            "Zm9v",
            "Zm9vYg==",
            "Zm9vYmE=",
            "Zm9v\nYmFy\n",
        ] {
            assert!(Format::Byte.accepts(good), "{good:?}");
        }
        for bad in ["Zg", "Zg=", "Zm9v!", "Zm9-", "====", "Z==="] {
            assert!(!Format::Byte.accepts(bad), "{bad:?}");
        }
    }

    #[test]
    fn knows_times() {
        assert!(Format::DateTime.accepts("1985-04-12T23:20:50.52Z"));
        assert!(Format::DateTime.accepts("1996-12-19T16:39:57-08:00"));
        assert!(!Format::DateTime.accepts("2026-11-22"));
    }
}
