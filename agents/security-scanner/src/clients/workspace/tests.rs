use std::os::unix::fs::symlink;

use tempfile::TempDir;

use super::*;

fn workspace() -> (TempDir, Workspace) {
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir_all(folder.path().join("root/sub/.git/objects")).unwrap();
    fs::write(folder.path().join("outside.txt"), "outside").unwrap();
    fs::write(folder.path().join("root/a.txt"), "a").unwrap();
    fs::write(folder.path().join("root/sub/b.txt"), "b").unwrap();
    fs::write(folder.path().join("root/sub/.gitignore"), "b.txt").unwrap();
    fs::write(folder.path().join("root/sub/.git/objects/pack"), "x").unwrap();
    let workspace = Workspace::open(&folder.path().join("root")).unwrap();
    (folder, workspace)
}

fn names(workspace: &Workspace, paths: &[&str]) -> Result<Vec<String>, String> {
    let paths: Vec<String> = paths.iter().map(ToString::to_string).collect();
    workspace
        .list(&paths)
        .map(|listing| listing.files.into_iter().map(|file| file.name).collect())
        .map_err(|error| error.to_string())
}

#[test]
fn lists_files_once_and_ignores_gitignore() {
    let (_folder, workspace) = workspace();
    assert_eq!(
        names(&workspace, &[".", "a.txt", "sub/b.txt"]).unwrap(),
        ["a.txt", "sub/.gitignore", "sub/b.txt"]
    );
}

#[test]
fn refuses_paths_that_lead_out_and_says_which() {
    let (folder, workspace) = workspace();
    symlink(
        folder.path().join("outside.txt"),
        folder.path().join("root/link"),
    )
    .unwrap();
    let absolute = folder.path().join("root/a.txt");
    for (path, got) in [
        ("../outside.txt", "a path with `..`"),
        ("sub/../../outside.txt", "a path with `..`"),
        (absolute.to_str().unwrap(), "an absolute path"),
        ("link", "a symbolic link that leads out of the workspace"),
        (".", "a symbolic link that leads out of the workspace"),
        ("missing", "nothing there"),
        ("a.txt/b", "nothing there"),
        ("", "an empty path or one with a zero byte"),
    ] {
        let error = names(&workspace, &["a.txt", path]).unwrap_err();
        assert!(
            error.starts_with("path 1: ") && error.ends_with(got),
            "{path}: {error}"
        );
    }
    assert!(
        names(&Workspace::default(), &["a.txt"])
            .unwrap_err()
            .contains("--workspace")
    );
}

#[test]
fn refuses_loops_of_links() {
    let (folder, workspace) = workspace();
    symlink("two", folder.path().join("root/one")).unwrap();
    symlink("one", folder.path().join("root/two")).unwrap();
    assert!(
        names(&workspace, &["one"])
            .unwrap_err()
            .ends_with("a loop of symbolic links")
    );
    assert!(
        names(&workspace, &["."])
            .unwrap_err()
            .ends_with("a loop of symbolic links")
    );
    symlink("..", folder.path().join("root/sub/up")).unwrap();
    assert!(
        names(&workspace, &["sub"])
            .unwrap_err()
            .ends_with("a symbolic link to a folder that it is in")
    );
}

#[test]
fn counts_links_to_other_places_of_the_root() {
    let (folder, workspace) = workspace();
    symlink("../a.txt", folder.path().join("root/sub/c.txt")).unwrap();
    symlink("gone", folder.path().join("root/sub/d.txt")).unwrap();
    let listing = workspace.list(&[String::from(".")]).unwrap();
    assert_eq!((listing.files.len(), listing.links), (3, 2));
}

#[test]
fn tells_text_from_binary_and_from_too_much() {
    let (folder, workspace) = workspace();
    let read = |name: &str, bytes: &[u8]| {
        fs::write(folder.path().join("root").join(name), bytes).unwrap();
        let listing = workspace.list(&[name.to_owned()]).unwrap();
        workspace.read(&listing.files[0]).unwrap()
    };
    assert!(matches!(read("elf", b"\x7fELF\0\0"), Content::Binary));
    assert!(matches!(read("utf16", b"\xff\xfet\0o\0k\0"), Content::Text(text) if text == "tok"));
    assert!(
        matches!(read("latin1", b"caf\xe9 token"), Content::Text(text) if text.ends_with("token"))
    );
    assert!(matches!(
        read("big", &vec![b'a'; 5 * 1024 * 1024 + 1]),
        Content::TooLarge
    ));
    assert!(matches!(
        read("full", &vec![b'a'; 5 * 1024 * 1024]),
        Content::Text(_)
    ));
}
