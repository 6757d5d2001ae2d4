//! PostgreSQL databases as targets.

mod batch;
mod catalog;
mod count;
mod fill;
mod lock;
mod message;
mod prepared;
mod recipes;
mod session;
mod shadow;
mod stamp;
mod tenant;
mod values;
mod watch;

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use futures::join;
use store::postgres::{Address, ConnectError};
use tokio::{task::JoinHandle, time::sleep};
use tokio_postgres::{Client, error::SqlState};

use super::{
    question::Value,
    target::{Session, Shadow, Target, TargetError},
};
use crate::domain::{Dialect, Tenant, redact};
use lock::application_name;
use prepared::{Named, Prepared, ReadOften};
use session::PostgresSession;
use shadow::Scratch;
use values::{integer, query};

const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// How long a refused connection counts as one.
const CROWDED_PAUSE: Duration = Duration::from_millis(10);
const CROWDED_TRIES: u32 = 20;
/// The server notices the death of a client within half a second, also while it works on its statement, and that of its
/// machine within ten. Compiling the query of the catalog would take longer than running it.
const STARTUP: &str = "-c client_connection_check_interval=500 -c lock_timeout=0 -c statement_timeout=0 -c idle_in_transaction_session_timeout=0 -c jit=off \
    -c tcp_keepalives_idle=5 -c tcp_keepalives_interval=2 -c tcp_keepalives_count=3 -c tcp_user_timeout=10000";

/// A database on a PostgreSQL server (14 or newer). Its `Debug` shows host and database, never the password.
#[derive(Debug, Clone)]
pub struct PostgresTarget {
    address: Address,
    owner: Option<String>,
    tenant: Option<Tenant>,
    memory: stamp::Memory,
}

impl PostgresTarget {
    /// A target whose sessions act as the role `owner`.
    pub fn new(mut address: Address, owner: Option<String>) -> Self {
        let config = address.config_mut();
        if config.get_connect_timeout().is_none() {
            config.connect_timeout(CONNECT_TIMEOUT);
        }
        let options = config
            .get_options()
            .map_or_else(|| STARTUP.to_owned(), |own| format!("{own} {STARTUP}"));
        // As a setting of the connection it is what RESET ROLE leads back to.
        let role = owner
            .as_ref()
            .map_or_else(String::new, |owner| format!(" -c role={owner}"));
        config.options(options + &role);
        Self {
            address,
            owner,
            tenant: None,
            memory: stamp::Memory::default(),
        }
    }

    /// The same database for one tenant: unqualified names lead to its schema, and nothing else is looked at.
    #[must_use]
    pub fn of_tenant(mut self, tenant: Tenant) -> Self {
        let config = self.address.config_mut();
        let options = config.get_options().unwrap_or_default().to_owned();
        config.options(format!("{options} {}", tenant.search_path()));
        Self {
            tenant: Some(tenant),
            memory: stamp::Memory::default(),
            ..self
        }
    }

    async fn session(
        &self,
        link: Link,
        second: Option<Link>,
    ) -> Result<PostgresSession, TargetError> {
        if let Some(tenant) = &self.tenant {
            tenant::refuse_absent(&link.client, tenant).await?;
        }
        Ok(PostgresSession {
            backend: backend(&link.client).await?,
            link,
            second,
            prepared: Prepared::default(),
            named: Named::default(),
            address: self.address.clone(),
            owner: None,
            scratch: None,
            memory: Some(self.memory.clone()),
            read_often: ReadOften::default(),
            acts_for_another: self.owner.is_some(),
            tenant: self.tenant.clone(),
        })
    }
}

#[async_trait]
impl Target for PostgresTarget {
    fn dialect(&self) -> Dialect {
        Dialect::Postgres
    }

    fn tenant(&self) -> Option<&Tenant> {
        self.tenant.as_ref()
    }

    fn of_tenant(&self, tenant: Tenant) -> Option<Arc<dyn Target>> {
        let whole = self.tenant.is_none();
        whole.then(|| Arc::new(self.clone().of_tenant(tenant)) as Arc<dyn Target>)
    }

