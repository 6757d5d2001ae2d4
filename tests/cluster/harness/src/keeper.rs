//! Runs the programs so that they end with this process, however it ends.

use std::{
    fmt::Write as _,
    fs,
    io::Write as _,
    os::unix::process::CommandExt as _,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

use anyhow::Context as _;

/// Starts each script that standard input names, kills them all when it closes, which also happens when the test process
/// is killed, and removes the folder. Their data is worth nothing afterwards, so nobody is asked to stop.
const KEEPER: &str = r#"folder=$1; programs=
while read -r script; do /bin/sh "$script" </dev/null >/dev/null 2>&1 & programs="$programs $!"; done
kill -KILL $programs; wait; rm -rf "$folder""#;

/// Some programs and the folder of their files.
#[derive(Debug)]
pub(crate) struct Keeper {
    shell: Child,
    folder: PathBuf,
}

impl Keeper {
    /// Makes the folder.
    pub(crate) fn start() -> anyhow::Result<Self> {
        let folder = tempfile::Builder::new()
            .prefix("control-plane-")
            .tempdir()
            .context("cannot make a folder for the control plane")?
            .keep();
        let shell = Command::new("/bin/sh")
            .args(["-c", KEEPER, "keeper"])
            .arg(&folder)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            // Ctrl-C goes to the test process alone, whose end is what the keeper waits for.
            .process_group(0)
            .spawn()
            .context("cannot start /bin/sh")?;
        Ok(Self { shell, folder })
    }

    /// The folder.
    pub(crate) fn folder(&self) -> &Path {
        &self.folder
    }

    /// Starts a program with flags, each `--name=value`; what it prints goes to its log.
    pub(crate) fn run(&mut self, program: &Path, flags: &[String]) -> anyhow::Result<()> {
        let name = program
            .file_name()
            .context("a program has a name")?
            .to_string_lossy();
        let mut script = format!("exec {}", quote(&program.to_string_lossy()));
        for flag in flags {
            write!(script, " {}", quote(flag))?;
        }
        let log = self.log_file(&name);
        write!(script, " >{} 2>&1", quote(&log.to_string_lossy()))?;
        // Programs keep caches at home and read settings from there; this one is empty.
        let home = quote(&self.folder.to_string_lossy());
        let file = self.folder.join(format!("{name}.sh"));
        fs::write(&file, format!("export HOME={home}\n{script}\n"))?;
        let input = self.shell.stdin.as_mut().context("the keeper has ended")?;
        writeln!(input, "{}", file.display()).context("the keeper has ended")?;
        input.flush().context("the keeper has ended")
    }

    /// What a program has printed.
    pub(crate) fn log(&self, program: &str) -> String {
        fs::read(self.log_file(program))
            .map(|text| String::from_utf8_lossy(&text).into_owned())
            .unwrap_or_default()
    }

    fn log_file(&self, program: &str) -> PathBuf {
        self.folder.join(format!("{program}.log"))
    }
}

impl Drop for Keeper {
    fn drop(&mut self) {
        drop(self.shell.stdin.take());
        // Nothing is left to do for a keeper that cannot be waited for.
        self.shell.wait().ok();
    }
}

/// A word of a shell command.
fn quote(text: &str) -> String {
    format!("'{}'", text.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use std::{
        io::{BufRead as _, BufReader},
        thread::sleep,
        time::Duration,
    };

    use super::*;

    /// How often an end is looked for, every 20 ms: a minute.
    const LOOKS: usize = 3000;

    /// A program that prints its process id and never ends.
    fn keep() -> (Keeper, PathBuf) {
        let mut keeper = Keeper::start().unwrap();
        let endless = ["-c", "echo $$; exec sleep 1000"].map(str::to_owned);
        keeper.run(Path::new("/bin/sh"), &endless).unwrap();
        eventually(|| keeper.log("sh").ends_with('\n'));
        let process = PathBuf::from(format!("/proc/{}", keeper.log("sh").trim()));
        assert!(process.exists());
        (keeper, process)
    }

    fn eventually(condition: impl Fn() -> bool) {
        let mut looks = 0..LOOKS;
        while !condition() {
            assert!(looks.next().is_some(), "it never came true");
            sleep(Duration::from_millis(20));
        }
    }

    #[test]
    fn programs_and_files_go_with_the_value() {
        let (keeper, process) = keep();
        let folder = keeper.folder().to_owned();
        drop(keeper);
        assert!(!process.exists() && !folder.exists());
    }

    #[test]
    #[ignore = "the test below starts it in a process of its own and kills that"]
    fn keeps_a_program_until_killed() {
        let (keeper, process) = keep();
        println!("kept\t{}\t{}", process.display(), keeper.folder().display());
        sleep(Duration::from_mins(10));
    }

    #[test]
    fn programs_and_files_go_with_a_killed_process() {
        let mut holder = Command::new(std::env::current_exe().unwrap())
            .args(["--ignored", "--exact", "--nocapture"])
            .arg("keeper::tests::keeps_a_program_until_killed")
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(holder.stdout.take().unwrap()).lines();
        let kept = lines
            .map(Result::unwrap)
            .find_map(|line| Some(line.split_once("kept\t")?.1.to_owned()))
            .unwrap();
        let (process, folder) = kept.split_once('\t').unwrap();
        assert!(Path::new(process).exists() && Path::new(folder).exists());
        holder.kill().unwrap();
        holder.wait().unwrap();
        eventually(|| !Path::new(process).exists() && !Path::new(folder).exists());
    }
}
