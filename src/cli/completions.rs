//! `osc completions`: a completion script for a shell.

use clap::CommandFactory;
use clap_complete::Shell;

use crate::error::Result;
use crate::output::screen::Screen;

const EXAMPLES: &str = "\
Examples:
  osc completions bash > ~/.local/share/bash-completion/completions/osc
  osc completions zsh > ~/.zfunc/_osc
  osc completions fish > ~/.config/fish/completions/osc.fish";

/// The arguments of `osc completions`.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct CompletionsArgs {
    /// The shell
    pub shell: Shell,
}

/// Runs `osc completions`.
///
/// # Errors
/// When the script cannot be written.
pub(super) fn run(args: CompletionsArgs, screen: &Screen) -> Result<()> {
    // Into memory first: the generator panics where its writer fails, as a closed pipe does.
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut super::Cli::command(), "osc", &mut script);
    screen.page(String::from_utf8_lossy(&script).trim_end())
}
