//! `meshctl manifest`: validate, score and show OSSA manifests.

mod show;

use std::{
    fs,
    io::Read as _,
    path::{Path, PathBuf},
    process::ExitCode,
};

use ::manifest::{
    Document, Edges, Finding, Manifest, Mesh, Position, Profile, Score, Severity, Standing,
    SyntaxError, Verdict, compile_edges, schema,
    semantics::{self, Mode, Peers},
};
use anyhow::Context as _;
use serde::Serialize;
use serde_json::Value;

use crate::table::table;

/// Arguments of `meshctl manifest`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, clap::Subcommand)]
enum Action {
    /// Give the two verdicts, schema and semantics, which never mix; exit code 1 when one of them fails.
    Validate(Validate),
    /// Score against conformance profiles; exit code 1 when one is not passed.
    Score(ScoreArgs),
    /// Show what an agent would rely on.
    Show(Show),
}

#[derive(Debug, clap::Args)]
struct Validate {
    /// Manifests. A mesh.yaml beside one is taken as the mesh around it.
    #[arg(required = true)]
    files: Vec<PathBuf>,
    /// Refuse keys that neither the standard nor the announcement's overlay knows.
    #[arg(long)]
    strict: bool,
    /// Hold to this JSON Schema instead of the built-in rules.
    #[arg(long, value_name = "FILE")]
    schema: Option<PathBuf>,
    /// Print one JSON object.
    #[arg(long)]
    json: bool,
}

#[derive(Debug, clap::Args)]
struct ScoreArgs {
    /// Manifests.
    #[arg(required = true)]
    files: Vec<PathBuf>,
    /// Conformance profiles [default: baseline, enterprise and gitlab-kagent].
    #[arg(long, value_name = "FILE")]
    profile: Vec<PathBuf>,
    /// Print one JSON object.
    #[arg(long)]
    json: bool,
}

#[derive(Debug, clap::Args)]
struct Show {
    /// Manifests.
    #[arg(required = true)]
    files: Vec<PathBuf>,
    /// Print one JSON object.
    #[arg(long)]
    json: bool,
}

