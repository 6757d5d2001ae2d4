//! Package URLs, as far as they name packages of OSV ecosystems. Source: the purl specification (ECMA-427).

/// The parts of a package URL.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Purl {
    /// Type, for example `npm`.
    pub kind: String,
    /// Namespace, for example `@types` or `debian`.
    pub namespace: Option<String>,
    /// Name.
    pub name: String,
    /// Version.
    pub version: Option<String>,
    qualifiers: Vec<(String, String)>,
}

impl Purl {
    /// Reads `pkg:type/namespace/name@version?qualifiers#subpath`.
    pub fn parse(text: &str) -> Option<Self> {
        let text = text.strip_prefix("pkg:")?.trim_start_matches('/');
        let text = text.split('#').next()?;
        let (text, query) = text.split_once('?').unwrap_or((text, ""));
        let (path, version) = match text.rsplit_once('@') {
            // An "@" that starts a segment belongs to an npm scope.
            Some((path, version)) if !path.ends_with('/') && !version.contains('/') => {
                (path, Some(decode(version)))
            }
            _ => (text, None),
        };
        let (kind, rest) = path.split_once('/')?;
        let (namespace, name) = rest
            .trim_matches('/')
            .rsplit_once('/')
            .map_or((None, rest), |(namespace, name)| {
                (Some(decode(namespace)), name)
            });
        let qualifiers = query
            .split('&')
            .filter_map(|pair| pair.split_once('='))
            .map(|(key, value)| (key.to_ascii_lowercase(), decode(value)))
            .collect();
        let name = decode(name.trim_matches('/'));
        (!name.is_empty()).then(|| Self {
            kind: kind.to_ascii_lowercase(),
            namespace,
            name,
            version,
            qualifiers,
        })
    }

    /// A qualifier such as `distro`.
    pub fn qualifier(&self, key: &str) -> Option<&str> {
        self.qualifiers
            .iter()
            .find(|(k, _)| k == key)
            .map(|(_, value)| value.as_str())
    }

    /// OSV ecosystem and package name, where OSV has that ecosystem.
    pub fn osv_package(&self) -> Option<(String, String)> {
        let joined = |separator: &str| {
            self.namespace.as_ref().map_or_else(
                || self.name.clone(),
                |namespace| format!("{namespace}{separator}{}", self.name),
            )
        };
        let fixed = |ecosystem: &str, name: String| Some((ecosystem.to_owned(), name));
        match self.kind.as_str() {
            "npm" => fixed("npm", joined("/")),
            "cargo" => fixed("crates.io", self.name.clone()),
            "golang" => fixed("Go", joined("/")),
            "pypi" => fixed("PyPI", normalize_pypi(&self.name)),
            "maven" => fixed("Maven", joined(":")),
            "gem" => fixed("RubyGems", self.name.clone()),
            "nuget" => fixed("NuGet", self.name.clone()),
            "composer" => fixed("Packagist", joined("/")),
            "hex" => fixed("Hex", self.name.clone()),
            "pub" => fixed("Pub", self.name.clone()),
            "deb" | "rpm" | "apk" => self.distribution_package(),
            _ => None,
        }
    }

    /// Distributions release their advisories a release, which the qualifier `distro` names.
    fn distribution_package(&self) -> Option<(String, String)> {
        let (ecosystem, whole_release) =
            match self.namespace.as_deref()?.to_ascii_lowercase().as_str() {
                "debian" => ("Debian", false),
                "ubuntu" => ("Ubuntu", true),
                "almalinux" => ("AlmaLinux", false),
                "rocky" | "rocky-linux" => ("Rocky Linux", false),
                "alpine" => ("Alpine", true),
                _ => return None,
            };
        let distro = self.qualifier("distro")?;
        let release = distro.rsplit('-').next().unwrap_or(distro);
        let release = if whole_release {
            release
        } else {
            release.split('.').next().unwrap_or(release)
        };
        // Debian names source packages.
        let source = self
            .qualifier("upstream")
            .and_then(|upstream| upstream.split('@').next())
            .filter(|_| self.kind == "deb");
        Some((
            format!("{ecosystem}:{release}"),
            source.unwrap_or(&self.name).to_owned(),
        ))
    }

    /// The installed version with its RPM epoch, which purl keeps apart.
    pub fn full_version(&self) -> Option<String> {
        let version = self.version.as_ref()?;
        Some(match self.qualifier("epoch") {
            Some(epoch) if self.kind == "rpm" && !version.contains(':') => {
                format!("{epoch}:{version}")
            }
            _ => version.clone(),
        })
    }
}

