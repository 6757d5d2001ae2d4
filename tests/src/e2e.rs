//! Releases that fail on a real control plane, and the mesh that takes them back.

mod delivery;
mod fault;
mod observe;
mod scene;
mod story;

pub use delivery::{Delivery, Source};
pub use fault::Fault;
pub use observe::{Timeline, observe};
pub use scene::{App, Scene};
pub use story::{Told, tell};
