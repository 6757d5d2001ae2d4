//! The address of a PostgreSQL database, and how the way to it is secured: `sslmode` and the files it needs, with
//! libpq's meaning (<https://www.postgresql.org/docs/current/libpq-ssl.html>).

use std::str::FromStr;

use percent_encoding::percent_decode_str;
use postgres_rustls::TlsStream;
use tokio_postgres::{CancelToken, Client, Config, Socket, config::SslMode};

use super::tls::{self, Connector, Files, Trust};

/// What libpq knows and this client does not do: it is refused rather than passed over.
const UNSUPPORTED: [&str; 10] = [
    "sslcrl",
    "sslcrldir",
    "sslpassword",
    "sslcertmode",
    "sslcompression",
    "sslsni",
    "ssl_min_protocol_version",
    "ssl_max_protocol_version",
    "requiressl",
    "requirepeer",
];

/// The connection that a spawned task drives.
pub type Connection = tokio_postgres::Connection<Socket, TlsStream<Socket>>;

/// Where a database is and how connections to it are secured. Its `Debug` shows host and database, never the password.
#[derive(Debug, Clone)]
pub struct Address {
    config: Config,
    mode: Mode,
    files: Files,
}

/// `sslmode`, weakest first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Mode {
    Disable,
    Prefer,
    Require,
    VerifyCa,
    VerifyFull,
}