/// The purl of a package of a language ecosystem.
pub fn language_purl(ecosystem: &str, name: &str, version: &str) -> String {
    let kind = match ecosystem {
        "crates.io" => "cargo",
        "PyPI" => "pypi",
        "Go" => "golang",
        _ => "npm",
    };
    format!(
        "pkg:{kind}/{}@{}",
        name.replace('@', "%40"),
        version.replace('+', "%2B")
    )
}

/// Python names ignore case and the kind of separator. Source: PEP 503, "Normalized Names".
pub fn normalize_pypi(name: &str) -> String {
    let mut normal = String::with_capacity(name.len());
    for part in name.split(['-', '_', '.']).filter(|part| !part.is_empty()) {
        if !normal.is_empty() {
            normal.push('-');
        }
        normal.push_str(&part.to_ascii_lowercase());
    }
    normal
}

fn decode(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&first, tail)) = rest.split_first() {
        let escaped = (first == b'%')
            .then(|| tail.get(..2))
            .flatten()
            .and_then(|hex| u8::from_str_radix(std::str::from_utf8(hex).ok()?, 16).ok());
        bytes.push(escaped.unwrap_or(first));
        rest = if escaped.is_some() {
            tail.get(2..).unwrap_or_default()
        } else {
            tail
        };
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(purl: &str, ecosystem: &str, name: &str, version: &str) {
        let parsed = Purl::parse(purl).unwrap();
        assert_eq!(
            parsed.osv_package(),
            Some((ecosystem.into(), name.into())),
            "{purl}"
        );
        assert_eq!(parsed.full_version().as_deref(), Some(version), "{purl}");
    }

    #[test]
    fn names_packages_as_osv_does() {
        check(
            "pkg:npm/%40angular/animation@12.3.1",
            "npm",
            "@angular/animation",
            "12.3.1",
        );
        check(
            "pkg:npm/@angular/animation@12.3.1",
            "npm",
            "@angular/animation",
            "12.3.1",
        );
        check("pkg:cargo/rand@0.7.2", "crates.io", "rand", "0.7.2");
        check(
            "pkg:golang/google.golang.org/genproto@v0.1.0#googleapis/api/annotations",
            "Go",
            "google.golang.org/genproto",
            "v0.1.0",
        );
        check(
            "pkg:pypi/Django_package@1.11.1.dev1",
            "PyPI",
            "django-package",
            "1.11.1.dev1",
        );
        check(
            "pkg:maven/org.apache.xmlgraphics/batik-anim@1.9.1?packaging=sources",
            "Maven",
            "org.apache.xmlgraphics:batik-anim",
            "1.9.1",
        );
        check(
            "pkg:deb/debian/libssl3@3.0.15-1~deb12u1?arch=amd64&distro=debian-12.8&upstream=openssl",
            "Debian:12",
            "openssl",
            "3.0.15-1~deb12u1",
        );
        check(
            "pkg:rpm/almalinux/openssl-libs@3.0.7-28.el9_4?arch=x86_64&epoch=1&distro=almalinux-9.4",
            "AlmaLinux:9",
            "openssl-libs",
            "1:3.0.7-28.el9_4",
        );
        check(
            "pkg:cargo/wasi@0.11.0%2Bwasi-snapshot",
            "crates.io",
            "wasi",
            "0.11.0+wasi-snapshot",
        );
    }

    #[test]
    fn what_osv_does_not_know_has_no_package() {
        assert_eq!(
            Purl::parse("pkg:docker/cassandra@sha256:244fd47e07").and_then(|p| p.osv_package()),
            None
        );
        assert_eq!(
            Purl::parse("pkg:deb/debian/curl@7.50.3-1?arch=i386").and_then(|p| p.osv_package()),
            None
        );
        assert_eq!(Purl::parse("npm/left-pad@1"), None);
        assert_eq!(Purl::parse("pkg:npm/"), None);
    }

    #[test]
    fn a_language_purl_reads_back_as_itself() {
        for (ecosystem, name, version) in [
            ("npm", "@types/node", "20.1.0"),
            ("crates.io", "serde", "1.0.0+b"),
            ("Go", "golang.org/x/net", "v0.1.0"),
        ] {
            let purl = Purl::parse(&language_purl(ecosystem, name, version)).unwrap();
            assert_eq!(purl.osv_package(), Some((ecosystem.into(), name.into())));
            assert_eq!(purl.version.as_deref(), Some(version));
        }
    }
}
