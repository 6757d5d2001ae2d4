//! Who is who: SPIFFE ids, keys, certificates, decentralised identifiers, and the peers of a connection.
//!
//! An agent is its SPIFFE id `spiffe://<trust domain>/ns/<namespace>/sa/<agent>`, the only URI in its
//! certificate ([`TlsIdentity`], [`Authority`]). It signs with an Ed25519 key ([`SigningKey`]) whose first one
//! gives its [`Did`]; [`Directory`] ties the two together. [`transport::serve`] runs a listener whose
//! requests carry the verified caller, and [`TlsIdentity::client_config`] is the other end of it.

pub mod authority;
pub mod did;
pub mod directory;
mod files;
pub mod id;
pub mod keys;
mod principal;
pub mod tls;
pub mod transport;

pub use authority::{Authority, CertificatePair};
pub use did::{Did, DidDocument};
pub use directory::{Directory, DirectoryEntry, ListedKey};
pub use id::{AgentUri, IdError, IdKind, SpiffeId};
pub use keys::{KeyError, PublicKey, SigningKey};
pub use principal::{Principal, PrincipalKind};
pub use tls::{TlsFiles, TlsIdentity};
pub use transport::{
    Cidr, HeaderFamily, Limits, Mode, PeerAddress, PeerIdentity, PeerRefused, serve,
};

#[cfg(test)]
mod fixture;
