use crate::domain::kind::NAMESPACES;
use crate::domain::{Key, Kind, Refusal};

/// What a path is about.
#[derive(Debug, PartialEq)]
pub(super) enum Route {
    /// `/healthz`, `/livez`, `/readyz`.
    Health,
    /// `/version`.
    Version,
    /// `/api`.
    CoreVersions,
    /// `/apis`.
    Groups,
    /// `/apis/GROUP`.
    Group(String),
    /// `/api/v1` and `/apis/GROUP/VERSION`.
    Resources(String, String),
    /// `/openapi/v3`.
    Schemas,
    /// `/openapi/v3/api/v1` and `/openapi/v3/apis/GROUP/VERSION`.
    Schema(String, String),
    /// Objects.
    Objects(Target),
}

/// Which objects.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Target {
    pub(super) kind: &'static Kind,
    /// Empty for all namespaces and for cluster-scoped kinds.
    pub(super) namespace: String,
    /// Empty for a collection.
    pub(super) name: String,
    /// The subresource; empty for the object itself.
    pub(super) part: String,
}

impl Target {
    pub(super) fn key(&self) -> Key {
        Key::new(self.kind, &self.namespace, &self.name)
    }
}

impl Route {
    pub(super) fn parse(path: &str) -> Result<Self, Refusal> {
        let parts: Vec<&str> = path.split('/').filter(|part| !part.is_empty()).collect();
        let own = str::to_owned;
        match parts.as_slice() {
            ["healthz" | "livez" | "readyz", ..] => Ok(Self::Health),
            ["version"] => Ok(Self::Version),
            ["api"] => Ok(Self::CoreVersions),
            ["apis"] => Ok(Self::Groups),
            ["openapi", "v3"] => Ok(Self::Schemas),
            ["openapi", "v3", "api", version] => Ok(Self::Schema(String::new(), own(version))),
            ["openapi", "v3", "apis", group, version] => Ok(Self::Schema(own(group), own(version))),
            ["api", version] => Ok(Self::Resources(String::new(), own(version))),
            ["apis", group] => Ok(Self::Group(own(group))),
            ["apis", group, version] => Ok(Self::Resources(own(group), own(version))),
            ["api", version, rest @ ..] => objects("", version, rest),
            ["apis", group, version, rest @ ..] => objects(group, version, rest),
            _ => Err(Refusal::no_such_path()),
        }
    }
}

fn objects(group: &str, version: &str, rest: &[&str]) -> Result<Route, Refusal> {
    let target = |kind, namespace: &str, name: &str, part: &str| {
        let parts = ["", "status", "scale", "eviction", "finalize"];
        let known = parts.contains(&part) && served(kind, part);
        known
            .then(|| {
                Route::Objects(Target {
                    kind,
                    namespace: namespace.to_owned(),
                    name: name.to_owned(),
                    part: part.to_owned(),
                })
            })
            .ok_or_else(Refusal::no_such_path)
    };
    let find = |plural: &str| Kind::find(group, version, plural).ok_or_else(Refusal::no_such_path);
    match rest {
        ["namespaces", name, part @ ("status" | "finalize")] if group.is_empty() => {
            target(&NAMESPACES, "", name, part)
        }
        ["namespaces", namespace, plural, rest @ ..] => {
            let kind = find(plural)?;
            if !kind.namespaced {
                return Err(Refusal::no_such_path());
            }
            match rest {
                [] => target(kind, namespace, "", ""),
                [name] => target(kind, namespace, name, ""),
                [name, part] => target(kind, namespace, name, part),
                _ => Err(Refusal::no_such_path()),
            }
        }
        [plural] => target(find(plural)?, "", "", ""),
        [plural, name, rest @ ..] => {
            let kind = find(plural)?;
            match rest {
                _ if kind.namespaced => Err(Refusal::no_such_path()),
                [] => target(kind, "", name, ""),
                [part] => target(kind, "", name, part),
                _ => Err(Refusal::no_such_path()),
            }
        }
        [] => Err(Refusal::no_such_path()),
    }
}

fn served(kind: &Kind, part: &str) -> bool {
    match part {
        "status" => kind.status,
        "scale" => kind.scale,
        "eviction" => kind.kind == "Pod",
        "finalize" => kind.kind == "Namespace",
        _ => true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::kind::{DEPLOYMENTS, NODES, PODS};

    fn check(path: &str, kind: &'static Kind, rest: (&str, &str, &str)) {
        let (namespace, name, part) = rest;
        let expected = Target {
            kind,
            namespace: namespace.to_owned(),
            name: name.to_owned(),
            part: part.to_owned(),
        };
        assert_eq!(Route::parse(path), Ok(Route::Objects(expected)), "{path}");
    }

    #[test]
    fn finds_objects_by_every_form_of_path() {
        check("/api/v1/pods", &PODS, ("", "", ""));
        check("/api/v1/namespaces/shop/pods", &PODS, ("shop", "", ""));
        check(
            "/api/v1/namespaces/shop/pods/a/eviction",
            &PODS,
            ("shop", "a", "eviction"),
        );
        check(
            "/apis/apps/v1/namespaces/shop/deployments/web/scale",
            &DEPLOYMENTS,
            ("shop", "web", "scale"),
        );
        check("/api/v1/namespaces", &NAMESPACES, ("", "", ""));
        check("/api/v1/namespaces/shop", &NAMESPACES, ("", "shop", ""));
        check(
            "/api/v1/namespaces/shop/finalize",
            &NAMESPACES,
            ("", "shop", "finalize"),
        );
        check("/api/v1/nodes/n/status", &NODES, ("", "n", "status"));
    }

    #[test]
    fn refuses_paths_that_are_not_served() {
        for path in [
            "/",
            "/favicon.ico",
            "/api/v1/pods/a",
            "/api/v2/pods",
            "/apis/apps/v1/pods",
            "/api/v1/namespaces/shop/nodes",
            "/api/v1/namespaces/shop/pods/a/exec",
            "/api/v1/namespaces/shop/configmaps/a/status",
            "/api/v1/nodes/n/status/x",
        ] {
            assert_eq!(Route::parse(path), Err(Refusal::no_such_path()), "{path}");
        }
    }
}