/// Runs `meshctl manifest`.
pub(crate) fn run(args: Args) -> anyhow::Result<ExitCode> {
    let ok = match args.action {
        Action::Validate(args) => validate(&args)?,
        Action::Score(args) => score(&args)?,
        Action::Show(args) => show::show(&args)?,
    };
    Ok(if ok {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

/// What is said about one file. A file that is no YAML fails by schema, and nothing is said about its meaning.
#[derive(Serialize)]
struct Judgement {
    file: String,
    held_to: String,
    schema: JudgedVerdict,
    semantics: Option<JudgedVerdict>,
}

#[derive(Serialize)]
struct JudgedVerdict {
    valid: bool,
    findings: Vec<Finding>,
}

impl From<Verdict> for JudgedVerdict {
    fn from(verdict: Verdict) -> Self {
        Self {
            valid: verdict.is_valid(),
            findings: verdict.findings,
        }
    }
}

impl Judgement {
    fn is_valid(&self) -> bool {
        self.schema.valid && self.semantics.as_ref().is_some_and(|verdict| verdict.valid)
    }
}

fn validate(args: &Validate) -> anyhow::Result<bool> {
    let schema = args.schema.as_deref().map(load_json).transpose()?;
    let judged = args
        .files
        .iter()
        .map(|file| judge(file, schema.as_ref(), args.strict));
    let judgements: Vec<Judgement> = judged.collect::<anyhow::Result<_>>()?;
    let valid = judgements.iter().all(Judgement::is_valid);
    if args.json {
        crate::say(format_args!(
            "{}",
            serde_json::to_string_pretty(
                &serde_json::json!({"valid": valid, "files": judgements})
            )?
        ));
    } else {
        print_judgements(&judgements);
    }
    Ok(valid)
}

fn judge(file: &Path, named_schema: Option<&Value>, strict: bool) -> anyhow::Result<Judgement> {
    let name = file.display().to_string();
    let document = match Document::parse(&read(file)?) {
        Ok(document) => document,
        Err(error) => return Ok(unreadable(name, error)),
    };
    let schema = match named_schema {
        Some(schema) => schema::validate_against(schema, &document)?,
        None => schema::check(&document),
    };
    let held_to = match (named_schema, schema::Version::of(&document)) {
        (Some(_), _) => "the named schema".to_owned(),
        (None, Some(version)) => version.to_string(),
        (None, None) => "no known version".to_owned(),
    };
    let neighbours = Neighbours::of(file)?;
    let peers = neighbours.as_ref().map(|n| Peers {
        mesh: &n.mesh,
        manifests: &n.manifests,
    });
    let mode = if strict { Mode::Strict } else { Mode::Lenient };
    let semantics = semantics::check(&document, peers, mode);
    Ok(Judgement {
        file: name,
        held_to,
        schema: schema.into(),
        semantics: Some(semantics.into()),
    })
}

fn unreadable(file: String, error: SyntaxError) -> Judgement {
    let finding = Finding {
        severity: Severity::Error,
        code: "OSSA-011",
        pointer: String::new(),
        expected: "YAML 1.2 that JSON can hold".into(),
        got: error.message,
        position: Some(error.position),
    };
    let schema = JudgedVerdict {
        valid: false,
        findings: vec![finding],
    };
    Judgement {
        file,
        held_to: "YAML 1.2".into(),
        schema,
        semantics: None,
    }
}

/// The mesh around a manifest: mesh.yaml and the manifests in the same folder.
struct Neighbours {
    mesh: Mesh,
    manifests: Vec<Manifest>,
}

impl Neighbours {
    fn of(file: &Path) -> anyhow::Result<Option<Self>> {
        let folder = file
            .parent()
            .filter(|folder| !folder.as_os_str().is_empty())
            .unwrap_or_else(|| Path::new("."));
        let mesh = folder.join("mesh.yaml");
        if !mesh.is_file() {
            return Ok(None);
        }
        let mesh =
            Mesh::parse(&read(&mesh)?).with_context(|| format!("cannot use {}", mesh.display()))?;
        let mut manifests = Vec::new();
        for entry in
            fs::read_dir(folder).with_context(|| format!("cannot read {}", folder.display()))?
        {
            let path = entry?.path();
            if path.to_string_lossy().ends_with(".ossa.yaml") {
                let text = read(&path)?;
                // A neighbour that cannot be read has its own verdict; here it only has no skills.
                let decoded = Document::parse(&text)
                    .ok()
                    .and_then(|document| Manifest::decode(&document, &text).ok());
                manifests.extend(decoded);
            }
        }
        Ok(Some(Self { mesh, manifests }))
    }

    fn edges(&self) -> Option<Edges> {
        compile_edges(&self.manifests, &self.mesh).ok()
    }
}

fn print_judgements(judgements: &[Judgement]) {
    let word = |verdict: Option<&JudgedVerdict>| match verdict {
        None => "-".to_owned(),
        Some(verdict) => {
            let errors = verdict
                .findings
                .iter()
                .filter(|finding| finding.severity == Severity::Error)
                .count();
            let warnings = verdict.findings.len() - errors;
            match (errors, warnings) {
                (0, 0) => "valid".to_owned(),
                (0, warnings) => format!("valid, {warnings} warnings"),
                (errors, 0) => format!("{errors} errors"),
                (errors, warnings) => format!("{errors} errors, {warnings} warnings"),
            }
        }
    };
    let rows = judgements.iter().map(|judgement| {
        let Judgement {
            file,
            held_to,
            schema,
            semantics,
        } = judgement;
        [
            file.clone(),
            held_to.clone(),
            word(Some(schema)),
            word(semantics.as_ref()),
        ]
    });
    crate::say(format_args!(
        "{}",
        table(["file", "held to", "schema", "semantics"], rows)
    ));
    let findings: Vec<[String; 6]> = judgements.iter().flat_map(rows_of).collect();
    if !findings.is_empty() {
        crate::say(format_args!(
            "{}",
            table(
                ["place", "verdict", "code", "pointer", "expected", "got"],
                findings
            )
        ));
    }
}

fn rows_of(judgement: &Judgement) -> Vec<[String; 6]> {
    let verdicts = [
        ("schema", Some(&judgement.schema)),
        ("semantics", judgement.semantics.as_ref()),
    ];
    let findings = verdicts.into_iter().flat_map(|(name, verdict)| {
        verdict
            .into_iter()
            .flat_map(move |verdict| verdict.findings.iter().map(move |finding| (name, finding)))
    });
    findings
        .map(|(verdict, finding)| {
            let place = finding
                .position
                .map_or_else(String::new, |Position { line, column }| {
                    format!(":{line}:{column}")
                });
            let kind = if finding.severity == Severity::Warning {
                format!("{verdict} (warning)")
            } else {
                verdict.into()
            };
            let Finding {
                code,
                pointer,
                expected,
                got,
                ..
            } = finding.clone();
            [
                format!("{}{place}", judgement.file),
                kind,
                code.into(),
                pointer,
                expected,
                got,
            ]
        })
        .collect()
}

#[derive(Serialize)]
struct Scored {
    file: String,
    scores: Vec<Score>,
}

fn score(args: &ScoreArgs) -> anyhow::Result<bool> {
    let mut profiles = Vec::new();
    for path in &args.profile {
        let profile: Profile = serde_json::from_value(load_json(path)?)
            .with_context(|| format!("{} is not a conformance profile", path.display()))?;
        profiles.push(profile);
    }
    if profiles.is_empty() {
        profiles = Profile::standard().into();
    }
    let mut files = Vec::new();
    for file in &args.files {
        let document = Document::parse(&read(file)?)
            .with_context(|| format!("cannot parse {}", file.display()))?;
        let scores = profiles
            .iter()
            .map(|profile| ::manifest::score(profile, &document))
            .collect();
        files.push(Scored {
            file: file.display().to_string(),
            scores,
        });
    }
    let passed = files
        .iter()
        .flat_map(|file| &file.scores)
        .all(|score| score.standing == Standing::Pass);
    if args.json {
        crate::say(format_args!(
            "{}",
            serde_json::to_string_pretty(&serde_json::json!({"passed": passed, "files": files}))?
        ));
    } else {
        let rows = files
            .iter()
            .flat_map(|file| file.scores.iter().map(|score| score_row(&file.file, score)));
        crate::say(format_args!(
            "{}",
            table(["file", "profile", "points", "standing", "missing"], rows)
        ));
    }
    Ok(passed)
}

fn score_row(file: &str, score: &Score) -> [String; 5] {
    let standing = match score.standing {
        Standing::Pass => "pass",
        Standing::Warn => "warn",
        Standing::Fail => "fail",
    };
    let optional = score
        .missing_optional
        .iter()
        .map(|feature| format!("{feature} (optional)"));
    let missing: Vec<String> = score
        .missing_required
        .iter()
        .cloned()
        .chain(optional)
        .collect();
    let points = format!("{} of {}", score.points, score.of);
    [
        file.to_owned(),
        score.profile.clone(),
        points,
        standing.to_owned(),
        missing.join("\n"),
    ]
}

fn load_json(path: &Path) -> anyhow::Result<Value> {
    let text =
        fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
    serde_json::from_str(&text).with_context(|| format!("{} is not JSON", path.display()))
}

/// Reads a manifest without ever holding much more than is accepted.
fn read(path: &Path) -> anyhow::Result<String> {
    let file = fs::File::open(path).with_context(|| format!("cannot read {}", path.display()))?;
    let mut bytes = Vec::new();
    file.take(Document::MAX_BYTES as u64 + 1)
        .read_to_end(&mut bytes)
        .with_context(|| format!("cannot read {}", path.display()))?;
    String::from_utf8(bytes).with_context(|| format!("{} is not UTF-8", path.display()))
}
