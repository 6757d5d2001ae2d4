//! Runs the conformance tests against agents at given URLs: any implementation's, not only ours.
#![expect(clippy::print_stdout, reason = "the report is its output")]

use std::path::PathBuf;

use anyhow::{Context as _, ensure};
use clap::Parser;
use tests::acts::{
    self,
    corpus::{self, Corpus},
    target::{Target, Tokens},
};

#[derive(Debug, Parser)]
#[command(about = "Runs the A2A conformance tests (ACTS) over JSON-RPC")]
struct Cli {
    /// The agent with all its capabilities.
    #[arg(long)]
    url: String,
    /// The same agent without streaming and push notifications.
    #[arg(long)]
    reduced_url: Option<String>,
    /// The same agent with authentication by bearer token.
    #[arg(long)]
    auth_url: Option<String>,
    /// A token that is allowed everything, another caller's, and one that is allowed nothing.
    #[arg(long, num_args = 3, value_names = ["VALID", "OTHER", "INSUFFICIENT"], requires = "auth_url")]
    tokens: Vec<String>,
    /// Folder of the corpus.
    #[arg(long)]
    corpus: Option<PathBuf>,
}

impl Cli {
    async fn targets(&self) -> anyhow::Result<Vec<Target>> {
        let mut targets = vec![Target::discover(&self.url, None).await?];
        if let Some(url) = &self.reduced_url {
            targets.push(Target::discover(url, None).await?);
        }
        if let (Some(url), [valid, other, insufficient]) = (&self.auth_url, self.tokens.as_slice())
        {
            let tokens = Tokens {
                valid: valid.clone(),
                other: other.clone(),
                insufficient: insufficient.clone(),
            };
            targets.push(Target::discover(url, Some(tokens)).await?);
        }
        Ok(targets)
    }
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let cli = Cli::parse();
    let folder = cli.corpus.clone().or_else(corpus::folder);
    let corpus = Corpus::load(&folder.context("there is no corpus; name its folder")?)?;
    let report = acts::run(&corpus, &cli.targets().await?).await;
    println!("{report}");
    ensure!(report.failures().is_empty(), "the agent does not conform");
    Ok(())
}