/// Why an address cannot be used. Never shows the address or a file's content.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AddressError {
    /// It is no URL of PostgreSQL.
    #[error("expected postgres://USER@HOST/DATABASE")]
    Form,
    /// A parameter has a value that it cannot have, is given twice, or lacks another one.
    #[error("{parameter}: expected {expected}")]
    Parameter {
        /// Its name.
        parameter: &'static str,
        /// What it may be.
        expected: &'static str,
    },
    /// A file that a parameter names cannot be used.
    #[error("{parameter}: {reason}")]
    File {
        /// The parameter's name.
        parameter: &'static str,
        /// What is wrong with the file.
        reason: String,
    },
}

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// The files of the address cannot be used.
    #[error(transparent)]
    Address(#[from] AddressError),
    /// The server does not answer, is not the right one, or refuses.
    #[error(transparent)]
    Postgres(#[from] tokio_postgres::Error),
}

impl FromStr for Address {
    type Err = AddressError;

    fn from_str(url: &str) -> Result<Self, Self::Err> {
        if !url.starts_with("postgres://") && !url.starts_with("postgresql://") {
            return Err(AddressError::Form);
        }
        let (bare, given) = Given::take(url)?;
        let mut config: Config = bare.parse().map_err(|_| AddressError::Form)?;
        let mode = given.mode()?;
        config.ssl_mode(match mode {
            Mode::Disable => SslMode::Disable,
            Mode::Prefer => SslMode::Prefer,
            Mode::Require | Mode::VerifyCa | Mode::VerifyFull => SslMode::Require,
        });
        Ok(Self {
            config,
            mode,
            files: given.files()?,
        })
    }
}

impl Address {
    /// Host, database and all that is not about TLS.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// The same, to be changed.
    pub fn config_mut(&mut self) -> &mut Config {
        &mut self.config
    }

    /// Reads the files once, so that a wrong one shows at the start.
    ///
    /// # Errors
    /// The parameter whose file cannot be used.
    pub fn check(&self) -> Result<(), AddressError> {
        self.connector().map(drop)
    }

    /// Connects. Files are read anew, so that rotated certificates count at once.
    ///
    /// # Errors
    /// Every variant of [`ConnectError`].
    pub async fn connect(&self) -> Result<(Client, Connection), ConnectError> {
        Ok(self.config.connect(self.connector()?).await?)
    }

    /// Cancels what a connection to this address runs, over a way that is secured alike.
    ///
    /// # Errors
    /// Every variant of [`ConnectError`].
    pub async fn cancel(&self, token: &CancelToken) -> Result<(), ConnectError> {
        Ok(token.cancel_query(self.connector()?).await?)
    }

    fn connector(&self) -> Result<Connector, AddressError> {
        let trust = match self.mode {
            Mode::Disable => return Connector::new(&Files::default(), Trust::Anyone),
            // As libpq: whoever names roots wants them to count.
            Mode::Prefer | Mode::Require if self.files.root.is_none() => Trust::Anyone,
            Mode::Prefer | Mode::Require | Mode::VerifyCa => Trust::Roots,
            Mode::VerifyFull => Trust::RootsAndName,
        };
        Connector::new(&self.files, trust)
    }
}

/// The parameters about TLS as the URL gives them.
#[derive(Debug, Default)]
struct Given {
    mode: Option<String>,
    root: Option<String>,
    certificate: Option<String>,
    key: Option<String>,
}

impl Given {
    /// Takes them off a URL: tokio-postgres knows three modes and no files. The user's name and password end with the
    /// first `@`, so a question mark before it is theirs.
    fn take(url: &str) -> Result<(String, Self), AddressError> {
        let host = url.find('@').unwrap_or_default();
        let mut given = Self::default();
        let Some(query) = url.get(host..).and_then(|rest| rest.find('?')) else {
            return Ok((url.to_owned(), given));
        };
        let (bare, parameters) = url.split_at(host + query);
        let mut left = Vec::new();
        for parameter in parameters.trim_start_matches('?').split('&') {
            let (name, value) = parameter.split_once('=').unwrap_or((parameter, ""));
            let name = percent_decode_str(name).decode_utf8_lossy();
            if let Some(name) = UNSUPPORTED.into_iter().find(|known| *known == name) {
                return Err(refused(name, "nothing: it is not supported"));
            }
            let (name, place) = match name.as_ref() {
                "sslmode" => ("sslmode", &mut given.mode),
                "sslrootcert" => ("sslrootcert", &mut given.root),
                "sslcert" => ("sslcert", &mut given.certificate),
                "sslkey" => ("sslkey", &mut given.key),
                _ => {
                    left.push(parameter);
                    continue;
                }
            };
            let value = percent_decode_str(value).decode_utf8();
            let value = value.map_err(|_| refused(name, "UTF-8 text"))?;
            if value.is_empty() || place.replace(value.into_owned()).is_some() {
                return Err(refused(name, "one value"));
            }
        }
        let left = left.join("&");
        let mark = if left.is_empty() { "" } else { "?" };
        Ok((format!("{bare}{mark}{left}"), given))
    }

    fn mode(&self) -> Result<Mode, AddressError> {
        let system = self.root.as_deref() == Some(tls::SYSTEM);
        let mode = match self.mode.as_deref() {
            None if system => Mode::VerifyFull,
            None | Some("prefer") => Mode::Prefer,
            Some("disable") => Mode::Disable,
            Some("require") => Mode::Require,
            Some("verify-ca") => Mode::VerifyCa,
            Some("verify-full") => Mode::VerifyFull,
            Some(_) => {
                let expected = "disable, prefer, require, verify-ca or verify-full";
                return Err(refused("sslmode", expected));
            }
        };
        // Anybody can get a certificate of a public authority, so only the name tells.
        if system && mode != Mode::VerifyFull {
            return Err(refused("sslmode", "verify-full beside sslrootcert=system"));
        }
        if self.root.is_none() && mode >= Mode::VerifyCa {
            let expected = "a file or the word system, since sslmode verifies the server";
            return Err(refused("sslrootcert", expected));
        }
        Ok(mode)
    }

    fn files(self) -> Result<Files, AddressError> {
        match (&self.certificate, &self.key) {
            (Some(_), None) => return Err(refused("sslkey", "a file beside sslcert")),
            (None, Some(_)) => return Err(refused("sslcert", "a file beside sslkey")),
            _ => {}
        }
        Ok(Files {
            root: self.root.map(Into::into),
            client: self
                .certificate
                .zip(self.key)
                .map(|(chain, key)| (chain.into(), key.into())),
        })
    }
}

fn refused(parameter: &'static str, expected: &'static str) -> AddressError {
    AddressError::Parameter {
        parameter,
        expected,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mode(parameters: &str) -> Mode {
        let url = format!("postgres://app@db/shop{parameters}");
        url.parse::<Address>().unwrap().mode
    }

    #[test]
    fn reads_modes_as_libpq_means_them() {
        for (parameters, expected) in [
            ("", Mode::Prefer),
            ("?sslmode=disable", Mode::Disable),
            ("?connect_timeout=3&sslmode=require", Mode::Require),
            ("?sslmode=verify-ca&sslrootcert=%2Fca.pem", Mode::VerifyCa),
            ("?sslrootcert=/ca.pem", Mode::Prefer),
            ("?sslrootcert=system", Mode::VerifyFull),
            ("?ssl%6Dode=require", Mode::Require),
        ] {
            assert_eq!(mode(parameters), expected, "{parameters}");
        }
    }

    #[test]
    fn names_the_parameter_that_is_wrong() {
        for (parameters, name) in [
            ("sslmode=allow", "sslmode"),
            ("sslmode=", "sslmode"),
            ("sslmode=require&sslmode=disable", "sslmode"),
            ("sslmode=require&sslrootcert=system", "sslmode"),
            ("sslmode=verify-full", "sslrootcert"),
            ("sslcert=/c.pem", "sslkey"),
            ("sslkey=/k.pem", "sslcert"),
            ("sslcrl=/c.pem", "sslcrl"),
        ] {
            let refused = format!("postgres://app:hunter2@db/shop?{parameters}").parse::<Address>();
            let Err(error @ AddressError::Parameter { .. }) = refused else {
                panic!("{parameters}: {refused:?}")
            };
            let said = error.to_string();
            assert!(said.starts_with(&format!("{name}: expected ")), "{said}");
        }
        for url in [
            "host=db sslmode=disable",
            "postgres://h:port/d",
            "mysql://h/d",
        ] {
            assert_eq!(
                url.parse::<Address>().unwrap_err(),
                AddressError::Form,
                "{url}"
            );
        }
    }

    #[test]
    fn leaves_the_rest_of_the_address_as_it_is() {
        let url = "postgres://app:a?sslmode=disable@db:99/shop?sslrootcert=/a%20b&options=-cx%3D1";
        let address: Address = url.parse().unwrap();
        let config = address.config();
        assert_eq!(config.get_password(), Some(&b"a?sslmode=disable"[..]));
        assert_eq!(
            (config.get_options(), config.get_ports()),
            (Some("-cx=1"), &[99][..])
        );
        assert_eq!(address.mode, Mode::Prefer);
        assert_eq!(address.files.root.as_deref(), Some("/a b".as_ref()));
        assert!(!format!("{address:?}").contains("a?ssl"));
        let missing = address.check().unwrap_err().to_string();
        assert_eq!(
            missing,
            "sslrootcert: its file cannot be read: entity not found"
        );
    }
}
