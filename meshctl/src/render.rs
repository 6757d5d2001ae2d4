//! `meshctl render`: deployment files and dashboards, computed from the manifests alone.
//!
//! The files in `deploy/` are never edited by hand; `--check` says which of them no longer are what the
//! manifests say.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    process::ExitCode,
};

use anyhow::Context as _;
use manifest::Fleet;

mod emit;
mod grafana;
mod istio;
mod kubernetes;
mod site;

use site::Site;

/// The folders that hold nothing but rendered files.
const FOLDERS: [&str; 3] = ["grafana", "istio", "kubernetes"];

/// Rendered files: paths below the output folder, with their text.
type Tree = BTreeMap<PathBuf, String>;

/// Flags of `render`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Folder with all manifests and mesh.yaml.
    #[arg(long, value_name = "DIR", default_value = "manifests")]
    manifests: PathBuf,
    /// Folder to render into.
    #[arg(long, value_name = "DIR", default_value = "deploy")]
    out: PathBuf,
    /// Write nothing; list the files that are not up to date and exit with 1 when there are any.
    #[arg(long)]
    check: bool,
    #[command(flatten)]
    site: Site,
}

/// Renders, or checks what is there.
pub(crate) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let fleet = manifest::load_dir(&args.manifests)
        .with_context(|| format!("cannot load the manifests in {}", args.manifests.display()))?;
    let tree = render(&fleet, &args.site)?;
    let stale = stale(&tree, &args.out)?;
    if args.check {
        for (path, why) in &stale {
            println!("{why}: {}", args.out.join(path).display());
        }
        return Ok(ExitCode::from(u8::from(!stale.is_empty())));
    }
    for (path, text) in &tree {
        write(&args.out.join(path), text)?;
    }
    println!(
        "{} files in {}, {} of them new or changed",
        tree.len(),
        args.out.display(),
        stale.values().filter(|why| **why != LEFT_OVER).count()
    );
    for (path, _) in stale.iter().filter(|(_, why)| **why == LEFT_OVER) {
        println!("{LEFT_OVER}: {}", args.out.join(path).display());
    }
    Ok(ExitCode::SUCCESS)
}

/// Everything that follows from the manifests.
fn render(fleet: &Fleet, site: &Site) -> anyhow::Result<Tree> {
    let mut tree = Tree::new();
    for (folder, files) in [
        ("kubernetes", kubernetes::files(fleet, site)?),
        ("istio", istio::files(fleet, site)?),
        ("grafana", grafana::files(fleet)?),
    ] {
        tree.extend(
            files
                .into_iter()
                .map(|(name, text)| (Path::new(folder).join(name), text)),
        );
    }
    Ok(tree)
}

const LEFT_OVER: &str = "left over";

/// The files below `out` that differ from the tree, with how.
fn stale(tree: &Tree, out: &Path) -> anyhow::Result<BTreeMap<PathBuf, &'static str>> {
    let mut stale = BTreeMap::new();
    for (path, text) in tree {
        match fs::read_to_string(out.join(path)) {
            Ok(found) if found == *text => {}
            Ok(_) => drop(stale.insert(path.clone(), "stale")),
            Err(_) => drop(stale.insert(path.clone(), "missing")),
        }
    }
    for folder in FOLDERS {
        for path in present(out, Path::new(folder))? {
            if !tree.contains_key(&path) {
                stale.insert(path, LEFT_OVER);
            }
        }
    }
    Ok(stale)
}

/// All files of a folder, as paths below `out`.
fn present(out: &Path, folder: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    let Ok(entries) = fs::read_dir(out.join(folder)) else {
        return Ok(found);
    };
    for entry in entries {
        let entry = entry.with_context(|| format!("cannot list {}", folder.display()))?;
        let path = folder.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            found.extend(present(out, &path)?);
        } else {
            found.push(path);
        }
    }
    Ok(found)
}

fn write(path: &Path, text: &str) -> anyhow::Result<()> {
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
    }
    fs::write(path, text).with_context(|| format!("cannot write {}", path.display()))
}
