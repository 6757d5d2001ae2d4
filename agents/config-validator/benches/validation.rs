//! How many objects a second are validated, and what does compiling the schema once save?
//!
//! Input: the Deployment of `examples/shop` release 1.0.0 (2 KB of YAML), 10, 100 and 1,000 times with
//! another name each, ten to a file. `once` has the schema compiled before; `naive` compiles it for each
//! file, as a process per file does. `yaml` is the reading alone, the part that a schema does not change.
//!
//! Run: `cargo bench -p config-validator`. Only the ratio of one run means something.
//! Found (two busy virtual cores, release): 2,400 to 6,100 objects a second with the schema compiled once,
//! 540 to 590 with it compiled for each file; reading the YAML alone takes about 60 % of the time of `once`.

#![expect(clippy::print_stdout, reason = "a benchmark prints its table")]

use std::hint::black_box;

use config_validator::{
    clients::schema::built_in,
    domain::{
        object::SourceFile,
        pod_security::PodSecurity,
        schema::Schema,
        validate::{Manifests, validate},
    },
};
use tokio::time::Instant;

const DEPLOYMENT: &str =
    include_str!("../../../examples/shop/releases/1.0.0/manifests/deployment.yaml");
const PER_FILE: usize = 10;

fn main() {
    println!(
        "{:>8} {:>8} {:>14} {:>14} {:>14}",
        "objects", "KB", "yaml obj/s", "once obj/s", "naive obj/s"
    );
    let schema = built_in().expect("the built-in schema compiles");
    for objects in [10, 100, 1_000] {
        let files = files(objects);
        let bytes: usize = files.iter().map(|f| f.content.len()).sum();
        let yaml = rate(objects, || {
            files.iter().map(|f| read(f).objects().len()).sum()
        });
        let once = rate(objects, || files.iter().map(|f| check(f, &schema)).sum());
        let naive = rate(objects, || {
            files
                .iter()
                .map(|f| check(f, &built_in().expect("the built-in schema compiles")))
                .sum()
        });
        println!(
            "{objects:>8} {:>8} {yaml:>14.0} {once:>14.0} {naive:>14.0}",
            bytes / 1024
        );
    }
}

fn files(objects: usize) -> Vec<SourceFile> {
    let object = |i: usize| DEPLOYMENT.replacen("name: web", &format!("name: web-{i}"), 1);
    (0..objects / PER_FILE)
        .map(|file| {
            let documents: Vec<_> = (0..PER_FILE).map(|i| object(file * PER_FILE + i)).collect();
            SourceFile {
                name: format!("{file}.yaml"),
                content: documents.join("---\n"),
            }
        })
        .collect()
}

fn read(file: &SourceFile) -> Manifests<'_> {
    Manifests::read(std::slice::from_ref(file)).expect("the example is small")
}

fn check(file: &SourceFile, schema: &Schema) -> usize {
    let (findings, objects) = validate(&read(file), schema, PodSecurity::Restricted);
    assert_eq!(findings.counts().error, 0, "the example is valid");
    objects
}

/// Objects a second, the best of five runs: on a shared machine the others are noise.
fn rate(objects: usize, mut run: impl FnMut() -> usize) -> f64 {
    let best = (0..5)
        .map(|_| {
            let start = Instant::now();
            assert_eq!(black_box(run()), objects);
            start.elapsed().as_secs_f64()
        })
        .fold(f64::INFINITY, f64::min);
    #[expect(clippy::cast_precision_loss, reason = "a thousand objects at most")]
    let objects = objects as f64;
    objects / best
}