    fn shadows(&self) -> &'static [Shadow] {
        &[Shadow::Empty, Shadow::Copy]
    }

    async fn connect(&self, run: &str) -> Result<Box<dyn Session>, TargetError> {
        let link = connect(&self.address, run).await?;
        Ok(Box::new(self.session(link, None).await?))
    }

    async fn connect_to_own(&self, run: &str) -> Result<Box<dyn Session>, TargetError> {
        let (link, second) = connect_twice(&self.address, run).await?;
        Ok(Box::new(self.session(link, second).await?))
    }

    async fn connect_twice(
        &self,
        run: &str,
    ) -> Result<(Box<dyn Session>, Option<Box<dyn Session>>), TargetError> {
        let (first, second) = connect_twice(&self.address, run).await?;
        let first = self.session(first, None).await?;
        let second = match second {
            Some(second) => Some(self.session(second, None).await?),
            None => None,
        };
        Ok((
            Box::new(first),
            second.map(|second| Box::new(second) as Box<dyn Session>),
        ))
    }

    async fn shadow(
        &self,
        kind: Shadow,
        run: &str,
        live: &mut dyn Session,
    ) -> Result<Box<dyn Session>, TargetError> {
        let (scratch, address) =
            Scratch::create((&self.address, self.owner.as_deref()), kind, run, live).await?;
        let linked = match connect(&address, run).await {
            Ok(link) => match &self.tenant {
                Some(tenant) if kind == Shadow::Empty => {
                    tenant::furnish(&link.client, tenant, live)
                        .await
                        .map(|()| link)
                }
                _ => Ok(link),
            },
            Err(error) => Err(error),
        };
        match linked {
            Ok(link) => Ok(Box::new(PostgresSession {
                backend: backend(&link.client).await?,
                link,
                second: None,
                prepared: Prepared::default(),
                named: Named::default(),
                address,
                owner: None,
                scratch: Some(scratch),
                memory: None,
                read_often: ReadOften::default(),
                acts_for_another: self.owner.is_some(),
                tenant: self.tenant.clone(),
            })),
            Err(error) => {
                scratch.drop_database().await?;
                Err(error)
            }
        }
    }
}

/// A client and the task that moves its bytes.
#[derive(Debug)]
struct Link {
    client: Client,
    task: JoinHandle<()>,
}

impl Link {
    /// Ends the connection and waits for it: afterwards the server knows, and its locks are free.
    async fn close(self) {
        drop(self.client);
        if self.task.await.is_err() {
            tracing::debug!("the task of a connection ended early");
        }
    }
}

async fn connect(address: &Address, run: &str) -> Result<Link, TargetError> {
    let mut address = address.clone();
    address.config_mut().application_name(application_name(run));
    let (client, connection) = address.connect().await?;
    let task = tokio::spawn(async move {
        if let Err(error) = connection.await {
            tracing::debug!(%error, "the connection to a target ended");
        }
    });
    Ok(Link { client, task })
}

/// Two connections, or one where the server gives no more.
async fn connect_twice(address: &Address, run: &str) -> Result<(Link, Option<Link>), TargetError> {
    let both = join!(connect(address, run), connect(address, run));
    let mut error = match both {
        (Ok(first), second) => return Ok((first, second.ok())),
        (Err(_), Ok(second)) => return Ok((second, None)),
        (Err(error), Err(_)) => error,
    };
    // Each may have been in the other's way, and be still.
    for _ in 0..CROWDED_TRIES {
        if !is_crowded(&error) {
            break;
        }
        sleep(CROWDED_PAUSE).await;
        error = match connect(address, run).await {
            Ok(one) => return Ok((one, None)),
            Err(error) => error,
        };
    }
    Err(error)
}

fn is_crowded(error: &TargetError) -> bool {
    let TargetError::Unreachable(cause) = error else {
        return false;
    };
    let refusal = cause.downcast_ref::<tokio_postgres::Error>();
    refusal.and_then(tokio_postgres::Error::code) == Some(&SqlState::TOO_MANY_CONNECTIONS)
}

async fn backend(client: &Client) -> Result<i64, TargetError> {
    integer(client, "SELECT pg_backend_pid()::bigint", &[]).await
}

impl From<ConnectError> for TargetError {
    fn from(error: ConnectError) -> Self {
        match error {
            ConnectError::Postgres(error) => error.into(),
            ConnectError::Address(error) => Self::Unreachable(error.into()),
        }
    }
}

impl From<tokio_postgres::Error> for TargetError {
    fn from(error: tokio_postgres::Error) -> Self {
        let Some(refusal) = error.as_db_error() else {
            return Self::Unreachable(error.into());
        };
        let code = refusal.code().code();
        match code {
            "55P03" | "40P01" => Self::LockTimeout,
            _ if code.starts_with("57P")
                || code.starts_with("08")
                || code.starts_with("28")
                || code == "3D000"
                || code == "53300" =>
            {
                Self::Unreachable(error.into())
            }
            _ => Self::Sql {
                code: code.to_owned(),
                message: redact::postgres(code, refusal.message()),
            },
        }
    }
}
